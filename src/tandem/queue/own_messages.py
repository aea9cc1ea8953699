"""What was sent from here is part of the conversation, even when no partner slot is linked that would echo it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from tandem.model.ids import LID_SERVER, USER_SERVER, ChatId, message_key
from tandem.model.message import Message, Standing
from tandem.model.outbox import Content, MarkRead, OutboxRow, Reaction, Reply, Revoke, Text
from tandem.queue.inbox import Arrival, Entry, Lookup, Verdict, put
from tandem.queue.outbox_rows import Move
from tandem.sqlite_schema import load_queries

_PEOPLE = (f"@{USER_SERVER}", f"@{LID_SERVER}")
_NUMBER = load_queries("tandem.queue", "outbox")["number"]


def keep_sent(connection: sqlite3.Connection, row: OutboxRow, timestamp: int, now: float) -> list[Verdict]:
    """Put a message that the server took into the inbox; its echo is then a duplicate, or this one of the echo.

    ``timestamp`` is the server's in Unix seconds, 0 if there was none; ``now`` in Unix seconds.
    """
    found = connection.execute(_NUMBER, (str(row.account),)).fetchone()
    sender = f"{str(found[0]).removeprefix('+')}@{USER_SERVER}" if found else ""
    sent_at = timestamp * 1000 or int(now * 1000)

    def entry(number_of: Lookup) -> Entry:
        chat = _canonical(row.chat, number_of)
        return Entry(_message(row, chat, sender, sent_at, int(now * 1000)), slot=None)

    return put(connection, [Arrival(row.account, (), entry)], now)


def keep_proven(connection: sqlite3.Connection, moves: Iterable[Move], now: float) -> list[Verdict]:
    """Put those into the inbox that are proven by something else than their echo, which may have been lost.

    They were sent about when they became unknown.
    """
    proven = [move for move in moves if move.newly_sent and move.after.message_id]
    kept = [keep_sent(connection, move.after, int(move.before.updated_at), now) for move in proven]
    return [verdict for verdicts in kept for verdict in verdicts]


def _canonical(chat: ChatId, number_of: Lookup) -> ChatId:
    user, _, server = chat.partition("@")
    number = number_of(user) if server == LID_SERVER else None
    return ChatId(f"{number}@{USER_SERVER}") if number else chat


def _message(row: OutboxRow, chat: ChatId, sender: str, sent_at: int, now: int) -> Message:
    group = "" if chat.endswith(_PEOPLE) else chat
    kind, text, reply_to = _shown(row.content)
    return Message(
        account=row.account,
        chat=chat,
        key=message_key(row.message_id, from_me=True, group=group),
        message_id=row.message_id,
        sender=sender,
        sender_name="",
        recipient=chat,
        from_me=True,
        kind=kind,
        text=text,
        has_media=False,
        reply_to=reply_to,
        timestamp=sent_at,
        received_at=now,
        raw=b"",
        standing=Standing.first(from_me=True),
    )


def _shown(content: Content) -> tuple[str, str, str]:
    """Kind, text, and the message it refers to: the same words as for the echo of it."""
    match content:
        case Text(text):
            return "text", text, ""
        case Reply(text, target):
            return "text", text, target.message_id
        case Reaction(emoji, target, _):
            return "reaction", emoji, target.message_id
        case Revoke(message_id):
            return "revoke", "", message_id
        case MarkRead():
            raise ValueError("a read mark is no message")
