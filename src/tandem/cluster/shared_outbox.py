"""The outbox of several instances: a message is accepted by any of them and sent by the one that runs its account.

Implements the API's ``Outgoing``. Every message is a document; the instance that runs the account has a working copy of
those of which something is still to become, in its own outbox, so that all that sends and settles works on that.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

import structlog

from tandem.clock import Clock, Random, until_told
from tandem.cluster.claiming import ClaimingOutbox
from tandem.cluster.outbox_documents import in_milliseconds, place_at
from tandem.cluster.outbox_pages import Pages
from tandem.cluster.outbox_port import SeenRow, SharedRows
from tandem.cluster.outbox_rows import HeldRows
from tandem.cluster.outbox_watch import Watch
from tandem.errors import InstancePassive, NotFound, Rejected, StoreUnavailable, TandemError, Transient
from tandem.model.cluster import InstanceId, Right
from tandem.model.event import EventType, Publish
from tandem.model.ids import AccountId, ChatId
from tandem.model.outbox import Content, IdempotencyKey, IfUnknown, OutboxRow, Target, Wanted
from tandem.model.states import OutboxState
from tandem.policy.backoff import full_jitter
from tandem.policy.outbox import Input
from tandem.queue.outbox import Outbox
from tandem.queue.outbox_content import dump
from tandem.queue.queue import Queue
from tandem.queue.working_copy import Taken, WorkingCopy

_log = structlog.get_logger(__name__)
_TIMEOUT = 5.0
_ONE_TRY = 2.0
_LAST_WORDS = 1.0
_LOOK_AGAIN = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0
_SHORTEST_TRY = 0.1
_SECRET_BYTES = 32
_NOT_ACCEPTED = (
    "Firestore does not answer, so it is not known whether the message was accepted; with an Idempotency-Key it can "
    "safely be tried again"
)


class SharedOutbox:
    """``run`` as a job of the daemon. ``accounts``: those that are known here, held or not.

    ``right``: this instance's right to run an account now; it is there before ``acquired`` is called. ``online``:
    whether an account has a session that can send. ``patience``: seconds that a send may take. ``expiry``: seconds
    after which what was not sent is given up, if nobody says more.
    """

    def __init__(
        self,
        shared: SharedRows,
        queue: Queue,
        instance: InstanceId,
        right: Callable[[AccountId], Right | None],
        accounts: Callable[[], Sequence[AccountId]],
        *,
        clock: Clock,
        random: Random,
        publish: Publish,
        expiry: float,
        patience: float = 2.0,
        online: Callable[[AccountId], bool] = lambda _account: True,
    ) -> None:
        self._shared = shared
        self._local: Outbox = queue.outbox
        self._copy = WorkingCopy(queue.database, queue.outbox, clock)
        self._rows = HeldRows(shared, self._copy, instance, right, clock, patience=patience)
        self._pages = Pages(shared, accounts)
        self._watch = Watch(shared, self._rows, self._copy, self._absorb, clock=clock, random=random)
        self._accounts = accounts
        self._clock = clock
        self._random = random
        self._publish = publish
        self._expiry = expiry
        self._last_place = 0
        self._news = asyncio.Event()
        self._turns: WeakValueDictionary[AccountId, asyncio.Lock] = WeakValueDictionary()
        self.claiming = ClaimingOutbox(queue.outbox, self._rows, online)
        """What the dispatchers are given."""

    async def open(self) -> None:
        """Begin to share. Nothing is sent before the account it is of was ``acquired``."""
        self._local.shared = True
        await self._copy.forget(None, idle=True)
        await self._shared.open()

    async def close(self) -> None:
        await self._shared.close()

    async def run(self) -> None:
        """Write up what happens to rows that are held, and take in what others accept for them, for ever."""
        unsubscribe = self._local.subscribe(lambda _account: self._news.set())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch.run())
                tasks.create_task(self._write_up())
        finally:
            unsubscribe()

    async def acquired(self, account: AccountId, generation: int) -> None:
        """Take up an account's messages: call it before its dispatcher is started.

        Waits for Firestore as long as the right lasts. Raises InstancePassive when that is over.
        """
        self._rows.hold(account, generation)
        async with self._turn(account):
            await self._take_up_despite(account)
        self._watch.wake()
        self._news.set()

    async def released(self, account: AccountId, *, lost: bool = False) -> None:
        """Hand an account's messages over: call it after its dispatcher has ended, before the lease is let go.

        Takes a second at most for Firestore. ``lost``: the lease is gone already, nothing is written any more.
        """
        try:
            if not lost:
                async with asyncio.timeout(_LAST_WORDS):
                    await self._local.interrupted(account)
                    await self._rows.flush(account)
        except (TimeoutError, Transient) as error:
            _log.warning("outbox_not_written_up", account=account, reason=str(error) or "Firestore is slow")
        self._rows.let_go(account)
        self._watch.wake()
        try:
            await self._copy.forget(account)
        except Transient as error:
            _log.warning("outbox_not_forgotten", account=account, reason=str(error))

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
        """Create a message's document, whoever runs its account. See ``Outgoing``.

        The backlog is bounded where the account runs, and nowhere else. Raises StoreUnavailable when Firestore does not
        answer within 5 seconds; then the same key says later whether the message was accepted.
        """
        row, place = self._new_row(account, chat, content, self._expiry if expires_in is None else expires_in)
        held = self._rows.generation(account) is not None
        if held:
            await self._local.refuse_when_full(account)
        seen, new = await self._create(replace(row, if_unknown=if_unknown), place, key)
        if new:
            await self._take_in(seen)
        return seen.row, new

    async def repeated(self, account: AccountId, key: IdempotencyKey) -> OutboxRow | None:
        """See ``Outgoing``. What this instance accepted before it shared its outbox, it alone knows."""
        earlier = await self._local.repeated(account, key)
        if earlier is not None:
            return earlier
        seen = await self._shared.keyed(account, key, self._clock.now(), _TIMEOUT)
        return None if seen is None else seen.row

    async def known(self, account: AccountId, chat: ChatId, message_id: str) -> Sequence[Target]:
        return await self._local.known(account, chat, message_id)

    async def get(self, outbox_id: str) -> OutboxRow:
        """Return the row where its account is held, else what its document says."""
        kept = await self._copy.row(outbox_id)
        if kept is not None and self._rows.generation(kept.row.account) is not None:
            return kept.row
        seen = (await self._shared.get(self._places(outbox_id), _TIMEOUT)).get(outbox_id)
        if seen is not None:
            return seen.row
        if kept is None:
            raise NotFound("there is no such outgoing message")
        return kept.row

    async def page(self, wanted: Wanted, limit: int) -> tuple[Sequence[OutboxRow], int | None]:
        """See ``Outgoing``. A page may hold fewer rows than there are on it when few of many are wanted."""
        return await self._pages.page(wanted, limit, _TIMEOUT)

    async def cancel(self, outbox_id: str) -> OutboxRow:
        """Raise InstancePassive, as do the other acts, if another instance runs the account."""
        await self._held_row(outbox_id)
        return await self._rows.act(outbox_id, Input.CANCEL)

    async def resend(self, outbox_id: str) -> OutboxRow:
        row = await self._held_row(outbox_id)
        renewed = self._clock.now() + row.expires_at - row.created_at
        return await self._rows.act(outbox_id, Input.RESEND, expires_at=renewed, message_id="")

    async def give_up(self, outbox_id: str) -> OutboxRow:
        await self._held_row(outbox_id)
        return await self._rows.act(outbox_id, Input.GIVE_UP)

    async def _held_row(self, outbox_id: str) -> OutboxRow:
        """Return the row if it is here; one that was accepted a moment ago elsewhere is fetched."""
        kept = await self._copy.row(outbox_id)
        if kept is None:
            seen = (await self._shared.get(self._places(outbox_id), _TIMEOUT)).get(outbox_id)
            if seen is None:
                raise NotFound("there is no such outgoing message")
            await self._absorb([seen])
            kept = await self._copy.row(outbox_id)
        if kept is None or self._rows.generation(kept.row.account) is None:
            raise InstancePassive("another instance runs this account")
        return kept.row

    async def _take_in(self, seen: SeenRow) -> None:
        """Send what was accepted here, if the account is held by now, and after all that was accepted before."""
        async with self._turn(seen.row.account):
            if self._rows.generation(seen.row.account) is None:
                return
            try:
                await self._absorb([seen])
            except Transient as error:
                _log.warning("outbox_row_waits", outbox_id=seen.row.id, reason=str(error))  # the watch brings it, too

    def _turn(self, account: AccountId) -> asyncio.Lock:
        """While an account is taken up, what was accepted before is on its way here; rows are sent as they came."""
        return self._turns.setdefault(account, asyncio.Lock())

    async def _take_up_despite(self, account: AccountId) -> None:
        """Try again and again while the right lasts. Raises InstancePassive."""
        failures = 0
        while True:
            try:
                await self._take_up(account)
                break
            except Transient as error:
                failures += 1
                if self._rows.generation(account) is None:
                    self._rows.let_go(account)
                    raise InstancePassive("the lease ended before the outgoing messages were taken up") from error
                _log.warning("outbox_not_taken_up", account=account, reason=str(error))
                await self._clock.sleep(self._jitter(failures))

    async def _take_up(self, account: AccountId) -> None:
        documents = await self._shared.open_rows(account, _TIMEOUT)
        known = {seen.row.id for seen in documents}
        alone = [kept.row.id for kept in await self._copy.open_rows(account) if kept.row.id not in known]
        others = await self._shared.get([(account, each) for each in alone], _TIMEOUT)
        await self._absorb(sorted([*documents, *others.values()], key=lambda seen: seen.place))
        for each in alone:
            if each not in others:
                await self._rows.settle(each)

    async def _absorb(self, documents: Sequence[SeenRow]) -> None:
        for taken in await self._rows.absorb(documents):
            self._tell(taken)

    def _tell(self, taken: Taken) -> None:
        if taken.move is None:
            return
        row = taken.move.after
        if taken.move.newly_sent:
            kind, words = EventType.MESSAGE_SENT, "message sent"
        elif taken.move.entered is OutboxState.UNKNOWN:
            kind, words = EventType.MESSAGE_SEND_UNKNOWN, f"message possibly sent: {row.reason}"
        else:
            return
        self._publish(kind, words, account=row.account, slot=row.slot, reason=row.reason, outbox_id=row.id)

    async def _write_up(self) -> None:
        failures = 0
        while True:
            try:
                await self._rows.settle_all()
            except TandemError as error:
                failures += 1
                if failures == 1:
                    _log.warning("outbox_not_written_up", reason=str(error))
                await self._clock.sleep(self._jitter(failures))
            else:
                failures = 0
                await until_told(self._news, self._clock, _LOOK_AGAIN)

    async def _create(self, row: OutboxRow, place: int, key: IdempotencyKey | None) -> tuple[SeenRow, bool]:
        """Create a document, again and again while there is time: it is the same one."""
        ends = self._clock.monotonic() + _TIMEOUT
        while True:
            left = ends - self._clock.monotonic()
            try:
                return await self._shared.create(row, place, key, self._clock.now(), min(_ONE_TRY, left))
            except Transient as error:
                wait = self._jitter(1)
                if ends - self._clock.monotonic() - wait < _SHORTEST_TRY:
                    raise StoreUnavailable(f"{_NOT_ACCEPTED} ({error})", _TIMEOUT) from None
            await self._clock.sleep(wait)

    def _new_row(self, account: AccountId, chat: ChatId, content: Content, expires_in: float) -> tuple[OutboxRow, int]:
        """A row and its place; those of one instance keep their order even if its clock is set back."""
        try:
            dump(content)
        except UnicodeEncodeError:
            raise Rejected("the message is no valid Unicode text") from None
        now = float(self._clock.now())
        self._last_place = max(place_at(now), self._last_place + 1)
        row = OutboxRow(
            id=f"{account}-{self._random.token()}",
            account=account,
            chat=chat,
            content=content,
            secret=secrets.token_bytes(_SECRET_BYTES),
            state=OutboxState.QUEUED,
            reason="",
            created_at=now,
            expires_at=now + expires_in,
            updated_at=now,
        )
        return in_milliseconds(row), self._last_place

    def _places(self, outbox_id: str) -> Sequence[tuple[AccountId, str]]:
        """Where the document of an id is: the id says its account, unless it is older than the sharing."""
        account, dash, _ = outbox_id.partition("-")
        if dash:
            return [(AccountId(account), outbox_id)]
        return [(each, outbox_id) for each in self._accounts()]

    def _jitter(self, failures: int) -> float:
        return full_jitter(failures, self._random.uniform(0.0, 1.0), _FIRST_WAIT, _LONGEST_WAIT)
