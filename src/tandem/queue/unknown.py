"""Sends whose fate is not known: found, and put back into the queue on proof. Part of the outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from tandem.clock import Clock
from tandem.model.ids import AccountId
from tandem.model.outbox import OutboxRow
from tandem.queue import outbox_rows as rows
from tandem.queue.database import Database
from tandem.queue.inbox import Verdict
from tandem.queue.outbox import Outbox
from tandem.queue.outbox_rows import Move
from tandem.queue.own_messages import keep_proven


class UnknownSends:
    """Raises StoreUnavailable when the disk refuses."""

    def __init__(self, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock

    async def of(self, account: AccountId) -> Sequence[OutboxRow]:
        """Return the account's unknown sends, the oldest first."""
        return await self._database.read(lambda connection: rows.unknown(connection, account))

    async def send_again(self, row: OutboxRow, why: str, *, left: bool) -> Move:
        """Queue a row again, unless evidence came meanwhile. An attempt that never ``left`` does not count as one."""
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> Move:
            return rows.send_again(connection, row.id, why, now, left=left)

        return await self._database.write(operation, lambda move: self._outbox.moved([move]))

    async def name(self, row: OutboxRow, message_id: str) -> None:
        """Note under which id a message left, so that its recipient's receipt settles it, though it may have come."""
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> tuple[list[Move], list[Verdict]]:
            moves = rows.name(connection, row.id, message_id, now)
            return moves, keep_proven(connection, moves, now)

        await self._database.write(operation, lambda done: self._outbox.proven(*done))

    async def park(self, row: OutboxRow, why: str) -> None:
        """Let a row stay unknown until an operator settles it, and say why."""
        now = self._clock.now()
        await self._database.write(lambda connection: rows.park(connection, row.id, why, now))
