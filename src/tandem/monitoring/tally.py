"""Disconnects, reconnects and their like, of the last hour and in total, counted from the event stream."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from tandem.clock import Clock
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId
from tandem.model.states import Slot

HOUR = 3600.0
_MOST = 100_000  # entries of the window; beyond it the oldest are forgotten and the hour reads too low
_KINDS: Mapping[EventType, str] = {
    EventType.SESSION_OFFLINE: "disconnects",
    EventType.DEAD_LETTER: "messageLoss",
    EventType.RATE_LIMIT_DETECTED: "rateLimits",
}


class Tally:
    """An ``EventStream`` listener.

    A reconnect is a slot online again after it went offline; a failed one is a host of a later generation that ended
    before that. A lost message is one that can never be stored (it is kept among the dead letters).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._total: Counter[str] = Counter()
        self._window: deque[tuple[float, str]] = deque(maxlen=_MOST)
        self._down: dict[tuple[AccountId | None, Slot | None], int] = {}
        self._processed: deque[tuple[float, int]] = deque(maxlen=128)

    def __call__(self, event: Event) -> None:
        kind = _KINDS.get(event.type) or self._reconnect(event)
        if event.type is EventType.SESSION_OFFLINE:
            self._down[event.account, event.slot] = event.generation
        if kind:
            self._total[kind] += 1
            self._window.append((self._clock.monotonic(), kind))

    def total(self, kind: str) -> int:
        return self._total[kind]

    def last_hour(self) -> Mapping[str, int]:
        """Return the counts of the last 60 minutes by kind."""
        horizon = self._clock.monotonic() - HOUR
        while self._window and self._window[0][0] < horizon:
            self._window.popleft()
        return Counter(kind for _, kind in self._window)

    def sample(self, processed: int) -> None:
        """Remember the total of processed messages; to be called about once a minute."""
        self._processed.append((self._clock.monotonic(), processed))

    def processed_last_hour(self, processed: int) -> int:
        """Return how many of ``processed`` came in the last 60 minutes, to the minute."""
        horizon = self._clock.monotonic() - HOUR
        before = 0
        for when, count in self._processed:
            if when > horizon:
                break
            before = count
        return processed - before

    def _reconnect(self, event: Event) -> str:
        slot = (event.account, event.slot)
        if event.type is EventType.SESSION_ONLINE and self._down.pop(slot, None) is not None:
            return "reconnects"
        if event.type is EventType.HOST_ENDED and event.generation > self._down.get(slot, event.generation):
            return "reconnectFails"
        return ""
