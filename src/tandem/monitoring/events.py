"""The one stream of domain events: every log line, counter and live view of what happened starts here."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice

import structlog
from structlog.contextvars import get_contextvars

from tandem.clock import Clock, Random
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId
from tandem.model.states import Slot
from tandem.monitoring.redaction import Redactor

_log = structlog.get_logger()

_LEVELS: Mapping[EventType, str] = {
    EventType.ALERT: "error",
    EventType.DEAD_LETTER: "error",
    EventType.DELIVERY_DEGRADED: "warning",
    EventType.DELIVERY_FAILED: "error",
    EventType.FLEET_HELD: "error",
    EventType.HOST_ENDED: "warning",
    EventType.HOST_LOG: "debug",
    EventType.KEEP_ALIVE_FIXED: "warning",
    EventType.LEASE_LOST: "warning",
    EventType.LIBRARY_OLD: "warning",
    EventType.MESSAGE_SENT: "debug",
    EventType.MESSAGE_SEND_FAILED: "warning",
    EventType.MESSAGE_SEND_UNKNOWN: "warning",
    EventType.MESSAGE_UNDECRYPTABLE: "error",
    EventType.PAIRING_FAILED: "warning",
    EventType.PAIRING_STEP: "debug",
    EventType.PHONE_UNSEEN: "warning",
    EventType.RATE_LIMIT_DETECTED: "warning",
    EventType.REGION_UNHEALTHY: "warning",
    EventType.SESSION_OFFLINE: "warning",
    EventType.SESSION_PARKED: "error",
    EventType.STORE_DEGRADED: "error",
}
_GRADED = frozenset({EventType.PHONE_UNSEEN})  # errors if their ``severity`` is critical
_UNSEEN = frozenset({EventType.HOST_LOG})  # for the log alone
_ROUTINE = frozenset({EventType.BATCH_SAVED, EventType.MESSAGE_SENT})  # kept apart, to wash nothing else out


class Subscription:
    """One reader's bounded queue. A reader that is slow loses the oldest events and is told how many."""

    def __init__(self, size: int) -> None:
        self._waiting: deque[Event] = deque(maxlen=size)
        self._wake = asyncio.Event()
        self._dropped = 0
        self._closed = False

    def offer(self, event: Event) -> None:
        self._dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(event)
        self._wake.set()

    def close(self) -> None:
        """Wake the reader for the last time."""
        self._closed = True
        self._wake.set()

    @property
    def closed(self) -> bool:
        return self._closed

    def take_dropped(self) -> int:
        """Return how many events were lost since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    async def next(self, timeout: float) -> Sequence[Event]:
        """Return what has come, oldest first; empty after ``timeout`` seconds of silence or when closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        self._wake.clear()
        events = tuple(self._waiting)
        self._waiting.clear()
        return events


class EventStream:
    """Implements ``model.event.Publish``; to be called on the event loop's thread. Never blocks, never raises."""

    def __init__(
        self,
        clock: Clock,
        random: Random,
        redactor: Redactor | None = None,
        *,
        keep: int = 2000,
        instance: str = "",
    ) -> None:
        """``keep``: how many notable events are held in memory; ``instance`` names this daemon in each of them."""
        self._instance = instance
        self._clock = clock
        self._random = random
        self._redactor = redactor or Redactor()
        self._notable: deque[tuple[int, Event]] = deque(maxlen=keep)
        self._routine: deque[tuple[int, Event]] = deque(maxlen=keep // 2)
        self._sequence = 0
        self._counts: Counter[EventType] = Counter()
        self._subscriptions: set[Subscription] = set()
        self._listeners: list[Callable[[Event], None]] = []
        self.failures = 0

    def __call__(
        self,
        type: EventType,  # noqa: A002 - the field's name everywhere else
        message: str,
        *,
        account: AccountId | None = None,
        slot: Slot | None = None,
        generation: int = 0,
        reason: str = "",
        **data: object,
    ) -> None:
        try:
            event = Event(
                id=self._random.token(),
                type=EventType(type),
                message=self._redactor.text(message),
                timestamp=self._clock.now(),
                account=account,
                slot=slot,
                generation=generation,
                reason=self._redactor.text(reason),
                data=self._redactor.mapping(data),
                instance=self._instance,
                correlation=str(get_contextvars().get("request_id", "")),
            )
            self._counts[event.type] += 1
            self._tell(event)
        except Exception:  # noqa: BLE001 - telling must not hurt doing
            self.failures += 1

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` with every event, at once; it must be quick. What it raises is counted and dropped."""
        self._listeners.append(listener)

    def restore(self, events: Sequence[Event]) -> None:
        """Hold what happened before this start too, newest first: it is shown, but neither counted nor told again."""
        held = {event.id for ring in (self._notable, self._routine) for _, event in ring}
        for age, event in enumerate(event for event in events if event.id not in held):
            ring = self._ring(event)
            if len(ring) < (ring.maxlen or 0):
                ring.appendleft((-1 - age, event))

    def counts(self) -> Mapping[EventType, int]:
        """Return how often each type has been since the start."""
        return dict(self._counts)

    def recent(self, limit: int, type: EventType | None = None, account: AccountId | None = None) -> Sequence[Event]:  # noqa: A002
        """Return the newest ``limit`` events that match, newest first, of those still held."""
        held = merge(reversed(self._notable), reversed(self._routine), key=_sequence, reverse=True)
        matching = (event for _, event in held if type in {None, event.type} and account in {None, event.account})
        return list(islice(matching, limit))

    def after(self, event_id: str) -> Sequence[Event]:
        """Return what came after an event, oldest first; nothing if that one is not held any more."""
        events = [event for _, event in merge(self._notable, self._routine, key=_sequence)]
        for index, event in enumerate(events):
            if event.id == event_id:
                return events[index + 1 :]
        return []

    @contextlib.contextmanager
    def subscribe(self, size: int = 256) -> Iterator[Subscription]:
        """Open a reader's queue of ``size`` events, closed with the block."""
        subscription = Subscription(size)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """Send all readers home; publishing goes on working."""
        for subscription in self._subscriptions:
            subscription.close()

    def _tell(self, event: Event) -> None:
        if event.type not in _UNSEEN:
            self._sequence += 1
            self._ring(event).append((self._sequence, event))
            for subscription in self._subscriptions:
                subscription.offer(event)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - one bad reader must not hurt the others
                self.failures += 1
        self._write(event)

    def _ring(self, event: Event) -> deque[tuple[int, Event]]:
        return self._routine if event.type in _ROUTINE else self._notable

    def _write(self, event: Event) -> None:
        fields: dict[str, object] = {"message": event.message}
        if event.account is not None:
            fields["account"] = event.account
        if event.slot is not None:
            fields["slot"] = str(event.slot)
        if event.generation:
            fields["generation"] = event.generation
        if event.reason:
            fields["reason"] = event.reason
        extra = {key: value for key, value in event.data.items() if key not in _RESERVED}
        urgent = event.type in _GRADED and event.data.get("severity") == "critical"
        getattr(_log, "error" if urgent else _LEVELS.get(event.type, "info"))(str(event.type), **fields, **extra)


def _sequence(entry: tuple[int, Event]) -> int:
    return entry[0]


_RESERVED = frozenset({"event", "message", "level", "timestamp", "account", "slot", "generation", "reason", "exc_info"})
