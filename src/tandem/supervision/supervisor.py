"""All accounts of this instance: adds, removes and keeps them, and lets no account hurt another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial

import structlog

from tandem.clock import Clock, Random
from tandem.errors import Conflict, NotFound
from tandem.model.account import Account, SlotRecord
from tandem.model.cluster import Fitness
from tandem.model.event import EventType, Publish
from tandem.model.ids import AccountId, Number, account_id, masked
from tandem.model.message import DecodedMessage, RawEvent
from tandem.model.phone import Presence
from tandem.model.states import SessionState, Slot
from tandem.model.views import AccountView, PairingView, PairMethod
from tandem.policy import pairing as pairing_machine
from tandem.policy import session_machine as machine
from tandem.policy.fleet import FleetLimits
from tandem.queue.registry import Registry
from tandem.supervision.account import Pair
from tandem.supervision.bookkeeping import Bookkeeping
from tandem.supervision.cluster import Alone, Part
from tandem.supervision.fleet import Fleet
from tandem.supervision.pairing import Pairing, PairingPorts
from tandem.supervision.prober import Prober
from tandem.supervision.records import as_found, under_ban
from tandem.supervision.session import Session, SessionPorts
from tandem.supervision.vitals import VitalLimits
from tandem.whatsapp.port import DeviceFactory

_log = structlog.get_logger(__name__)
_CRASH_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class SupervisorPorts:
    """What the supervisor stands on. ``serve`` sends for an account until cancelled.

    ``cluster`` is this instance's part among several, by default that of the only one. ``moved`` hears of every move
    of a session, with its pair, ``removed`` of accounts that are gone, ``linked`` of accounts whose phone has just
    linked a device; none may block. ``phone`` tells when a phone was last seen. ``behind`` says whether a slot's
    events are here that were not looked at yet.
    """

    devices: DeviceFactory
    registry: Registry
    publish: Publish
    clock: Clock
    random: Random
    receive: Callable[[RawEvent], None]
    import_leftover: Callable[[Sequence[RawEvent]], Awaitable[None]]
    serve: Callable[[Pair], Awaitable[None]]
    save_account: Callable[[Account], Awaitable[None]]
    cluster: Part = field(default_factory=Alone)
    moved: Callable[[Pair], None] = lambda _pair: None
    removed: Callable[[AccountId], None] = lambda _account: None
    linked: Callable[[AccountId], None] = lambda _account: None
    phone: Callable[[AccountId], Presence | None] = lambda _account: None
    behind: Callable[[AccountId, Slot], bool] = lambda _account, _slot: False


@dataclass(slots=True)
class _Member:
    pair: Pair
    prober: Prober
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    serving: list[asyncio.Task[None]] = field(default_factory=list)


class Supervisor:
    """Implements the API's ``Accounts``. Start it with ``start`` after the queue is restored, end it with ``stop``."""

    def __init__(
        self,
        limits: machine.Limits,
        ports: SupervisorPorts,
        *,
        suspect_after: float,
        max_accounts: int,
        pairing_limits: pairing_machine.Limits | None = None,
        vitals: VitalLimits | None = None,
        fleet: FleetLimits = FleetLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._limits = limits
        self._suspect_after = suspect_after
        self._max_accounts = max_accounts
        self._vitals = vitals or VitalLimits()
        self._pairing_limits = pairing_limits or pairing_machine.Limits()
        self._ports = ports
        self._fleet = Fleet(fleet, ports.clock, ports.publish, self._linked, self._released)
        self._members: dict[AccountId, _Member] = {}
        self._removing: set[AccountId] = set()
        self._books = Bookkeeping()
        self._ceased = False

    async def prepare(self) -> None:
        """Load every account and make what dead hosts left behind durable. Connects nothing."""
        for account, records in await self._ports.registry.load():
            await self._adopt(account, {record.slot: record for record in records})
        for member in self._members.values():
            for session in member.pair.sessions.values():
                await session.import_leftover()

    def start(self) -> None:
        """Bring all accounts up, at the pace of the fleet's budget: every account's first slot, then every second."""
        for slot in self._ports.cluster.slots:
            for member in self._members.values():
                self._launch(member, slot)
        if self._ports.cluster.alone:
            for member in self._members.values():
                self._serve(member)

    def take_up(self, account: AccountId) -> None:
        """Send for an account from now on. Raises NotFound."""
        member = self._member(account)
        if not member.serving and not self._ceased:
            self._serve(member)
        self._ports.moved(member.pair)

    async def lay_down(self, account: AccountId) -> None:
        """Send for it no more; what is under way has a second to end."""
        if (member := self._members.get(account)) is not None:
            serving, member.serving = member.serving, []
            await _end(serving)
            member.pair.end_calls()
            self._ports.moved(member.pair)

    async def adopt(self, account: Account) -> None:
        """Keep this instance's devices of an account that was added elsewhere, and offer to link one."""
        if account.id in self._members:
            return
        await self._ports.registry.save_account(account)
        member = await self._adopt(account, {})
        self._begin(member)
        sentence = "account added on another instance; link this instance's own devices"
        self._ports.publish(EventType.ACCOUNT_ADDED, sentence, account=account.id)

    @property
    def held(self) -> str:
        """Why all logins are held, in words; empty if they are not."""
        return self._fleet.held

    async def cease(self) -> None:
        """Send for nobody any more: what is under way has its last seconds to end. The devices go on receiving."""
        self._ceased = True
        await _end([task for member in self._members.values() for task in member.serving])

    async def stop(self, patience: float | None = None) -> None:
        """Disconnect every device, logging none out. Bookkeeping has ``patience`` seconds, with None all it takes."""
        await asyncio.gather(*(self._halt(member) for member in self._members.values()))
        await self._books.end(patience)

    async def add(self, name: str, number: Number) -> tuple[AccountView, bool]:
        identity = account_id(number)
        if identity in self._members:
            return self._members[identity].pair.view(), False
        if len(self._members) >= self._max_accounts:
            raise Conflict(f"there are {self._max_accounts} accounts, the most allowed (TANDEM_API__MAX_ACCOUNTS)")
        account = Account(identity, number, name or masked(number), self._ports.clock.now())
        await self._ports.cluster.add(account)
        await self._ports.registry.save_account(account)
        member = self._members.get(identity) or await self._adopt(account, {})
        self._begin(member)
        if self._ports.cluster.alone:
            self._serve(member)
            self._books.note(self._ports.save_account(account))
        self._ports.publish(EventType.ACCOUNT_ADDED, "account added", account=identity)
        return member.pair.view(), True

    def _begin(self, member: _Member) -> None:
        """Run the slots of an account that is new here, and offer the first one's link."""
        if member.tasks:
            return
        slots = self._ports.cluster.slots
        for slot in slots:
            self._launch(member, slot)
        if not member.pair.sessions[slots[0]].paired:
            member.pair.pair_by_itself(slots[0])

    def list(self) -> Sequence[AccountView]:
        return [member.pair.view() for member in self._members.values()]

    def fitness(self) -> dict[AccountId, Fitness]:
        """How well this instance could run each of its accounts."""
        return {account: member.pair.fitness for account, member in self._members.items()}

    def hosts(self) -> Mapping[tuple[AccountId, Slot], int]:
        """Return the process ids of the device hosts that run now, those that pair left out."""
        return {(each.account.id, each.slot): each.pid for each in self._sessions() if each.pid}

    def get(self, account: AccountId) -> AccountView:
        return self._member(account).pair.view()

    def awaited(self, account: AccountId) -> bool:
        """Whether a linked slot of an account is away and may still bring what the others lack."""
        member = self._members.get(account)
        sessions = member.pair.sessions.values() if member else ()
        return any(session.paired and session.state is not SessionState.ONLINE for session in sessions)

    def pair_of(self, account: AccountId) -> Pair:
        """Raise NotFound if there is no such account."""
        return self._member(account).pair

    async def pair(self, account: AccountId, slot: Slot, method: PairMethod) -> tuple[PairingView, bool]:
        return self._member(account).pair.pair(slot, method)

    async def cancel_pairing(self, account: AccountId, slot: Slot) -> AccountView:
        pair = self._member(account).pair
        if not pair.cancel_pairing(slot):
            raise NotFound(f"no pairing of the {slot} slot is under way")
        return pair.view()

    async def switch(self, account: AccountId) -> AccountView:
        pair = self._member(account).pair
        pair.switch()
        return pair.view()

    async def restart(self, account: AccountId, slot: Slot) -> AccountView:
        pair = self._member(account).pair
        pair.restart(slot)
        return pair.view()

    async def remove(self, account: AccountId) -> None:
        self._member(account)
        await self._ports.cluster.remove(account)
        await self.remove_here(account)

    async def remove_here(self, account: AccountId) -> None:
        """Unlink this instance's devices of an account that an operator has deleted, wherever, and forget it."""
        member = self._member(account)
        if account in self._removing:
            return
        self._removing.add(account)
        await member.pair.logout()
        self._removing.discard(account)
        del self._members[account]
        await self._halt(member)
        for slot in Slot:
            self._fleet.forget(member.pair.sessions[slot].name)
            await asyncio.to_thread(self._ports.devices.quarantine, member.pair.account, slot, "account removed")
        await self._ports.registry.remove_account(account)
        self._ports.removed(account)
        self._ports.publish(EventType.ACCOUNT_REMOVED, "account removed; its conversations stay", account=account)

    def acknowledge(self, event: RawEvent) -> None:
        """Everything of this event's slot up to it is durable."""
        member = self._members.get(event.account)
        if member is not None:
            member.pair.sessions[event.slot].acknowledge(event.generation, event.sequence)

    def heard(self, event: RawEvent, message: DecodedMessage) -> None:
        """A slot received a copy of a message, which may not be durable yet."""
        member = self._members.get(event.account)
        if member is None or event.generation != member.pair.sessions[event.slot].generation:
            return
        if message.from_me:
            member.prober.echoed(event.slot, message.secret)
            return
        sender = f"{message.sender.user}@{message.sender.server}"
        member.pair.hearing.heard(event.slot, message.message_id, sender, readable=not message.undecryptable)

    def _member(self, account: AccountId) -> _Member:
        member = self._members.get(account)
        if member is None:
            raise NotFound("there is no such account")
        return member

    async def _adopt(self, account: Account, records: dict[Slot, SlotRecord]) -> _Member:
        ports = self._ports
        pair = Pair(account, ports.clock, ports.publish, self._suspect_after, ports.cluster.slots)
        pair.may_send_until = partial(ports.cluster.may_send_until, account.id)
        pair.elsewhere = partial(ports.cluster.elsewhere, account.id)
        pair.lease = partial(ports.cluster.lease, account.id)
        pair.watch = ports.moved
        pair.phone = partial(ports.phone, account.id)
        session_ports = SessionPorts(
            devices=ports.devices,
            fleet=self._fleet,
            publish=ports.publish,
            clock=ports.clock,
            random=ports.random,
            receive=ports.receive,
            import_leftover=ports.import_leftover,
            save=lambda record: self._books.note(ports.registry.save_slot(record)),
            keys_are_ours=ports.cluster.keys_are_ours,
            changed=pair.changed,
            vitals=self._vitals,
        )
        current = [
            await as_found(ports.devices, ports.clock, account, slot, records.get(slot))
            for slot in (Slot.PRIMARY, Slot.BACKUP)
        ]
        banned_until = max(record.until for record in current)
        sessions = [
            Session(account, under_ban(record, banned_until, ports.clock.now()), self._limits, session_ports)
            for record in current
        ]
        pair.adopt(sessions[0], sessions[1], partial(ports.behind, account.id))
        pair.pairings = self._pairings(pair)
        self._members[account.id] = _Member(pair, Prober(pair, self._vitals.self_probe, ports.clock, ports.random))
        return self._members[account.id]

    def _pairings(self, pair: Pair) -> dict[Slot, Pairing]:
        ports = self._ports

        def linked(slot: Slot, device: str, method: PairMethod) -> None:
            ports.linked(pair.account.id)
            pair.linked(slot, device, method)

        def of(slot: Slot) -> Pairing:
            pairing_ports = PairingPorts(
                devices=ports.devices,
                publish=ports.publish,
                clock=ports.clock,
                linked=linked,
                refusal=pair.cannot_pair,
                import_leftover=pair.sessions[slot].import_leftover,
            )
            return Pairing(pair.account, slot, self._pairing_limits, pairing_ports)

        return {slot: of(slot) for slot in Slot}

    def _launch(self, member: _Member, slot: Slot) -> None:
        member.tasks.append(self._employ(member, f"session {slot}", member.pair.sessions[slot].run))
        member.tasks.append(self._employ(member, f"pairing {slot}", member.pair.pairings[slot].run))

    def _serve(self, member: _Member) -> None:
        """Do what sends: whoever runs the account does it, and nobody else."""
        member.serving.append(self._employ(member, "outbound", lambda: self._ports.serve(member.pair)))
        if self._vitals.self_probe:
            member.serving.append(self._employ(member, "self-probe", member.prober.run))

    def _employ(self, member: _Member, name: str, job: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        account = member.pair.account.id
        return asyncio.create_task(
            self._keep(account, name, job),
            name=f"{name} {account}",
            context=Context(),  # not that of the request which may have added the account
        )

    def _linked(self) -> int:
        return sum(session.paired for session in self._sessions())

    def _released(self) -> None:
        for session in self._sessions():
            session.tell(machine.Released())

    def _sessions(self) -> Iterator[Session]:
        return (session for member in self._members.values() for session in member.pair.sessions.values())

    async def _keep(self, account: AccountId, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """Run a job for ever: a defect in it costs this slot a pause, and nobody else anything."""
        while True:
            try:
                await job()
            except Exception:  # noqa: BLE001 - whatever it is, it is logged and the job starts anew
                _log.exception("account_task_failed", account=account, task=name)
            await self._ports.clock.sleep(_CRASH_PAUSE)

    async def _halt(self, member: _Member) -> None:
        member.pair.hearing.close()
        await _end([*member.tasks, *member.serving])


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
