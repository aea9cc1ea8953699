"""Evidence about own messages that comes in from WhatsApp: echoes and receipts, within the caller's transaction."""

from __future__ import annotations

import sqlite3

from tandem.model.ids import AccountId
from tandem.model.message import DecodedMessage, DecodedReceipt
from tandem.model.states import OutboxState
from tandem.policy.outbox import Input
from tandem.queue import outbox_rows as rows
from tandem.queue.outbox_rows import SQL, Move
from tandem.sqlite_schema import seal

_RECEIPTS = {
    "delivered": (Input.DELIVERED, OutboxState.DELIVERED),
    "read": (Input.READ, OutboxState.READ),
    "played": (Input.READ, OutboxState.READ),
}


def settle_echo(
    connection: sqlite3.Connection, account: AccountId, echo: DecodedMessage, now: float, *, shared: bool = False
) -> list[Move]:
    """The account's own message, as its other device got it: proof that the server has it, and its message id.

    ``shared``: other instances send for the account, too. An echo of what nobody here knows is kept then, for the day
    on which its row comes here.
    """
    if not echo.from_me or not echo.secret:
        return []
    row = rows.find(connection, "secret", echo.secret)
    if row is None and shared:
        early = (str(account), bytes(echo.secret), echo.message_id, float(now))
        connection.execute(SQL["remember_echo"], (*early, seal(*early)))
    if row is None or row.account != account:
        return []
    changes = {} if row.message_id else {"message_id": echo.message_id}
    return [rows.move(connection, row, Input.ECHO, now, **changes)]


def settle_receipt(
    connection: sqlite3.Connection, account: AccountId, receipt: DecodedReceipt, now: float
) -> list[Move]:
    """Somebody got or read own messages. Receipts of the account's other devices say nothing about the recipient.

    One that comes before its row knows its message id is kept for a while and taken up then.
    """
    if receipt.from_me or receipt.kind not in _RECEIPTS:
        return []
    happened, state = _RECEIPTS[receipt.kind]
    moves = []
    for message_id in receipt.message_ids:
        row = rows.find_message(connection, account, message_id)
        if row is None:
            early = (str(account), message_id, str(state), float(now))
            connection.execute(SQL["remember_receipt"], (*early, seal(*early)))
        else:
            moves.append(rows.move(connection, row, happened, now))
    return moves
