"""When each account's phone was last seen, on the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from tandem.model.ids import AccountId
from tandem.model.phone import Presence, Proof
from tandem.queue.database import Database
from tandem.sqlite_schema import load_queries, seal

_SQL = load_queries("tandem.queue", "phones")


class Phones:
    """Both raise StoreUnavailable when the file cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> dict[AccountId, Presence]:
        rows = await self._database.read(lambda connection: connection.execute(_SQL["load"]).fetchall())
        return {AccountId(account): Presence(at, Proof(proof), told) for account, at, proof, told in rows}

    async def save(self, presences: Mapping[AccountId, Presence]) -> None:
        """Write them in one transaction. That of an account that was removed meanwhile is not written."""
        rows = [(str(account), float(each.at), str(each.proof), each.told) for account, each in presences.items()]

        def operation(connection: sqlite3.Connection) -> None:
            connection.executemany(_SQL["save"], [(*row, seal(*row), row[0]) for row in rows])

        await self._database.write(operation)
