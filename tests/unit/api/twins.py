"""In-memory twins of what the API stands on. Fictional numbers only."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from tandem.clock import Clock
from tandem.errors import Conflict, NotFound, Overloaded, TooSoon
from tandem.model.account import Account
from tandem.model.event import EventType
from tandem.model.ids import AccountId, ChatId, Number, account_id
from tandem.model.message import Message
from tandem.model.outbox import Content, IdempotencyKey, IfUnknown, OutboxRow, Target, Wanted
from tandem.model.states import AccountStatus, OutboxState, Role, SessionState, Slot
from tandem.model.views import AccountView, PairingView, PairMethod, SlotView
from tandem.monitoring.events import EventStream
from tandem.policy.outbox import Input, step
from tandem.queue.dead_letters import DeadLetter, LetterKind, encode_message
from tandem.store.memory import MemoryStore
from tandem.store.port import Chat

QR = "2@canaryQRtextAAAA/BBBBccccDDDD+eeee1111=,ffffGGGG22223333hhhhIIII=,jjjjKKKK4444=,llllMMMM5555=,1"
CODE = "CANA-RYCD"
QR_LIFE = 20.0


@dataclass
class FakeClock:
    wall: float = 1_750_000_000.0
    mono: float = 1000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


class RealClock(FakeClock):
    """For browsers, which have a clock of their own."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class CountingRandom:
    count: int = 0

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def token(self) -> str:
        self.count += 1
        return f"{self.count:026x}"


def slot_view(slot: Slot, state: SessionState = SessionState.UNPAIRED, role: Role = Role.NONE) -> SlotView:
    return SlotView(slot, "", role, state, "", 0.0, 0, None, None, 0, None)


@dataclass
class FakeAccounts:
    """Behaves as supervision's contract says, without any supervision."""

    clock: Clock
    events: EventStream
    views: dict[AccountId, AccountView] = field(default_factory=dict)
    broken: Exception | None = None
    too_soon: float = 0.0

    async def add(self, name: str, number: Number) -> tuple[AccountView, bool]:
        if self.broken:
            raise self.broken
        account = account_id(number)
        if account in self.views:
            return self.views[account], False
        self.views[account] = AccountView(
            Account(account, number, name, self.clock.now()),
            AccountStatus.UNPAIRED,
            (slot_view(Slot.PRIMARY), slot_view(Slot.BACKUP)),
        )
        self.events(EventType.ACCOUNT_ADDED, "Account added", account=account)
        await self.pair(account, Slot.PRIMARY, PairMethod.QR)
        return self.views[account], True

    def list(self) -> Sequence[AccountView]:
        return tuple(self.views.values())

    def get(self, account: AccountId) -> AccountView:
        if account not in self.views:
            raise NotFound("no such account")
        return self.views[account]

    async def pair(self, account: AccountId, slot: Slot, method: PairMethod) -> tuple[PairingView, bool]:
        view = self.get(account).slot(slot)
        if view.device:
            raise Conflict(f"the {slot} slot is paired already")
        if view.pairing and view.pairing.method is method:
            return view.pairing, False
        if self.too_soon:
            raise TooSoon("started a moment ago", self.too_soon)
        now = self.clock.now()
        pairing = PairingView(account, slot, method, "", 0.0, now + 150)
        self.put(account, replace(view, state=SessionState.PAIRING, pairing=pairing, since=now))
        self.events(EventType.PAIRING_STARTED, "Pairing started", account=account, slot=slot)
        return pairing, True

    async def cancel_pairing(self, account: AccountId, slot: Slot) -> AccountView:
        view = self.get(account).slot(slot)
        if view.pairing is None:
            raise NotFound(f"no pairing of the {slot} slot is under way")
        self.put(account, replace(view, pairing=None, state=SessionState.UNPAIRED, reason="the pairing was cancelled"))
        return self.get(account)

    async def switch(self, account: AccountId) -> AccountView:
        view = self.get(account)
        standby = next((slot for slot in view.slots if slot.role is Role.STANDBY), None)
        if standby is None:
            raise Conflict("the backup is not paired, so it cannot send")
        active = view.slot(standby.slot.partner)
        self.put(account, replace(standby, role=Role.ACTIVE))
        self.put(account, replace(active, role=Role.STANDBY))
        self.events(EventType.SWITCHED_TO_BACKUP, "Switched on request", account=account, slot=standby.slot)
        return self.get(account)

    async def restart(self, account: AccountId, slot: Slot) -> AccountView:
        view = self.get(account).slot(slot)
        if not view.device:
            raise Conflict(f"the {slot} is not linked: pair it instead")
        self.put(account, replace(view, state=SessionState.CONNECTING, reason=""))
        return self.get(account)

    async def remove(self, account: AccountId) -> None:
        self.get(account)
        del self.views[account]
        self.events(EventType.ACCOUNT_REMOVED, "Account removed", account=account)

    def put(self, account: AccountId, slot: SlotView) -> None:
        """Change one slot, and the account's status with it."""
        slots = tuple(slot if each.slot is slot.slot else each for each in self.views[account].slots)
        online = sum(each.state is SessionState.ONLINE for each in slots)
        status = (AccountStatus.OFFLINE, AccountStatus.DEGRADED, AccountStatus.ONLINE)[online]
        if not any(each.device for each in slots):
            status = AccountStatus.UNPAIRED
        self.views[account] = replace(self.views[account], status=status, slots=slots)  # type: ignore[arg-type]

    def show_code(self, account: AccountId, slot: Slot, text: str = QR) -> None:
        """WhatsApp sent a QR or a code."""
        view = self.get(account).slot(slot)
        assert view.pairing is not None
        pairing = replace(view.pairing, text=text, expires_at=self.clock.now() + QR_LIFE)
        self.put(account, replace(view, pairing=pairing))

    def go_online(self, account: AccountId, slot: Slot, *, tell: bool = True) -> None:
        """The slot was scanned and is online."""
        view = self.get(account)
        device = f"{view.account.number[1:]}:{slot.number}@s.whatsapp.net"
        role = Role.STANDBY if view.slot(slot.partner).role is Role.ACTIVE else Role.ACTIVE
        self.put(
            account,
            replace(
                view.slot(slot),
                device=device,
                state=SessionState.ONLINE,
                role=role,
                since=self.clock.now(),
                generation=1,
                ping_ms=42.4,
                keep_alive=10.0,
                quality=0.98,
                pairing=None,
            ),
        )
        if tell:
            self.events(EventType.SESSION_ONLINE, f"The {slot} is online", account=account, slot=slot, generation=1)


@dataclass
class FakeOutgoing:
    clock: Clock
    rows: dict[str, OutboxRow] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    full: bool = False
    targets: dict[str, list[Target]] = field(default_factory=dict)

    async def accept(
        self,
        account: AccountId,
        chat: ChatId,
        content: Content,
        key: IdempotencyKey | None = None,
        *,
        expires_in: float | None = None,
        if_unknown: IfUnknown = IfUnknown.RESEND,
    ) -> tuple[OutboxRow, bool]:
        if self.full:
            raise Overloaded("10000 messages wait to be sent already; try again later", 7.2)
        earlier = None if key is None else await self.repeated(account, key)
        if earlier is not None:
            return earlier, False
        now = self.clock.now()
        row_id = f"outbox{len(self.rows)}"
        until = now + (expires_in or 60)
        row = OutboxRow(row_id, account, chat, content, b"s" * 32, OutboxState.QUEUED, "", now, until, now, if_unknown)
        self.rows[row_id] = row
        if key is not None:
            self.keys[account, key.text] = (row_id, key.request)
        return row, True

    async def repeated(self, account: AccountId, key: IdempotencyKey) -> OutboxRow | None:
        row_id, request = self.keys.get((account, key.text), ("", b""))
        if row_id and request != key.request:
            raise Conflict("this Idempotency-Key came with another message before")
        return self.rows.get(row_id)

    async def known(self, account: AccountId, chat: ChatId, message_id: str) -> Sequence[Target]:  # noqa: ARG002 - the port's
        return self.targets.get(message_id, [])

    async def page(self, wanted: Wanted, limit: int) -> tuple[Sequence[OutboxRow], int | None]:
        rows = [(number, row) for number, row in enumerate(self.rows.values(), 1)]
        fields = {"account": wanted.account, "state": wanted.state, "chat": wanted.chat}
        fitting = [
            (number, row)
            for number, row in reversed(rows)
            if number < (wanted.before or 1_000) and all(v in {None, getattr(row, k)} for k, v in fields.items())
        ]
        place = fitting[limit - 1][0] if len(fitting) > limit else None
        return [row for _, row in fitting[:limit]], place

    async def cancel(self, outbox_id: str) -> OutboxRow:
        return await self._act(outbox_id, Input.CANCEL)

    async def resend(self, outbox_id: str) -> OutboxRow:
        return await self._act(outbox_id, Input.RESEND)

    async def give_up(self, outbox_id: str) -> OutboxRow:
        return await self._act(outbox_id, Input.GIVE_UP)

    async def _act(self, outbox_id: str, happened: Input) -> OutboxRow:
        row = await self.get(outbox_id)
        taken = step(row.state, happened)
        self.rows[outbox_id] = replace(row, state=taken.state, reason=taken.reason)
        return self.rows[outbox_id]

    async def get(self, outbox_id: str) -> OutboxRow:
        if outbox_id not in self.rows:
            raise NotFound("no such message")
        return self.rows[outbox_id]


@dataclass
class FakeDeadLetters:
    """``faults`` says which letters still cannot be replayed, and what that raises."""

    clock: Clock
    letters: dict[int, DeadLetter] = field(default_factory=dict)
    replayed: list[int] = field(default_factory=list)
    faults: dict[int, Exception] = field(default_factory=dict)
    broken: Exception | None = None
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def bury_event(self, account: AccountId, reason: str = "it cannot be decoded", payload: bytes = b"junk") -> int:
        now = self.clock.now()
        return self._add(DeadLetter(0, LetterKind.EVENT, reason, account, Slot.BACKUP, 7, payload, now - 5, now))

    def bury(self, message: Message, reason: str = "it is too large") -> int:
        now, payload = self.clock.now(), encode_message(message)
        return self._add(DeadLetter(0, LetterKind.MESSAGE, reason, message.account, None, 0, payload, now - 5, now))

    def _add(self, letter: DeadLetter) -> int:
        identifier = next(self._ids)
        self.letters[identifier] = replace(letter, id=identifier)
        return identifier

    async def list(self, limit: int = 100, after: int = 0) -> Sequence[DeadLetter]:
        return [letter for identifier, letter in sorted(self.letters.items()) if identifier > after][:limit]

    async def get(self, identifier: int) -> DeadLetter:
        if identifier not in self.letters:
            raise NotFound("there is no such dead letter")
        return self.letters[identifier]

    async def drop(self, identifier: int) -> None:
        await self.get(identifier)
        del self.letters[identifier]

    async def count(self) -> int:
        if self.broken:
            raise self.broken
        return len(self.letters)

    async def replay(self, identifier: int) -> None:
        await self.get(identifier)
        if identifier in self.faults:
            raise self.faults[identifier]
        await self.drop(identifier)
        self.replayed.append(identifier)


class HangingStore(MemoryStore):
    """May take for ever, or fail with a given error."""

    hangs = False
    broken: Exception | None = None

    async def chats(self, account: AccountId, limit: int) -> Sequence[Chat]:
        if self.broken:
            raise self.broken
        if self.hangs:
            await asyncio.Event().wait()
        return await super().chats(account, limit)
