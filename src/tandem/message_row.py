"""A message as a row of SQLite, the same in the queue and in the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tandem.model.ids import AccountId, ChatId, MessageKey
from tandem.model.message import Message, Standing
from tandem.model.states import MessageStatus
from tandem.sqlite_schema import seal

Row = tuple[object, ...]
STATUSES = {status.number: status for status in MessageStatus}


def sealed_row(message: Message) -> Row:
    """Every field in the order of the columns, and the seal over them."""
    row = (
        str(message.account),
        str(message.chat),
        str(message.key),
        message.message_id,
        message.sender,
        message.sender_name,
        message.recipient,
        int(message.from_me),
        message.kind,
        message.text,
        int(message.has_media),
        message.reply_to,
        int(message.timestamp),
        int(message.received_at),
        bytes(message.raw),
    )
    return (*row, seal(*row))


def standing_of(status: int, delivered_at: int | None, read_at: int | None) -> Standing:
    """Read where a message stands from its columns."""
    return Standing(STATUSES[status], delivered_at, read_at)


def message_of(row: Sequence[Any], standing: Standing | None = None) -> Message:
    """Inverse of ``sealed_row``, without the seal. Without a ``standing`` the message is new."""
    (account, chat, key, message_id, sender, sender_name, recipient, from_me, kind, text, has_media, *rest) = row
    reply_to, timestamp, received_at, raw = rest
    return Message(
        account=AccountId(account),
        chat=ChatId(chat),
        key=MessageKey(key),
        message_id=message_id,
        sender=sender,
        sender_name=sender_name,
        recipient=recipient,
        from_me=bool(from_me),
        kind=kind,
        text=text,
        has_media=bool(has_media),
        reply_to=reply_to,
        timestamp=timestamp,
        received_at=received_at,
        raw=bytes(raw),
        standing=standing or Standing.first(from_me=bool(from_me)),
    )
