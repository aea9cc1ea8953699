"""Figures of each day, for the daily report: sums and high-water marks that outlive the daemon. Kept for 400 days."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from tandem.queue.database import Database
from tandem.sqlite_schema import load_queries, seal

_SQL = load_queries("tandem.queue", "day_figures")
_KEPT_DAYS = 400

Figure = tuple[str, str]
"""Account (empty for the whole instance) and name."""


class DayFigures:
    """Days are ISO dates of the report's time zone. Raises StoreUnavailable when the disk refuses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, day: str, sums: Mapping[Figure, float], highest: Mapping[Figure, float]) -> None:
        """Add to a day's sums and raise its high-water marks, in one transaction."""
        before = (date.fromisoformat(day) - timedelta(days=_KEPT_DAYS)).isoformat()

        def operation(connection: sqlite3.Connection) -> None:
            for figure, value in sums.items():
                _write(connection, day, figure, _read(connection, day, figure) + value)
            for figure, value in highest.items():
                _write(connection, day, figure, max(_read(connection, day, figure), value))
            connection.execute(_SQL["forget"], (before,))

        await self._database.write(operation)

    async def of(self, day: str) -> Mapping[str, Mapping[str, float]]:
        """Return a day's figures by account (empty: the instance) and name."""
        found: dict[str, dict[str, float]] = defaultdict(dict)
        rows = await self._database.read(lambda connection: connection.execute(_SQL["of_day"], (day,)).fetchall())
        for account, name, value in rows:
            found[account][name] = value
        return found

    async def days(self) -> Sequence[str]:
        """Return the days that have figures, the oldest first."""
        rows = await self._database.read(lambda connection: connection.execute(_SQL["days"]).fetchall())
        return [row[0] for row in rows]


def _read(connection: sqlite3.Connection, day: str, figure: Figure) -> float:
    found = connection.execute(_SQL["read"], (day, *figure)).fetchone()
    return float(found[0]) if found else 0.0


def _write(connection: sqlite3.Connection, day: str, figure: Figure, value: float) -> None:
    row = (day, *figure, float(value))
    connection.execute(_SQL["write"], (*row, seal(*row)))
