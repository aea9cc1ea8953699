"""From the hosts' raw events to the durable queue: decode, find the one form, commit, acknowledge. In that order.

Each slot is a lane of its own: its events are committed in order, a batch while the last one is being synced, and an
event is acknowledged only when it and everything before it is on the disk. What the queue refuses stays in the host's
journal and is tried again; what cannot be understood becomes a dead letter, which is durable too.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from tandem.clock import Clock, Random
from tandem.errors import PoisonMessage, TandemError, Transient
from tandem.inbound.intake import Decode, Decoded, Intake, Result, Work, here, work_of
from tandem.model.event import EventType, Publish
from tandem.model.ids import AccountId, Number
from tandem.model.message import DecodedMessage, RawEvent
from tandem.model.self_probe import is_probe
from tandem.model.states import Slot
from tandem.policy.backoff import full_jitter
from tandem.queue.inbox import Copy
from tandem.queue.queue import Queue
from tandem.queue.statistics import Histogram

_log = structlog.get_logger(__name__)
_LARGEST_BATCH = 256
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0
_LEFTOVER_TRIES = 8
_LOOK_AGAIN = 0.05

Lane = tuple[AccountId, Slot]


@dataclass(slots=True)
class Counts:
    """Since the start: events that came in, and what they were."""

    received: int = 0
    first: int = 0
    duplicate: int = 0
    undecryptable: int = 0
    receipts: int = 0
    dead_lettered: int = 0
    self_probes: int = 0  # not messages: known by their secret, heard and forgotten
    refused: int = 0  # dropped at the bound of a lane; the journal has them


@dataclass(slots=True)
class _Line:
    """What waits in a lane, and the task that works on it. ``seen`` of the events are decoded."""

    events: deque[RawEvent] = field(default_factory=deque)
    committed: int = 0
    seen: int = 0
    task: asyncio.Task[None] | None = None


class Pipeline:
    """``receive`` and ``import_leftover`` go to the supervisor, ``acknowledge`` comes from it.

    ``own_number`` gives the number of an account, None for one that is unknown. ``overflowed`` is told once of a
    generation whose lane is full: its later events are dropped here, stay in its journal, and are imported when the
    slot is started again. ``arrived`` is told of every message that came in for the first time, once it is durable,
    ``heard`` of every copy of a message that a running host handed up, before that, ``understood`` of everything that
    could be decoded, whoever handed it up. ``holds`` says whether this instance runs an account now: of others the
    messages are held back.
    """

    def __init__(
        self,
        queue: Queue,
        decode: Decode,
        acknowledge: Callable[[RawEvent], None],
        own_number: Callable[[AccountId], Number | None],
        *,
        clock: Clock,
        random: Random,
        publish: Publish,
        lane_bound: int = 20_000,
        overflowed: Callable[[RawEvent], None] | None = None,
        heard: Callable[[RawEvent, DecodedMessage], None] | None = None,
        arrived: Callable[[RawEvent], None] = lambda _event: None,
        understood: Callable[[AccountId, Decoded], None] = lambda _account, _decoded: None,
        holds: Callable[[AccountId], bool] = here,
    ) -> None:
        self.counts = Counts()
        self.received: Counter[AccountId] = Counter()
        self.duplicates: Counter[AccountId] = Counter()
        self.pair_lag_ms = Histogram((1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 60_000))
        self._intake = Intake(queue, clock, holds)
        self._decode = decode
        self._acknowledge = acknowledge
        self._own_number = own_number
        self._clock = clock
        self._random = random
        self._publish = publish
        self._lane_bound = lane_bound
        self._overflowed = overflowed
        self._heard = heard
        self._arrived = arrived
        self._understood = understood
        self._lines: dict[Lane, _Line] = {}
        self._full: dict[Lane, tuple[int, float]] = {}
        self._leftovers: list[Sequence[RawEvent]] = []

    def receive(self, event: RawEvent) -> None:
        """Take an event from a host. Returns at once; the event is acknowledged when it is durable."""
        lane = (event.account, event.slot)
        if lane in self._full:
            if self._full[lane][0] == event.generation:
                self.counts.refused += 1
                return
            del self._full[lane]  # a new host: before it was started, the journal of the last one was imported
        line = self._lines.setdefault(lane, _Line())
        if len(line.events) >= self._lane_bound:
            self._refuse(lane, event)
            return
        line.events.append(event)
        self.counts.received += 1
        if line.task is None:
            line.task = asyncio.create_task(self._work_off(lane, line), name=f"inbound {event.slot} {event.account}")

    async def import_leftover(self, events: Sequence[RawEvent]) -> None:
        """Make durable what a dead host had journaled; then its journal may be forgotten. In order, nothing connected.

        The inbox's bound does not count here: these messages exist nowhere else. Raises StoreUnavailable when the disk
        goes on refusing.
        """
        self.counts.received += len(events)
        self._leftovers.append(events)
        try:
            for start in range(0, len(events), _LARGEST_BATCH):
                batch = [self._work(event) for event in events[start : start + _LARGEST_BATCH]]
                await self._persist(batch, tries=_LEFTOVER_TRIES, bounded=False)
        finally:
            self._leftovers.remove(events)

    async def replay(self, letter: int) -> None:
        """Process a dead letter again: a message goes back to the inbox, an event is decoded anew.

        Raises NotFound; raises PoisonMessage, and keeps the letter, if it still cannot be understood.
        """
        await self._intake.replay(letter, self._work)

    def oldest_open(self) -> dict[AccountId, float]:
        """When each account's oldest event arrived that was handed up and is not in the inbox yet, in Unix seconds."""
        found = [(lane[0], line.events[0].arrived_at) for lane, line in self._lines.items() if line.events]
        found += [(account, arrived_at) for (account, _), (_, arrived_at) in self._full.items()]
        found += [(batch[0].account, batch[0].arrived_at) for batch in self._leftovers if batch]
        oldest: dict[AccountId, float] = {}
        for account, arrived_at in found:
            oldest[account] = min(arrived_at, oldest.get(account, arrived_at))
        return oldest

    async def caught_up(self, account: AccountId) -> None:
        """Return when everything that has come in for an account so far is durable."""
        lines = [line for (owner, _), line in self._lines.items() if owner == account]
        awaited = [(line, line.committed + len(line.events)) for line in lines]
        while any(line.committed < count for line, count in awaited):
            await self._clock.sleep(_LOOK_AGAIN)

    async def drain(self, timeout: float) -> int:
        """Finish what was received, for at most ``timeout`` seconds, then stop. Returns how many events were left.

        Those are in the journals and come back at the next start.
        """
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        left = sum(len(line.events) for line in self._lines.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return left

    async def _work_off(self, lane: Lane, line: _Line) -> None:
        try:
            while line.events:
                events = [line.events[index] for index in range(min(len(line.events), _LARGEST_BATCH))]
                batch = [self._work(event) for event in events]
                line.seen = len(batch)
                await self._persist(batch)
                for _ in events:
                    line.events.popleft()
                line.seen = 0
                line.committed += len(events)
                self._acknowledge_all(events)
        finally:
            self._lines.pop(lane, None)

    def behind(self, account: AccountId, slot: Slot) -> bool:
        """Whether events of a slot wait here that were not decoded yet."""
        line = self._lines.get((account, slot))
        return line is not None and len(line.events) > line.seen

    def _acknowledge_all(self, events: Sequence[RawEvent]) -> None:
        last = {event.generation: event for event in events if event.sequence}
        for event in last.values():
            try:
                self._acknowledge(event)
            except TandemError:
                _log.debug("not_acknowledged", slot=str(event.slot), generation=event.generation)

    def _work(self, event: RawEvent) -> Work:
        work = work_of(event, self._decode, self._own_number(event.account))
        self._understood(event.account, work.decoded)
        if not isinstance(work.decoded, DecodedMessage):
            return work
        if self._heard is not None and event.generation:  # else a dead host left it behind
            self._heard(event, work.decoded)
        if work.decoded.from_me and is_probe(work.decoded.secret):
            self.counts.self_probes += 1
            return replace(work, decoded=None)
        return work

    async def _persist(self, batch: Sequence[Work], *, tries: int | None = None, bounded: bool = True) -> None:
        """Commit a batch. A refusal of the queue is tried again; what can never be committed becomes a dead letter."""
        failures = 0
        while True:
            try:
                await self._intake.commit(batch, self._committed, bounded=bounded)
                return  # noqa: TRY300 - the loop's only way out
            except Transient as error:
                failures += 1
                if failures == 1:
                    _log.warning("inbound_waits", reason=str(error))
                if tries is not None and failures >= tries:
                    raise
                chance = self._random.uniform(0.0, 1.0)
                await self._clock.sleep(full_jitter(failures, chance, _FIRST_WAIT, _LONGEST_WAIT))
            except Exception as error:  # noqa: BLE001 - content that the queue cannot hold must not stop the lane
                batch = await self._isolate(batch, error, tries=tries, bounded=bounded)

    async def _isolate(
        self, batch: Sequence[Work], error: Exception, *, tries: int | None, bounded: bool
    ) -> Sequence[Work]:
        """Commit one by one what was refused together; the one that is at fault becomes a dead letter."""
        if len(batch) == 1:
            return [batch[0].buried(_reason(error))]
        for work in batch:
            await self._persist([work], tries=tries, bounded=bounded)
        return []

    def _committed(self, result: Result) -> None:
        """Count and tell, once for each committed batch."""
        for work, verdict in result.verdicts:
            account = work.event.account
            if verdict.copy is Copy.FIRST:
                self.counts.first += 1
                self.received[account] += 1
                self._arrived(work.event)
            elif verdict.copy is Copy.DUPLICATE:
                self.counts.duplicate += 1
                self.duplicates[account] += 1
            else:
                self.counts.undecryptable += 1
            if verdict.lag_ms is not None:
                self.pair_lag_ms.add(abs(verdict.lag_ms))
        self.counts.receipts += result.receipts
        for event, reason in result.buried:
            self.counts.dead_lettered += 1
            self._publish(
                EventType.DEAD_LETTER, f"an event became a dead letter: {reason}", account=event.account, reason=reason
            )
        for move in result.moves:
            if move.newly_sent:
                row = move.after
                self._publish(
                    EventType.MESSAGE_SENT, "message sent", account=row.account, reason=row.reason, outbox_id=row.id
                )

    def _refuse(self, lane: Lane, event: RawEvent) -> None:
        self._full[lane] = (event.generation, event.arrived_at)
        self.counts.refused += 1
        _log.error("inbound_lane_full", account=event.account, slot=str(event.slot), generation=event.generation)
        if self._overflowed is not None:
            self._overflowed(event)


def _reason(error: Exception) -> str:
    """Why, without the content: only our own texts are known to hold none."""
    return str(error) if isinstance(error, PoisonMessage) else f"it cannot be queued ({type(error).__name__})"
