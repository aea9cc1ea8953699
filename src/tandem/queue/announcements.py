"""What webhooks are told, in the words of the API. Parcels are put within the transaction that makes it true.

The body is JSON, ``{type, timestamp, data}``. An event's id depends on nothing but what it tells of, so that it is the
same however often it has to be told.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2s

from tandem.model.message import Message, Standing, StatusUpdate
from tandem.queue.delivery_rows import Parcel, announce, endpoints

WEBHOOK = "webhook"
MESSAGE_RECEIVED, MESSAGE_SENT = "message.received", "message.sent"
MESSAGE_STATUS = "message.status"
ACCOUNT_STATUS = "account.status"
TEST = "webhook.test"


def announce_message(connection: sqlite3.Connection, message: Message, now: float) -> None:
    """Tell of a message that is new in its conversation, once."""
    if not endpoints(connection, WEBHOOK):
        return
    kind = MESSAGE_SENT if message.from_me else MESSAGE_RECEIVED
    identifier = _identifier("message", message.account, message.key)
    announce(connection, WEBHOOK, parcel(identifier, kind, _message(message), now, message.chat), now)


def announce_status(connection: sqlite3.Connection, message_id: str, update: StatusUpdate, now: float) -> None:
    """Tell how far an own message has come."""
    if not endpoints(connection, WEBHOOK):
        return
    identifier = _identifier("status", update.account, update.key, str(update.standing.status))
    data = {"account": update.account, "id": message_id, "chatId": update.chat, **_standing(update.standing)}
    announce(connection, WEBHOOK, parcel(identifier, MESSAGE_STATUS, data, now, update.chat), now)


def parcel(identifier: str, kind: str, data: Mapping[str, object], now: float, chat: str = "") -> Parcel:
    """Return an event as a parcel. One chat's events are a lane, and so are an account's own."""
    account = str(data.get("account", ""))
    said = {
        "type": kind,
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "data": data,
    }
    return Parcel(identifier, f"{account}/{chat}", account, json.dumps(said).encode())


def _message(message: Message) -> dict[str, object]:
    return {
        "account": message.account,
        "id": message.message_id,
        "chatId": message.chat,
        "from": message.sender,
        "fromName": message.sender_name,
        "to": message.recipient,
        "body": message.text,
        "fromMe": message.from_me,
        "hasMedia": message.has_media,
        "kind": message.kind,
        "replyTo": message.reply_to,
        "timestamp": message.timestamp,
        **_standing(message.standing),
    }


def _standing(standing: Standing) -> dict[str, object]:
    return {"status": str(standing.status), "deliveredAt": standing.delivered_at, "readAt": standing.read_at}


def _identifier(*parts: str) -> str:
    return "msg_" + blake2s("\n".join(parts).encode(), digest_size=15).hexdigest()
