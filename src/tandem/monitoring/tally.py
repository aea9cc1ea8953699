"""Disconnects, reconnects and their like, of the last hour and in total, counted from the event stream."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from tandem.clock import Clock
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId
from tandem.model.states import SessionState, Slot

HOUR = 3600.0
_DEAF_LATELY = 600.0
_MOST = 100_000  # entries of the window; beyond it the oldest are forgotten and the hour reads too low
_KINDS: Mapping[EventType, str] = {
    EventType.DEAD_LETTER: "messageLoss",
    EventType.MESSAGE_UNDECRYPTABLE: "messageLoss",
    EventType.RATE_LIMIT_DETECTED: "rateLimits",
}
_UNSTEADY = str(SessionState.DEGRADED)
_GAVE_UP = frozenset({str(SessionState.WAITING), str(SessionState.PARKED)})


class Tally:
    """An ``EventStream`` listener.

    A disconnect is a session that was online and is no longer connected; a missed ping alone is none. A reconnect is
    that slot online again; a failed one is an attempt before that which ended in waiting for the next. A lost message
    is one that can never be stored (it is kept among the dead letters).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._total: Counter[tuple[AccountId | None, str]] = Counter()
        self._window: deque[tuple[float, str]] = deque(maxlen=_MOST)
        self._down: set[tuple[AccountId | None, Slot | None]] = set()
        self._deaf: dict[tuple[AccountId | None, Slot | None], float] = {}
        self._processed: deque[tuple[float, int]] = deque(maxlen=128)

    def __call__(self, event: Event) -> None:
        if event.type is EventType.PROACTIVE_RECONNECT and event.data.get("deaf"):
            self._deaf[event.account, event.slot] = self._clock.monotonic()
        kind = _KINDS.get(event.type) or self._connection(event)
        if kind:
            self._total[event.account, kind] += 1
            self._window.append((self._clock.monotonic(), kind))

    def total(self, kind: str) -> int:
        return sum(count for (_, each), count in self._total.items() if each == kind)

    def totals(self) -> Mapping[tuple[AccountId | None, str], int]:
        """Return the counts since the start by account (None: the instance) and kind."""
        return dict(self._total)

    def last_hour(self) -> Mapping[str, int]:
        """Return the counts of the last 60 minutes by kind."""
        horizon = self._clock.monotonic() - HOUR
        while self._window and self._window[0][0] < horizon:
            self._window.popleft()
        return Counter(kind for _, kind in self._window)

    def deaf_lately(self, account: AccountId, slot: Slot) -> bool:
        """Whether a slot was found connected but not receiving within the last ten minutes."""
        found = self._deaf.get((account, slot))
        return found is not None and self._clock.monotonic() - found < _DEAF_LATELY

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

    def _connection(self, event: Event) -> str:
        slot, state = (event.account, event.slot), event.data.get("state")
        if event.type is EventType.SESSION_OFFLINE and state != _UNSTEADY:
            self._down.add(slot)
            return "disconnects"
        if slot not in self._down:
            return ""
        if event.type is EventType.SESSION_ONLINE:
            self._down.discard(slot)
            return "reconnects"
        return "reconnectFails" if event.type is EventType.SESSION_STATE and state in _GAVE_UP else ""
