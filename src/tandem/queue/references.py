"""Messages that another one refers to, as far as the queue knows them: own ones, and those not in the store yet."""

from __future__ import annotations

import sqlite3

from tandem.model.ids import USER_SERVER, AccountId, ChatId
from tandem.model.outbox import OutboxRow, Reply, Target, Text
from tandem.queue.outbox_rows import SQL, find_message


def known(connection: sqlite3.Connection, account: AccountId, chat: ChatId, message_id: str) -> list[Target]:
    """Return the chat's messages of this id. Of what waits for the store only the newest are looked through."""
    row = find_message(connection, account, message_id)
    if row is not None and row.chat == chat:
        return [Target(message_id, _own_address(connection, account), from_me=True, text=_text_of(row))]
    place = {"account": str(account), "chat": str(chat), "message_id": message_id}
    found = connection.execute(SQL["find_waiting"], place).fetchall()
    return [Target(message_id, sender, bool(from_me), text) for sender, from_me, text in found]


def _own_address(connection: sqlite3.Connection, account: AccountId) -> str:
    found = connection.execute(SQL["number"], (str(account),)).fetchone()
    return f"{str(found[0]).removeprefix('+')}@{USER_SERVER}" if found else ""


def _text_of(row: OutboxRow) -> str:
    return row.content.text if isinstance(row.content, Text | Reply) else ""
