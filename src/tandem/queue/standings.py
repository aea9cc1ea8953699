"""How far own messages have come: receipts on their way to the store, durable like the messages themselves.

A receipt joins what is known of its message, whichever comes first, and in the transaction that acknowledges it. The
store is told once it has the message: what is known when the message is written goes with it, the rest follows as an
update, again and again until the store has said that it has it. A row is kept as long as receipts may still come.

Where another instance runs the account, it is for that one to tell the store. What it has told by its own word is
forgotten here; the rest is told when the account is run here one day, which is harmless if it is told twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tandem.clock import Clock
from tandem.message_row import standing_of
from tandem.model.ids import AccountId, ChatId, MessageKey, own_key
from tandem.model.message import DecodedReceipt, Message, Standing, StatusUpdate
from tandem.model.states import MessageStatus
from tandem.queue.announcements import announce_status
from tandem.queue.database import Database
from tandem.sqlite_schema import load_queries, seal

_SQL = load_queries("tandem.queue", "standings")
_STATUSES = {
    "delivered": MessageStatus.DELIVERED,
    "read": MessageStatus.READ,
    "played": MessageStatus.PLAYED,
}
_LATEST = 4_102_444_800  # 2100-01-01: what lies beyond is no time of a receipt
_UNCLAIMED_KEPT = 24 * 3600.0
_UNCLAIMED_MOST = 100_000
_PORTION = 5_000
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Untold:
    """What the store has yet to be told; ``sequence`` names the row."""

    sequence: int
    update: StatusUpdate


@dataclass(frozen=True, slots=True)
class _Row:
    sequence: int
    account: AccountId
    key: MessageKey
    chat: ChatId
    standing: Standing
    stored: bool
    untold: bool
    created_at: float
    changed_at: float


def _here(_account: AccountId) -> bool:
    return True


class Standings:
    """Raises StoreUnavailable when the disk refuses.

    ``elsewhere`` are accounts that another instance runs and of which the store may have something to be told.
    """

    def __init__(self, database: Database, clock: Clock, *, kept_days: int) -> None:
        self.changes = 0
        self.elsewhere: set[AccountId] = set()
        self._database = database
        self._clock = clock
        self._kept = kept_days * _DAY
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called on the event loop when the store may have something to be told. Must not block."""
        self._listeners.append(listener)

    def came_in(self, changed: int, elsewhere: Iterable[AccountId] = ()) -> None:
        """Account for committed receipts that ``changed`` so many messages, and those of accounts run ``elsewhere``."""
        self.elsewhere.update(elsewhere)
        if not changed:
            return
        self.changes += changed
        self.rouse()

    def rouse(self) -> None:
        """Have it looked again what the store is to be told."""
        for listener in self._listeners:
            listener()

    async def untold(self, limit: int, holds: Callable[[AccountId], bool] = _here) -> Sequence[Untold]:
        """Return what the store has yet to be told of messages that it has, the oldest messages first.

        Only of accounts that this instance ``holds``: which others there are shows when one of their rows comes up.
        """
        self.elsewhere = {account for account in self.elsewhere if not holds(account)}
        while True:
            wanted = {"elsewhere": json.dumps(sorted(self.elsewhere)), "limit": limit}
            found = await self._database.read(lambda connection: _untold(connection, wanted))  # noqa: B023 - awaited
            others = {row.account for row in found if not holds(row.account)}
            if others <= self.elsewhere:
                break
            self.elsewhere |= others
        return [
            Untold(row.sequence, StatusUpdate(row.account, row.chat, row.key, row.standing))
            for row in found
            if row.account not in others
        ]

    async def forget_told_elsewhere(self, account: AccountId, before: float) -> None:
        """Take for told what changed before then (Unix seconds), on the word of the instance that runs the account."""
        which = (str(account), before, _PORTION)

        def operation(connection: sqlite3.Connection) -> None:
            for found in connection.execute(_SQL["untold_of"], which).fetchall():
                _save(connection, replace(_row(found), untold=False))

        due, left = await self._database.read(lambda connection: _untold_of(connection, which))
        if due:
            await self._database.write(operation)
        elif not left:
            self.elsewhere.discard(account)

    async def count_untold(self) -> int:
        """How many messages' standings wait for the store."""
        found = await self._database.read(lambda connection: connection.execute(_SQL["count_untold"]).fetchone())
        return int(found[0])

    async def prune(self) -> None:
        """Forget receipts whose message never came, and messages of which no receipt can be expected any more."""
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute(_SQL["forget_unclaimed"], (now - _UNCLAIMED_KEPT, _UNCLAIMED_MOST))
            connection.execute(_SQL["forget"], (now - self._kept, _PORTION))

        await self._database.write(operation)


def message_came(connection: sqlite3.Connection, message: Message) -> Standing:
    """Note an own message within the caller's transaction. Returns where it stands: receipts may have come before."""
    row = _find(connection, message.account, message.key)
    if row is None:
        at = _seconds(message)
        new = _Row(0, message.account, message.key, message.chat, message.standing, False, False, at, at)
        _write(connection, _SQL["add"], new)
        return message.standing
    standing = row.standing.joined(message.standing)
    _save(connection, replace(row, chat=message.chat, standing=standing, created_at=_seconds(message)))
    return standing


def receipt_came(
    connection: sqlite3.Connection, account: AccountId, receipt: DecodedReceipt, now: float, *, held: bool = False
) -> int:
    """Join what a receipt says to what is known. Returns how many messages have come further by it.

    Receipts of the account's own devices say nothing about the recipient. ``held``: another instance runs the account,
    so it is not for us to announce it.
    """
    status = _STATUSES.get(receipt.kind)
    if receipt.from_me or status is None:
        return 0
    at = receipt.timestamp if 0 < receipt.timestamp < _LATEST else now
    said = Standing.reached(status, int(at * 1000))
    messages = {each: own_key(each, receipt.chat) for each in receipt.message_ids if each}
    return sum(_advance(connection, account, message, said, now, held=held) for message in messages.items())


def written(connection: sqlite3.Connection, message: Message) -> None:
    """The store has the message, with the standing that it was written with; what came meanwhile is left to tell."""
    row = _find(connection, message.account, message.key)
    if row is not None:
        _save(connection, replace(row, stored=True, untold=row.standing != message.standing))


def told(connection: sqlite3.Connection, update: StatusUpdate) -> None:
    """The store has this standing."""
    row = _find(connection, update.account, update.key)
    if row is not None:
        _save(connection, replace(row, untold=row.standing != update.standing))


def _advance(
    connection: sqlite3.Connection,
    account: AccountId,
    message: tuple[str, MessageKey],
    said: Standing,
    now: float,
    *,
    held: bool,
) -> bool:
    message_id, key = message
    row = _find(connection, account, key)
    if row is None:
        _write(connection, _SQL["add"], _Row(0, account, key, ChatId(""), said, False, False, now, now))
        return False
    standing = row.standing.joined(said)
    if standing == row.standing:
        return False
    _save(connection, replace(row, standing=standing, untold=True, changed_at=now))
    if row.chat and not held and standing.status is not row.standing.status:
        announce_status(connection, message_id, StatusUpdate(account, row.chat, key, standing), now)
    return True


def _find(connection: sqlite3.Connection, account: AccountId, key: MessageKey) -> _Row | None:
    found = connection.execute(_SQL["find"], (str(account), str(key))).fetchone()
    return None if found is None else _row(found)


def _untold(connection: sqlite3.Connection, wanted: Mapping[str, object]) -> list[_Row]:
    return [_row(found) for found in connection.execute(_SQL["untold"], wanted)]


def _untold_of(connection: sqlite3.Connection, which: tuple[str, float, int]) -> tuple[bool, bool]:
    """Whether an account has rows untold that are due, and any at all."""
    due = connection.execute(_SQL["untold_of"], which).fetchone() is not None
    return due, bool(connection.execute(_SQL["is_untold"], which[:1]).fetchone()[0])


def _row(found: Sequence[Any]) -> _Row:
    sequence, account, key, chat, status, delivered_at, read_at, stored, untold, created_at, changed_at = found
    standing = standing_of(status, delivered_at, read_at)
    names = (AccountId(account), MessageKey(key), ChatId(chat))
    return _Row(sequence, *names, standing, bool(stored), bool(untold), created_at, changed_at)


def _save(connection: sqlite3.Connection, row: _Row) -> None:
    _write(connection, _SQL["save"], row, row.sequence)


def _write(connection: sqlite3.Connection, query: str, row: _Row, *where: int) -> None:
    standing = row.standing
    values = (
        str(row.account),
        str(row.key),
        str(row.chat),
        standing.status.number,
        standing.delivered_at,
        standing.read_at,
        int(row.stored),
        int(row.untold),
        float(row.created_at),
    )
    connection.execute(query, (*values, float(row.changed_at), seal(*values), *where))


def _seconds(message: Message) -> float:
    return message.received_at / 1000
