"""Rows of the outbox and their moves, within a transaction of the caller's. ``policy.outbox`` decides each move."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tandem.errors import NotFound
from tandem.model.ids import AccountId, ChatId
from tandem.model.outbox import IfUnknown, OutboxRow, SendResult, Wanted
from tandem.model.states import OutboxState, Slot
from tandem.policy.outbox import ENDED, PROVEN, Input, Step, step
from tandem.queue.outbox_content import dump, load
from tandem.sqlite_schema import load_queries, seal

SQL = load_queries("tandem.queue", "outbox")
_COLUMNS = SQL["columns"]
_SENDABLE = f"{_COLUMNS} {SQL['sendable']}"
# Asked again and again: without its index named, SQLite would look through all rows of the account instead.
_OPEN = "INDEXED BY outbox_open WHERE state IN ('sending', 'unknown')"
STATES = {str(state): state for state in OutboxState}
_SLOTS = {str(slot): slot for slot in Slot}
_IF_UNKNOWN = {str(each): each for each in IfUnknown}
_CONTENT, _EXPIRES, _FIXED = 3, 7, 8
NO_DOCUMENT, IN_STEP = 0, 1
_TIMES = {OutboxState.SENT: "sent_at", OutboxState.DELIVERED: "delivered_at", OutboxState.READ: "read_at"}
_RECEIPTS = {OutboxState.DELIVERED: Input.DELIVERED, OutboxState.READ: Input.READ}


@dataclass(frozen=True, slots=True)
class Move:
    """A row before and after something happened to it."""

    before: OutboxRow
    after: OutboxRow

    @property
    def entered(self) -> OutboxState | None:
        """The state that this move led into, None if it stayed where it was."""
        return self.after.state if self.after.state is not self.before.state else None

    @property
    def newly_sent(self) -> bool:
        """Whether this is the first proof that the server has the message."""
        return self.after.state in PROVEN and self.before.state not in PROVEN


def insert(connection: sqlite3.Connection, row: OutboxRow, shared: int = NO_DOCUMENT) -> None:
    values = _values(row)
    connection.execute(SQL["accept"], (*values, *_unsealed(row), seal(*values), shared))


def find(connection: sqlite3.Connection, column: str, *values: object) -> OutboxRow | None:
    """Return the row in which ``column`` (a name or an SQL condition of ours) is the value."""
    found = connection.execute(f"{_COLUMNS} WHERE {column} = ?", values).fetchone()
    return None if found is None else row_of(found)


def find_message(connection: sqlite3.Connection, account: AccountId, message_id: str) -> OutboxRow | None:
    return find(connection, "message_id <> '' AND account = ? AND message_id", str(account), message_id)


def sendable(
    connection: sqlite3.Connection, account: AccountId, now: float, settled_before: float, busy: Iterable[ChatId]
) -> OutboxRow | None:
    chats = json.dumps(sorted(busy))
    parameters = {"account": str(account), "now": now, "settled_before": settled_before, "busy": chats}
    found = connection.execute(_SENDABLE, parameters).fetchone()
    return None if found is None else row_of(found)


def move(
    connection: sqlite3.Connection, row: OutboxRow, happened: Input, now: float, detail: str = "", **changes: Any
) -> Move:
    """Apply what happened. A message id that becomes known also takes up receipts that came before it."""
    after = moved(row, happened, now, detail, **changes)
    if after.message_id and not row.message_id:
        after = _with_early_receipt(connection, after, now)
    if after != row:
        save(connection, after)
    return Move(row, after)


def moved(row: OutboxRow, happened: Input, now: float, detail: str = "", **changes: Any) -> OutboxRow:
    """Return the row as it is after what happened. Raises Conflict for what must never happen to it."""
    taken = step(row.state, happened, detail)
    return replace(_stepped(row, taken, now), attempts=row.attempts + taken.attempt, **changes)


def with_early_evidence(connection: sqlite3.Connection, row: OutboxRow, now: float) -> Move:
    """Take up the echo and the receipts that came before this row was known here."""
    found = connection.execute(SQL["take_echo"], (str(row.account), row.secret)).fetchone()
    after = row
    if found is not None:
        after = moved(row, Input.ECHO, now, message_id=row.message_id or str(found[0]))
    if after.message_id:
        after = _with_early_receipt(connection, after, now)
    if after != row:
        save(connection, after)
    return Move(row, after)


def record(connection: sqlite3.Connection, row: OutboxRow, result: SendResult, now: float) -> Move:
    """Apply the result of a send."""
    changes = {"message_id": result.message_id} if result.message_id and not row.message_id else {}
    return move(connection, row, Input.of(result.outcome), now, result.error, **changes)


def restart(connection: sqlite3.Connection, now: float, account: AccountId | None) -> list[Move]:
    """Nobody knows what became of a send that its process or task did not survive. ``account`` None: all of them."""
    query = f"{_COLUMNS} {_OPEN} AND state = 'sending' AND (?1 IS NULL OR account = ?1)"
    found = connection.execute(query, (account,)).fetchall()
    return [move(connection, row_of(each), Input.RESTARTED, now) for each in found]


def expire(connection: sqlite3.Connection, now: float) -> list[Move]:
    found = connection.execute(f"{_COLUMNS} WHERE state = 'queued' AND expires_at <= ?", (now,))
    return [move(connection, row_of(each), Input.EXPIRE, now) for each in found.fetchall()]


def unknown(connection: sqlite3.Connection, account: AccountId) -> Sequence[OutboxRow]:
    condition = "AND state = 'unknown' AND account = ? ORDER BY updated_at"
    found = connection.execute(f"{_COLUMNS} {_OPEN} {condition}", (str(account),))
    return [row_of(each) for each in found]


def send_again(connection: sqlite3.Connection, outbox_id: str, why: str, now: float, *, left: bool) -> Move:
    """Put an unknown row back into the queue. Its attempts count the messages that key stores name for its secret."""
    row = find(connection, "id", outbox_id)
    if row is None:
        raise NotFound("there is no such outgoing message")
    changes = {"message_id": ""} if row.state is OutboxState.UNKNOWN else {}  # it will leave under another
    moved = move(connection, row, Input.SEND_AGAIN, now, why, **changes)
    if moved.entered is None or left:
        return moved
    after = replace(moved.after, attempts=max(0, row.attempts - 1))
    save(connection, after)
    return Move(row, after)


def name(connection: sqlite3.Connection, outbox_id: str, message_id: str, now: float) -> list[Move]:
    """Give an unknown row the id under which its message left; a receipt that was there already settles it."""
    row = find(connection, "id", outbox_id)
    if row is None or row.state is not OutboxState.UNKNOWN or row.message_id:
        return []
    after = _with_early_receipt(connection, replace(row, message_id=message_id), now)
    save(connection, after)
    return [Move(row, after)]


def park(connection: sqlite3.Connection, outbox_id: str, why: str, now: float) -> None:
    if (row := find(connection, "id", outbox_id)) is not None:
        move(connection, row, Input.PARK, now, why)


def abandon(connection: sqlite3.Connection, account: AccountId, now: float) -> list[Move]:
    """End everything of an account that is not sent: the account is to be forgotten."""
    restart(connection, now, account)
    query = f"{_COLUMNS} WHERE account = ? AND state IN ('queued', 'unknown')"
    found = [row_of(each) for each in connection.execute(query, (str(account),)).fetchall()]
    acts = {OutboxState.QUEUED: Input.CANCEL, OutboxState.UNKNOWN: Input.GIVE_UP}
    return [move(connection, row, acts[row.state], now) for row in found]


def page(connection: sqlite3.Connection, wanted: Wanted, limit: int) -> tuple[list[OutboxRow], int | None]:
    """Return the newest rows, newest first, and before which sequence number the next page begins, if there is one."""
    parameters = {
        "account": wanted.account, "state": wanted.state and str(wanted.state), "chat": wanted.chat,
        "before": wanted.before, "limit": limit + 1,
    }  # fmt: skip
    found = connection.execute(SQL["page"], parameters).fetchall()
    rows = [row_of(each[1:]) for each in found[:limit]]
    return rows, int(found[limit - 1][0]) if len(found) > limit else None


def row_of(found: Sequence[Any]) -> OutboxRow:
    identifier, account, chat, content, if_unknown, secret, created, expires, *moving = found
    state, reason, updated, sent, delivered, read, ended, message, slot, attempts, *foreign = moving
    return OutboxRow(
        id=identifier,
        account=AccountId(account),
        chat=ChatId(chat),
        content=load(content),
        if_unknown=_IF_UNKNOWN[if_unknown],
        secret=bytes(secret),
        created_at=created,
        expires_at=expires,
        state=STATES[state],
        reason=reason,
        updated_at=updated,
        sent_at=sent,
        delivered_at=delivered,
        read_at=read,
        ended_at=ended,
        message_id=message,
        slot=_SLOTS[slot] if slot else None,
        attempts=attempts,
        foreign_since=foreign[0],
        foreign_attempts=foreign[1],
    )


def _stepped(row: OutboxRow, taken: Step, now: float) -> OutboxRow:
    """The row in its new state, with the time that belongs to it."""
    if not taken.changed:
        return replace(row, reason=taken.reason or row.reason)
    after = replace(row, state=taken.state, reason=taken.reason, updated_at=now)
    if taken.state in ENDED:
        return replace(after, ended_at=now)
    if taken.state in PROVEN:
        changes: dict[str, Any] = {"sent_at": row.sent_at or now, _TIMES[taken.state]: now}
        return replace(after, ended_at=0.0, **changes)
    return replace(after, ended_at=0.0)


def _with_early_receipt(connection: sqlite3.Connection, row: OutboxRow, now: float) -> OutboxRow:
    found = connection.execute(SQL["take_receipt"], (str(row.account), row.message_id)).fetchone()
    if found is None:
        return row
    taken = step(row.state, _RECEIPTS[STATES[found[0]]])
    return _stepped(row, taken, now)


def save(connection: sqlite3.Connection, row: OutboxRow) -> None:
    values = _values(row)
    changing = (values[_CONTENT], values[_EXPIRES], *values[_FIXED:], *_unsealed(row))
    connection.execute(SQL["save"], (*changing, seal(*values), row.id))


def _values(row: OutboxRow) -> tuple[object, ...]:
    """In the order of the columns: first what never changes."""
    names = (row.id, str(row.account), str(row.chat))
    fixed = (*names, dump(row.content), str(row.if_unknown), row.secret, row.created_at, row.expires_at)
    moments = (row.updated_at, row.sent_at, row.delivered_at, row.read_at, row.ended_at)
    slot = str(row.slot) if row.slot else None
    return (*fixed, str(row.state), row.reason, *map(float, moments), row.message_id, slot, row.attempts)


def _unsealed(row: OutboxRow) -> tuple[float, int]:
    return float(row.foreign_since), row.foreign_attempts
