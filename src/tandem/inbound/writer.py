"""From the inbox into the store, in batches, exactly once.

One batch is in flight at a time: it is taken as soon as the last one has landed, so a lone message is written at once
and a burst in large batches. Rows leave the inbox only after the store has them. An outage is waited out; what the
store can never take becomes a dead letter and holds nobody up. How far own messages have come goes the same way:
with the message while it waits, as an update later.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from tandem.clock import Clock, Random
from tandem.errors import Permanent, PoisonMessage, StoreUnavailable, Transient
from tandem.inbound.intake import here
from tandem.model.event import EventType, Publish
from tandem.model.ids import AccountId, MessageKey
from tandem.model.message import StatusUpdate
from tandem.policy.backoff import full_jitter
from tandem.policy.batching import Caps, halves
from tandem.queue.inbox import Pending
from tandem.queue.queue import Queue
from tandem.queue.standings import Untold
from tandem.queue.statistics import Histogram, Took, nobody
from tandem.store.port import Store

_log = structlog.get_logger(__name__)
_FIRST_WAIT = 0.2  # seconds; the longest wait is what the refusal itself asks for
_CONTENT = (Permanent, ValueError, TypeError, ArithmeticError)
"""What a store raises when it cannot even express a message, so that trying again cannot help."""


class Writer:
    """``run`` as a task while the store is open; ``drain`` at shutdown, before the task is cancelled."""

    def __init__(
        self,
        queue: Queue,
        store: Store,
        caps: Caps,
        *,
        deadline: float,
        clock: Clock,
        random: Random,
        publish: Publish,
        holds: Callable[[AccountId], bool] = here,
    ) -> None:
        """``deadline`` is how many seconds one write to the store may take.

        ``holds`` says whether this instance runs an account: only then it tells the store how far messages have come.
        """
        self.stored: Counter[AccountId] = Counter()
        self.writes = 0
        """Documents written: a message is one, its chat one more in each batch, a change of its status one."""
        self.took: Took = nobody
        self.updated = 0
        self.in_flight = 0
        self.degraded_since: float | None = None
        self.trouble = ""
        """Why the store takes nothing, empty while it does."""
        self.write_seconds = Histogram((0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0))
        self.batch_sizes = Histogram((1, 2, 5, 10, 20, 50, 100, 200, 500))
        self._inbox = queue.inbox
        self._standings = queue.standings
        self._store = store
        self._caps = caps
        self._deadline = deadline
        self._clock = clock
        self._random = random
        self._publish = publish
        self._holds = holds
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._behind = False
        queue.inbox.subscribe(self._news.set)
        queue.standings.subscribe(self._standings_grew)

    async def run(self) -> None:
        """Write what comes, for ever."""
        self._news.set()
        while True:
            await self._news.wait()
            self._news.clear()
            self._idle.clear()
            await self._write_all()
            self._idle.set()

    async def drain(self, timeout: float) -> int:
        """Wait until the store has everything, for at most ``timeout`` seconds. Returns how many messages stay.

        What is held back is none of the writer's.
        """
        self._news.set()
        self._idle.clear()
        try:
            async with asyncio.timeout(timeout):
                while self._inbox.waiting or self._behind:
                    await self._idle.wait()
                    self._idle.clear()
        except TimeoutError:
            _log.info("inbox_not_drained", left=self._inbox.waiting)
        return self._inbox.waiting

    async def _write_all(self) -> None:
        failures = 0
        while True:
            try:
                self._behind = False
                batch = await self._inbox.pending(self._caps.documents, self._caps.fits)
                untold = await self._standings.untold(self._caps.documents, self._holds)
                if not batch and not untold:
                    return
                self._behind = bool(untold)
                await self._deliver(batch, untold)
            except Transient as error:
                failures += 1
                self._degrade(error)
                chance = self._random.uniform(0.0, 1.0)
                await self._clock.sleep(full_jitter(failures, chance, _FIRST_WAIT, error.retry_after))
            else:
                failures = 0

    def _standings_grew(self) -> None:
        self._behind = True
        self._news.set()

    async def _deliver(self, batch: Sequence[Pending], untold: Sequence[Untold] = ()) -> None:
        """Write a batch and settle it in the inbox. Raises Transient if its fate is not known: then it comes again.

        A batch that is refused as a whole is halved until the message at fault is alone. Each part is settled by
        itself, so that an outage in the middle of the search does not start it over.
        """
        started = self._clock.monotonic()
        updates = [each.update for each in untold]
        try:
            poison = await self._call(batch, updates)
        except _CONTENT as error:
            if updates:
                await self._deliver_apart(batch, updates, error)
                return
            if len(batch) > 1:
                front, _ = halves(len(batch))
                await self._deliver(batch[:front])
                await self._deliver(batch[front:])
                return
            poison = {(batch[0].message.account, batch[0].message.key): _reason(error)}
        await self._settle(batch, poison, self._clock.monotonic() - started, updates)

    async def _deliver_apart(self, batch: Sequence[Pending], updates: Sequence[StatusUpdate], error: Exception) -> None:
        """Find out whose fault it is. A standing that the store cannot hold is said and let go: it must stop nobody."""
        if batch:
            await self._deliver(batch)
        for update in updates:
            try:
                await self._call((), [update])
            except _CONTENT:
                _log.error("status_refused", account=update.account, reason=type(error).__name__)
            await self._inbox.settle((), (), [update])

    async def _call(
        self, batch: Sequence[Pending], updates: Sequence[StatusUpdate]
    ) -> dict[tuple[AccountId, MessageKey], str]:
        self.in_flight = len(batch)
        try:
            async with asyncio.timeout(self._deadline):
                found = await self._store.write([pending.message for pending in batch], updates)
        except (*_CONTENT, Transient):
            raise
        except TimeoutError:
            raise StoreUnavailable(f"the store did not answer within {self._deadline:g} s") from None
        except Exception as error:
            _log.exception("store_failed")
            raise StoreUnavailable(f"the store failed ({type(error).__name__})") from error
        finally:
            self.in_flight = 0
        return {(poison.account, poison.key): poison.reason for poison in found}

    async def _settle(
        self,
        batch: Sequence[Pending],
        poison: dict[tuple[AccountId, MessageKey], str],
        took: float,
        updates: Sequence[StatusUpdate],
    ) -> None:
        """The store has all but the poison: take the batch out of the inbox, then count it and tell."""
        reasons = [poison.get((pending.message.account, pending.message.key)) for pending in batch]
        written = [pending for pending, reason in zip(batch, reasons, strict=True) if reason is None]
        dead = [(pending, reason) for pending, reason in zip(batch, reasons, strict=True) if reason is not None]
        await self._inbox.settle(written, dead, updates)
        self.updated += len(updates)
        self.writes += len(updates)
        self._restore()
        if written:
            self._saved(written, took)
        for pending, reason in dead:
            account = pending.message.account
            self._publish(
                EventType.DEAD_LETTER, f"a message became a dead letter: {reason}", account=account, reason=reason
            )

    def _saved(self, written: Sequence[Pending], took: float) -> None:
        now = self._clock.now()
        for pending in written:
            self.took(pending.message.account, "inbound", now - pending.message.received_at / 1000)
        accounts = Counter(pending.message.account for pending in written)
        self.stored.update(accounts)
        self.writes += len(written) + len({(each.message.account, each.message.chat) for each in written})
        self.write_seconds.add(took)
        self.batch_sizes.add(len(written))
        self._publish(
            EventType.BATCH_SAVED,
            f"saved {len(written)} messages in {took * 1000:.0f} ms",
            count=len(written),
            milliseconds=round(took * 1000, 1),
            accounts=dict(accounts),
            depth=self._inbox.depth,
        )

    def _degrade(self, error: Transient) -> None:
        if self.degraded_since is not None:
            return
        self.degraded_since, self.trouble = self._clock.monotonic(), str(error)
        waiting = self._inbox.depth
        self._publish(
            EventType.STORE_DEGRADED,
            f"messages wait in the queue: {error}",
            reason=str(error),
            store=self._store.name,
            depth=waiting,
        )

    def _restore(self) -> None:
        if self.degraded_since is None:
            return
        seconds = self._clock.monotonic() - self.degraded_since
        self.degraded_since, self.trouble = None, ""
        self._publish(
            EventType.STORE_RESTORED,
            f"the store takes messages again after {seconds:.1f} s",
            seconds=round(seconds, 1),
            store=self._store.name,
            depth=self._inbox.depth,
        )


def _reason(error: Exception) -> str:
    """Why, without the content: only our own texts are known to hold none."""
    return str(error) if isinstance(error, PoisonMessage) else f"the store cannot hold it ({type(error).__name__})"
