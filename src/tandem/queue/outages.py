"""Outages and observations on the disk. Times in Unix seconds. Kept for 400 days."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from tandem.model.ids import AccountId
from tandem.model.outage import Observation, Outage
from tandem.queue.database import Database
from tandem.sqlite_schema import load_queries, seal

_SQL = load_queries("tandem.queue", "outages")
_KEPT = 400 * 86_400.0


class Outages:
    """All raise StoreUnavailable when the file cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, outages: Sequence[Outage], observations: Sequence[Observation]) -> None:
        """Write outages as they are now and the signs of life, in one transaction; now and then forget what is too old.

        An outage of an account that was removed meanwhile is not written.
        """
        rows = [_row(outage) for outage in outages]
        seen = [(each.began, each.ended, int(each.stopped)) for each in observations]
        before = max((each.ended for each in observations), default=0.0) - _KEPT

        def operation(connection: sqlite3.Connection) -> None:
            connection.executemany(_SQL["save"], [(*row, seal(*row), row[0]) for row in rows])
            connection.executemany(_SQL["observe"], [(*row, seal(*row)) for row in seen])
            if rows:
                connection.execute(_SQL["forget_outages"], (before,))
                connection.execute(_SQL["forget_observations"], (before,))

        await self._database.write(operation)

    async def recent(self, account: AccountId, limit: int) -> Sequence[Outage]:
        """Newest first."""
        return [_outage(row) for row in await self._all(_SQL["recent"], (str(account), limit))]

    async def between(self, account: AccountId, since: float, until: float) -> Sequence[Outage]:
        """Those that lay at least in part between the two instants, oldest first, not cut."""
        return [_outage(row) for row in await self._all(_SQL["between"], (str(account), until, since))]

    async def observations(self, since: float, until: float) -> Sequence[Observation]:
        """When this data directory had a running instance between the two instants, oldest first, not cut."""
        return [_observation(row) for row in await self._all(_SQL["observations"], (until, since))]

    async def last_observation(self) -> Observation | None:
        rows = await self._all(_SQL["last_observation"], ())
        return _observation(rows[0]) if rows else None

    async def _all(self, query: str, parameters: tuple[object, ...]) -> list[Any]:
        return await self._database.read(lambda connection: connection.execute(query, parameters).fetchall())


def _row(outage: Outage) -> tuple[object, ...]:
    ended = None if outage.ended is None else float(outage.ended)
    account, began = str(outage.account), float(outage.began)
    return account, began, outage.cause, ended, outage.recovered, int(outage.finished)


def _outage(row: Sequence[Any]) -> Outage:
    account, began, cause, ended, recovered, finished = row
    return Outage(AccountId(account), began, cause, ended, recovered, bool(finished))


def _observation(row: Sequence[Any]) -> Observation:
    began, ended, stopped = row
    return Observation(began, ended, bool(stopped))
