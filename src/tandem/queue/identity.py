"""Who this data directory is among others: a name that it keeps for ever."""

from __future__ import annotations

import secrets
import sqlite3

from tandem.queue.database import Database
from tandem.queue.outbox_rows import SQL
from tandem.sqlite_schema import seal

_NAME = "instance"
_BYTES = 8


async def identity(database: Database) -> str:
    """Return the name, made on the first call. Raises StoreUnavailable when it cannot be kept."""
    fresh = secrets.token_bytes(_BYTES)

    def operation(connection: sqlite3.Connection) -> bytes:
        found = connection.execute(SQL["secret"], (_NAME,)).fetchone()
        if found is not None:
            return bytes(found[0])
        connection.execute(SQL["save_secret"], (_NAME, fresh, seal(_NAME, fresh)))
        return fresh

    return (await database.write(operation)).hex()
