"""Messages that came in unreadable: kept until a readable copy comes, and a dead letter if none does in time.

The readable copy wins whenever it comes: then the letter, if there is one by then, goes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tandem.clock import Clock
from tandem.model.ids import AccountId
from tandem.model.message import RawEvent
from tandem.model.states import Slot
from tandem.queue import dead_letters
from tandem.queue.database import Database
from tandem.sqlite_schema import load_queries, seal

_SQL = load_queries("tandem.queue", "unread")
_SLOTS = {str(slot): slot for slot in Slot}
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A message that nobody could decrypt, and the dead letter it is."""

    account: AccountId
    slot: Slot
    letter: int


class Unread:
    """Raises StoreUnavailable when the file cannot be written."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def give_up(self, before: float, reason: str, spared: Callable[[AccountId], bool]) -> list[GivenUp]:
        """Make dead letters of what came in unreadable before then (Unix seconds) and was not ``spared``; each once."""
        now = self._clock.now()
        rows = await self._database.read(
            lambda connection: connection.execute(_SQL["due"], (int(before * 1000), _AT_ONCE)).fetchall()
        )
        due = [row for row in rows if not spared(AccountId(row[1]))]
        if not due:
            return []

        def operation(connection: sqlite3.Connection) -> list[GivenUp]:
            connection.execute(_SQL["forget"])
            still = [row for row in due if connection.execute(_SQL["waits"], (row[0],)).fetchone()]
            return [_bury(connection, row, reason, now) for row in still]

        return await self._database.write(operation)


def keep(connection: sqlite3.Connection, digest: bytes, event: RawEvent) -> None:
    """Keep an unreadable message's event within the caller's transaction; the same for ``recovered``."""
    row = (digest, str(event.slot), event.code, bytes(event.payload), 0)
    connection.execute(_SQL["keep"], (*row, seal(*row)))


def recovered(connection: sqlite3.Connection, digests: Iterable[bytes]) -> None:
    """A readable copy has come: drop what was kept, and the dead letter."""
    for digest in digests:
        for (letter,) in connection.execute(_SQL["take"], (digest,)).fetchall():
            if letter:
                dead_letters.drop(connection, letter)


def _bury(
    connection: sqlite3.Connection, row: tuple[bytes, str, int, str, int, bytes], reason: str, now: float
) -> GivenUp:
    digest, account, arrived_at, slot, code, payload = row
    event = RawEvent(AccountId(account), _SLOTS[slot], 0, 0, code, payload, arrived_at / 1000)
    letter = dead_letters.bury_event(connection, event, reason, now)
    connection.execute(_SQL["buried"], (letter, seal(digest, slot, code, payload, letter), digest))
    return GivenUp(event.account, event.slot, letter)
