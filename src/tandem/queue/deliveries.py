"""What is to be told to endpoints outside, durable until each has it: webhooks, alerts, whatever comes.

A parcel is put for every endpoint of its kind in the transaction that commits what it tells of (``announce``), or by
itself (``Deliveries.put``). It is delivered at least once: a receiver drops repetitions by the parcel's id. Endpoints
know nothing of each other; what one never takes becomes a dead letter, which can be replayed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tandem.clock import Clock
from tandem.queue import delivery_rows as rows
from tandem.queue.database import Database
from tandem.queue.delivery_rows import SQL, Delivery, Parcel, delivery_of
from tandem.sqlite_schema import seal

_PORTION = 1_000
_GONE = "its endpoint is not configured any more"


@dataclass(slots=True)
class Figures:
    """Of one endpoint: since the start what was delivered, attempts that failed, dead letters; and what waits now."""

    kind: str
    delivered: int = 0
    failed: int = 0
    dead: int = 0
    waiting: int = 0
    oldest_at: float | None = None


class Deliveries:
    """Raises StoreUnavailable when the disk refuses; what raised was not done. Times in Unix seconds."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.figures: dict[str, Figures] = {}
        self._database = database
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []

    def age(self, endpoint: str) -> float:
        """Seconds since the oldest that waits for an endpoint was put; 0 when none waits."""
        oldest = self.figures[endpoint].oldest_at
        return 0.0 if oldest is None else max(0.0, self._clock.now() - oldest)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called on the event loop whenever something was put. It must not block."""
        self._listeners.append(listener)

    def rouse(self) -> None:
        """Tell the listeners. For those who put parcels in transactions of their own."""
        for listener in self._listeners:
            listener()

    async def configure(self, kind: str, endpoints: Sequence[str]) -> int:
        """Let these, and no others, be the endpoints of a kind, from now on and over restarts.

        What waited for one that is gone becomes dead letters; returns how many.
        """
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> int:
            gone = set(rows.endpoints(connection, kind)) - set(endpoints)
            for name in endpoints:
                connection.execute(SQL["add_endpoint"], (name, kind, seal(name, kind)))
            buried = 0
            for name in gone:
                connection.execute(SQL["remove_endpoint"], (name,))
                while found := _oldest(connection, name, _PORTION):
                    buried += rows.bury_all(connection, found, _GONE, now)
            return buried

        buried = await self._database.write(operation)
        for name in endpoints:
            self.figures.setdefault(name, Figures(kind))
        await self.refresh()
        return buried

    async def put(self, kind: str, parcels: Sequence[Parcel]) -> None:
        """Commit parcels for every endpoint of a kind."""
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> None:
            for parcel in parcels:
                rows.announce(connection, kind, parcel, now)

        await self._database.write(operation, lambda _: self.rouse())

    async def due(self, endpoint: str, limit: int) -> Sequence[Delivery]:
        """Return the oldest delivery of each lane whose time has come, oldest first."""
        wanted = {"endpoint": endpoint, "now": self._clock.now(), "limit": limit}
        found = await self._database.read(lambda connection: connection.execute(SQL["due"], wanted).fetchall())
        return [delivery_of(row) for row in found]

    async def next_time(self, endpoint: str) -> float | None:
        """When the time of the next comes that is not due yet; None if nothing waits."""
        wanted = {"endpoint": endpoint, "now": self._clock.now()}
        row = await self._database.read(lambda connection: connection.execute(SQL["next_time"], wanted).fetchone())
        return None if row is None else row[0]

    async def delivered(self, delivery: Delivery) -> None:
        """The endpoint has it."""

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute(SQL["remove"], (delivery.sequence,))

        def done(_: None) -> None:
            self._of(delivery.endpoint).delivered += 1

        await self._database.write(operation, done)

    async def postpone(self, delivery: Delivery, next_at: float) -> None:
        """An attempt failed: try again at ``next_at``."""

        def done(_: None) -> None:
            self._of(delivery.endpoint).failed += 1

        await self._database.write(lambda connection: rows.postpone(connection, delivery.sequence, next_at), done)

    async def give_up(self, delivery: Delivery, reason: str, *, all_before: float = 0.0) -> int:
        """Move a delivery to the dead letters, and all of its endpoint that were put before a time.

        ``reason`` holds no secret. Returns how many went.
        """
        now, endpoint = self._clock.now(), delivery.endpoint

        def operation(connection: sqlite3.Connection) -> int:
            found = connection.execute(SQL["too_old"], (endpoint, all_before, _PORTION))
            others = [each for row in found.fetchall() if (each := delivery_of(row)).sequence != delivery.sequence]
            return rows.bury_all(connection, [delivery, *others], reason, now)

        def done(buried: int) -> None:
            self._of(endpoint).failed += 1
            self._of(endpoint).dead += buried

        return await self._database.write(operation, done)

    async def trim(self, endpoint: str, most: int) -> int:
        """Move the oldest beyond ``most`` to the dead letters. Returns how many went."""
        now = self._clock.now()
        reason = f"more than {most} waited for its endpoint"

        def operation(connection: sqlite3.Connection) -> int:
            waiting = connection.execute(SQL["backlog"], (endpoint,)).fetchone()[0]
            if waiting <= most:
                return 0
            found = _oldest(connection, endpoint, min(waiting - most, _PORTION))
            return rows.bury_all(connection, found, reason, now)

        def done(buried: int) -> None:
            self._of(endpoint).dead += buried

        return await self._database.write(operation, done)

    async def refresh(self) -> None:
        """Bring what waits in ``figures`` up to date."""
        found = await self._database.read(lambda connection: connection.execute(SQL["backlogs"]).fetchall())
        backlogs: Mapping[str, tuple[int, float]] = {name: (count, oldest) for name, count, oldest in found}
        for name, figures in self.figures.items():
            figures.waiting, figures.oldest_at = backlogs.get(name, (0, None))

    def _of(self, endpoint: str) -> Figures:
        return self.figures.setdefault(endpoint, Figures(""))


def _oldest(connection: sqlite3.Connection, endpoint: str, limit: int) -> Sequence[Delivery]:
    return [delivery_of(row) for row in connection.execute(SQL["oldest"], (endpoint, limit)).fetchall()]
