"""The outgoing messages of the accounts that this instance runs: each row kept in step with its document.

The row is changed first, by what happens here, and then written up; only what others must not do any more (a claim, an
operator's act) is written to the document first. All that is written names the document's state before: whoever was
first, the other one looks again. One thing at a time happens to a row.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

import structlog

from tandem.clock import Clock
from tandem.cluster.outbox_documents import place_at
from tandem.cluster.outbox_port import SeenRow, SharedRows, Stamp
from tandem.cluster.port import LostRace
from tandem.errors import Conflict, InstancePassive, NotFound, Transient
from tandem.model.cluster import NOBODY, InstanceId, Right
from tandem.model.ids import AccountId
from tandem.model.outbox import OutboxRow
from tandem.model.states import Slot
from tandem.policy.outbox import PROVEN, Input
from tandem.policy.shared_outbox import Act, Document, decide
from tandem.queue.outbox_rows import IN_STEP, moved
from tandem.queue.working_copy import Kept, News, Taken, WorkingCopy

_log = structlog.get_logger(__name__)
_TIMEOUT = 5.0
_TRIES = 5
_REMEMBERED = 20_000
_AT_ONCE = 10


class HeldRows:
    """``right``: the right to run an account that this instance has now.

    ``patience``: seconds that a send may take, and so a right has to last for one to begin.
    """

    def __init__(
        self,
        shared: SharedRows,
        copy: WorkingCopy,
        instance: InstanceId,
        right: Callable[[AccountId], Right | None],
        clock: Clock,
        *,
        patience: float,
    ) -> None:
        self._shared = shared
        self._copy = copy
        self._instance = instance
        self._right = right
        self._clock = clock
        self._patience = patience
        self._held: dict[AccountId, int] = {}
        self._seen: OrderedDict[str, SeenRow] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def accounts(self) -> Sequence[AccountId]:
        """The accounts whose rows are here."""
        return tuple(self._held)

    def hold(self, account: AccountId, generation: int) -> None:
        """Begin with nothing known of its documents: what was seen under an earlier lease was not taken up in this."""
        self.let_go(account)
        self._held[account] = generation

    def let_go(self, account: AccountId) -> None:
        self._held.pop(account, None)
        self._seen = OrderedDict((name, seen) for name, seen in self._seen.items() if seen.row.account != account)

    def generation(self, account: AccountId) -> int | None:
        """The lease under which this instance runs an account now, None if it does not."""
        held, right = self._held.get(account), self._right(account)
        if held is None or right is None or right.generation != held or right.until <= self._clock.monotonic():
            return None
        return held

    def require_time(self, account: AccountId) -> int:
        """Return the lease's generation. Raises InstancePassive if it does not last for a send."""
        generation, right = self.generation(account), self._right(account)
        if generation is None or right is None or right.until - self._clock.monotonic() < self._patience:
            raise InstancePassive("this instance's right to send for the account is not certain")
        return generation

    async def absorb(self, documents: Sequence[SeenRow]) -> Sequence[Taken]:
        """Bring rows in step with documents of one account, in this order; returns what was done."""
        fresh = [seen for seen in documents if self._is_fresh(seen)]
        generation = self._held.get(fresh[0].row.account) if fresh else None
        if generation is None:
            return ()
        taken = await self._copy.absorb([self._news(seen) for seen in fresh], generation)
        for seen, done in zip(fresh, taken, strict=True):
            if self._held.get(seen.row.account) == generation:
                self._remember(seen)
            if done.act is Act.STALE:
                _log.error("outbox_row_has_later_lease", outbox_id=seen.row.id, generation=generation)
        return taken

    async def settle(self, outbox_id: str) -> None:
        """Bring a document in step with its row. Of an account that is not held only proof is written.

        Raises StoreUnavailable.
        """
        async with self._lock(outbox_id):
            kept = await self._copy.row(outbox_id)
            if kept is None:
                return
            generation = self.generation(kept.row.account)
            if generation is not None or kept.row.state in PROVEN:
                await self._bring(kept, kept.row, generation)

    async def settle_all(self, account: AccountId | None = None) -> None:
        """Write up what has moved. Raises StoreUnavailable when all has been tried and something could not be."""
        place, found = 0, await self._copy.moved(_AT_ONCE)
        failure: Transient | None = None
        while found:
            names = [kept.row.id for _, kept in found if account in {None, kept.row.account}]
            failure = await self._settle_each(names) or failure
            place = found[-1][0]
            found = await self._copy.moved(_AT_ONCE, place)
        if failure is not None:
            raise failure

    async def flush(self, account: AccountId) -> None:
        """Write up all that an account's documents do not say yet. Raises StoreUnavailable."""
        await self.settle_all(account)
        kept = await self._copy.open_rows(account)
        failure = await self._settle_each([each.row.id for each in kept if self._differs(each)])
        if failure is not None:
            raise failure

    async def claim(self, outbox_id: str, slot: Slot | None) -> OutboxRow:
        """Make sure that nobody else sends a message, and commit that this instance is about to.

        Raises Conflict if it is not to be sent any more, InstancePassive if the right does not last, StoreUnavailable.
        """
        async with self._lock(outbox_id):
            kept = await self._existing(outbox_id)
            now, account = self._clock.now(), kept.row.account
            if kept.row.expires_at <= now:
                raise Conflict("its time is over")
            claimed = moved(kept.row, Input.CLAIM, now, slot=slot, foreign_since=0.0)
            generation = self.require_time(account)
            if await self._bring(kept, claimed, generation, self._patience) is not Act.MIRROR_UP:
                raise Conflict("the message was changed by another instance")
            if self.require_time(account) != generation:  # what was claimed too late is not sent
                raise InstancePassive("the lease under which the message was claimed has ended")
            return await self._copy.claim(outbox_id, slot)

    async def act(self, outbox_id: str, happened: Input, **changes: Any) -> OutboxRow:
        """Do what an operator wants. Raises Conflict, NotFound, InstancePassive, StoreUnavailable."""
        async with self._lock(outbox_id):
            kept = await self._existing(outbox_id)
            generation = self.generation(kept.row.account)
            if generation is None:
                raise InstancePassive("another instance runs this account")
            after = moved(kept.row, happened, self._clock.now(), **changes)
            if await self._bring(kept, after, generation) is not Act.MIRROR_UP:
                raise Conflict("the message was changed by another instance")
            return await self._copy.acted(kept.row, after)

    async def _bring(self, kept: Kept, wanted: OutboxRow, generation: int | None, timeout: float = _TIMEOUT) -> Act:
        """Let the document say ``wanted`` if the row is the later word of the two; else do what the policy says."""
        for _ in range(_TRIES):
            seen, news = await self._look(kept.row, timeout)
            stamp = Stamp(self._instance, _generation(seen) if generation is None else generation)
            act = decide(None if seen is None else _document(seen, news=news), kept.local, stamp.generation)
            if seen is None or act not in {Act.NOTHING, Act.MIRROR_UP}:
                await self._otherwise(act, kept, seen, stamp)
                if act is not Act.CREATE:
                    return act
            elif act is Act.NOTHING and wanted is kept.row:
                await self._in_step(kept)
                return act
            elif await self._changed(kept, wanted, seen, stamp, timeout):
                return Act.MIRROR_UP
        raise LostRace("the message is changed by others all the time")

    async def _changed(self, kept: Kept, wanted: OutboxRow, seen: SeenRow, stamp: Stamp, timeout: float) -> bool:
        try:
            version = await self._shared.change(wanted, seen.version, stamp, timeout)
        except LostRace:
            self._seen.pop(kept.row.id, None)
            return False
        self._remember(SeenRow(wanted, version, seen.place, stamp))
        if wanted is kept.row:
            await self._in_step(kept)
        return True

    async def _otherwise(self, act: Act, kept: Kept, seen: SeenRow | None, stamp: Stamp) -> None:
        if seen is not None and act in {Act.ADOPT, Act.ADOPT_UNKNOWN}:
            await self._copy.absorb([self._news(seen)], stamp.generation)
            self._remember(seen)
        elif act is Act.CREATE:
            key = await self._copy.key_of(kept.row.id)
            place, now = place_at(kept.row.created_at), self._clock.now()
            created, _ = await self._shared.create(kept.row, place, key, now, _TIMEOUT)
            self._remember(created)
            await self._copy.has_document(kept.row.id)
        elif act is Act.END:
            await self._copy.end(kept.row.id)
        else:
            if act is Act.STALE:
                _log.error("outbox_row_has_later_lease", outbox_id=kept.row.id, generation=stamp.generation)
            await self._in_step(kept)

    async def _look(self, row: OutboxRow, timeout: float) -> tuple[SeenRow | None, bool]:
        """The document as it was seen last, or as it is now; and whether that is news."""
        seen = self._seen.get(row.id)
        if seen is not None:
            return seen, False
        seen = (await self._shared.get([(row.account, row.id)], timeout)).get(row.id)
        if seen is None:
            return None, False
        news = self._is_foreign(seen)
        if not news:
            self._remember(seen)
        return seen, news

    async def _in_step(self, kept: Kept) -> None:
        if kept.mark > IN_STEP:
            await self._copy.in_step(kept.row.id, kept.mark)

    async def _settle_each(self, names: Sequence[str]) -> Transient | None:
        done = await asyncio.gather(*map(self.settle, names), return_exceptions=True)
        failure: Transient | None = None
        for error in done:
            if isinstance(error, Transient):
                failure = error
            elif isinstance(error, BaseException):
                raise error
        return failure

    async def _existing(self, outbox_id: str) -> Kept:
        kept = await self._copy.row(outbox_id)
        if kept is None:
            raise NotFound("there is no such outgoing message")
        return kept

    def _differs(self, kept: Kept) -> bool:
        seen = self._seen.get(kept.row.id)
        return seen is None or seen.row.state is not kept.row.state

    def _is_fresh(self, seen: SeenRow) -> bool:
        """Whether it tells more than is known. Of what this instance does itself it knows, or is about to."""
        known = self._seen.get(seen.row.id)
        if known is None:
            return True
        own = Stamp(self._instance, self._held.get(seen.row.account, 0))
        return seen.version > known.version and seen.stamp != own

    def _is_foreign(self, seen: SeenRow) -> bool:
        return seen.stamp.holder not in {NOBODY, self._instance}

    def _news(self, seen: SeenRow) -> News:
        return News(seen.row, _document(seen, news=self._is_foreign(seen)))

    def _remember(self, seen: SeenRow) -> None:
        self._seen[seen.row.id] = seen
        self._seen.move_to_end(seen.row.id)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _lock(self, outbox_id: str) -> asyncio.Lock:
        return self._locks.setdefault(outbox_id, asyncio.Lock())


def _document(seen: SeenRow, *, news: bool) -> Document:
    return Document(seen.row.state, seen.stamp.generation, news)


def _generation(seen: SeenRow | None) -> int:
    """Who only adds proof claims no later lease than the one under which the document was changed."""
    return 0 if seen is None else seen.stamp.generation
