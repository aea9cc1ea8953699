"""Accounts and what is remembered of their slots. Small, read once at boot, written on every change."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from tandem.clock import Clock
from tandem.model.account import Account, SlotRecord
from tandem.model.ids import AccountId, Number
from tandem.model.states import SessionState, Slot
from tandem.queue.database import Database, statement
from tandem.queue.outbox import Outbox
from tandem.queue.outbox_rows import Move, abandon
from tandem.sqlite_schema import load_queries, seal

_SLOTS = {str(slot): slot for slot in Slot}
_STATES = {str(state): state for state in SessionState}
_SQL = load_queries("tandem.queue", "registry")


class Registry:
    """Writes return when they are on the disk; all raise StoreUnavailable when it cannot be written."""

    def __init__(self, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock

    async def load(self) -> Sequence[tuple[Account, Sequence[SlotRecord]]]:
        """Return every account, the first added first, with those of its slots that were ever saved, primary first."""
        return await self._database.read(_load)

    async def save_account(self, account: Account) -> None:
        row = (str(account.id), str(account.number), account.name, float(account.created_at))
        await self._database.write(statement(_SQL["save_account"], (*row, seal(*row))))

    async def save_slot(self, record: SlotRecord) -> None:
        """Do nothing for an account that was removed meanwhile."""
        state, since, until = str(record.state), float(record.since), float(record.until)
        row = (str(record.account), str(record.slot), record.device, state, record.reason, since, until)
        unsealed = (record.release, float(record.linked_since))
        await self._database.write(statement(_SQL["save_slot"], (*row, seal(*row), *unsealed, row[0])))

    async def remove_account(self, account: AccountId) -> None:
        """Forget the account and its slots. What it has not sent is cancelled, its conversations stay."""
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> list[Move]:
            connection.execute(_SQL["remove_account"], (str(account),))
            return abandon(connection, account, now)

        await self._database.write(operation, self._outbox.moved)


def _load(connection: sqlite3.Connection) -> Sequence[tuple[Account, Sequence[SlotRecord]]]:
    slots: dict[str, list[SlotRecord]] = {}
    for row in connection.execute(_SQL["slots"]):
        slots.setdefault(row[0], []).append(_slot_record(row))
    return [
        (Account(AccountId(identifier), Number(number), name, created_at), slots.get(identifier, []))
        for identifier, number, name, created_at in connection.execute(_SQL["accounts"])
    ]


def _slot_record(row: tuple[Any, ...]) -> SlotRecord:
    account, slot, device, state, *rest = row
    return SlotRecord(AccountId(account), _SLOTS[slot], device, _STATES[state], *rest)
