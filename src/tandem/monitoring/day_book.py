"""Keeps the figures of the day: counts what happens as it is told, and writes it down once a minute.

A kill costs the last minute's counts and nothing else: messages and outages have records of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, tzinfo

import structlog

from tandem.clock import Clock
from tandem.errors import Transient
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId
from tandem.model.states import Slot
from tandem.monitoring.sources import Sources, Traffic
from tandem.monitoring.tally import Tally
from tandem.policy.report import bucket
from tandem.queue.day_figures import DayFigures, Figure

_log = structlog.get_logger(__name__)
_EVERY = 60.0
_EVENTS: Mapping[EventType, str] = {
    EventType.MESSAGE_SEND_FAILED: "send_failed",
    EventType.SWITCHED_TO_BACKUP: "failovers",
    EventType.SWITCHED_TO_PRIMARY: "failovers",
    EventType.PROACTIVE_RECONNECT: "proactive_reconnects",
    EventType.HOST_ENDED: "host_ends",
}
_TIMES = {"silent_ms": "detected", "role_gap_ms": "role_moved"}
_TALLIED = {
    "disconnects": "disconnects",
    "reconnects": "reconnects",
    "reconnectFails": "reconnect_failures",
    "messageLoss": "dead",
    "rateLimits": "rate_limits",
}


class DayBook:
    """An ``EventStream`` listener; ``run`` is its task, ``close`` writes down the rest."""

    def __init__(self, table: DayFigures, sources: Sources, tally: Tally, zone: tzinfo, clock: Clock) -> None:
        self._table = table
        self._sources = sources
        self._tally = tally
        self._zone = zone
        self._clock = clock
        self._sums: Counter[Figure] = Counter()
        self._highest: dict[Figure, float] = {}
        self._traffic: Mapping[AccountId, Traffic] = {}
        self._writes = 0
        self._offline_since: dict[tuple[AccountId, Slot | None], float] = {}
        self._tallied: Mapping[tuple[AccountId | None, str], int] = {}

    def __call__(self, event: Event) -> None:
        if event.account is not None:
            self._time(event, event.account)
        if name := _EVENTS.get(event.type):
            self._sums[event.account or "", name] += 1
        if event.type is EventType.ALERT:
            self._sums["", "alerts"] += 1

    def _time(self, event: Event, account: AccountId) -> None:
        """Note how long faults went unnoticed, how long the role took to move, and slots to come back."""
        slot, now = (account, event.slot), self._clock.monotonic()
        for field, way in _TIMES.items():
            if isinstance(milliseconds := event.data.get(field), int | float):
                self.took(account, way, milliseconds / 1000)
        if event.type is EventType.SESSION_OFFLINE:
            self._offline_since[slot] = now
        elif event.type is EventType.SESSION_ONLINE and slot in self._offline_since:
            self.took(account, "recovered", now - self._offline_since.pop(slot))

    def took(self, account: AccountId, way: str, seconds: float) -> None:
        """Note how long something took: a message on its way ``inbound`` or ``outbound``, or what ``_time`` notes."""
        self._sums[account, f"{way}_{bucket(seconds)}"] += 1

    def today(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), self._zone).date().isoformat()

    async def run(self) -> None:
        """Write down what has happened once a minute, until cancelled."""
        while True:
            day = self.today()
            await self._clock.sleep(_EVERY)
            await self.write_down(day)

    async def close(self) -> None:
        await self.write_down(self.today())

    async def write_down(self, day: str) -> None:
        """Add what was counted since the last time to a day; what the disk refuses stays for the next time."""
        self._gather()
        sums, highest = self._sums, self._highest
        self._sums, self._highest = Counter(), {}
        try:
            if sums or highest:
                await self._table.add(day, sums, highest)
        except Transient as error:
            self._sums.update(sums)
            self._highest = {**highest, **self._highest}
            _log.warning("day_figures_wait", message="Figures of the day cannot be written now", reason=str(error))

    def _gather(self) -> None:
        traffic = self._sources.traffic()
        for account, now in traffic.items():
            before = self._traffic.get(account, Traffic())
            for name in ("received", "duplicates", "stored", "sent"):
                if more := getattr(now, name) - getattr(before, name):
                    self._sums[account, name] += more
        self._traffic = dict(traffic)
        tallied = self._tally.totals()
        for (subject, kind), count in tallied.items():
            if more := count - self._tallied.get((subject, kind), 0):
                self._sums[subject or "", _TALLIED[kind]] += more
        self._tallied = tallied
        writes = self._sources.writes()
        if writes > self._writes:
            self._sums["", "writes"] += writes - self._writes
        self._writes = writes
        for name, backlog in (("inbox", self._sources.inbox()), ("outbox", self._sources.outbox())):
            if backlog.depth:
                self._highest["", f"{name}_high_water"] = backlog.depth
