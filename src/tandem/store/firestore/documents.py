"""What is written, and where. Every document carries ``schemaVersion``.

accounts/{account}                              an account
accounts/{account}/chats/{chat}                 a chat and its newest message
accounts/{account}/chats/{chat}/messages/{key}  a message, created once; of it only the status changes, and only grows
monitoring_events/{id}                          an event, deleted by Firestore's TTL policy on ``expireAt``

Times are Unix milliseconds, as their names say; ``expireAt`` is a Timestamp, since TTL wants one. Lists are read by a
single ascending or descending field, so that they work before anybody has deployed an index: ``position`` orders
messages and events by time and then by arrival; ``recency``, the negated time of a chat's last message, puts the newest
chat first and those of the same second by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tandem.errors import PoisonMessage
from tandem.message_row import standing_of
from tandem.model.account import Account
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId, ChatId, MessageKey, Number
from tandem.model.message import Message, StatusUpdate
from tandem.model.states import Slot
from tandem.store.firestore.values import MAX_NAME, Write, fields_of, fill, usable_id
from tandem.store.port import Chat, StoredMessage, display_name

SCHEMA_VERSION = 1
EVENT_DAYS = 30
_SLOTS = {str(slot): slot for slot in Slot}
_OFFSET = 2**63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Names:
    """Full names of documents in a database (``projects/…/databases/…``)."""

    database: str

    @property
    def root(self) -> str:
        return f"{self.database}/documents"

    def account(self, account: str) -> str:
        return f"{self.root}/accounts/{account}"

    def chat(self, account: str, chat: str) -> str:
        return f"{self.account(account)}/chats/{chat}"

    def message(self, account: str, chat: str, key: str) -> str:
        return f"{self.chat(account, chat)}/messages/{key}"

    def event(self, identifier: str) -> str:
        return f"{self.root}/monitoring_events/{identifier}"

    def report(self, day: str) -> str:
        return f"{self.root}/daily_reports/{day}"


def position(timestamp: int, sequence: int) -> str:
    """Order by time, then by arrival, as one sortable text. Raises PoisonMessage beyond 64 bits."""
    if not -_OFFSET < timestamp < _OFFSET:
        raise PoisonMessage("Firestore cannot hold its time (beyond 64 bits)")
    return f"{timestamp + _OFFSET:016x}-{sequence:016x}"


def start_of(timestamp: int) -> str:
    """Return the position before all others of this time."""
    return f"{min(max(timestamp, -_OFFSET), _OFFSET - 1) + _OFFSET:016x}"


def message_write(names: Names, message: Message, place: str, stored_at: int) -> Any:
    """Return the write that creates a message at its position and does nothing if it exists.

    Raises PoisonMessage for what Firestore could never hold, without repeating it.
    """
    for what, part in (("account", message.account), ("chat", message.chat), ("key", message.key)):
        if not usable_id(part):
            raise PoisonMessage(f"its {what} cannot be a document's name")
    write = Write()
    write.update.name = names.message(message.account, message.chat, message.key)
    if len(write.update.name.encode()) > MAX_NAME:
        raise PoisonMessage("its document's name would be too long")
    fill(write.update, _message_fields(message, place, stored_at))
    write.current_document.exists = False
    return write


def _message_fields(message: Message, place: str, stored_at: int) -> dict[str, object]:
    media = message.has_media
    return {
        "schemaVersion": SCHEMA_VERSION,
        "id": message.message_id,
        "account": str(message.account),
        "chat": str(message.chat),
        "from": message.sender,
        "fromName": message.sender_name,
        "to": message.recipient,
        "fromMe": message.from_me,
        "kind": message.kind,
        "text": "" if media else message.text,
        "caption": message.text if media else "",
        "hasMedia": media,
        "replyTo": message.reply_to,
        "timestampMs": message.timestamp,
        "receivedAtMs": message.received_at,
        "storedAtMs": stored_at,
        "position": place,
        "raw": bytes(message.raw),
        "statusNumber": message.standing.status.number,
        "deliveredAtMs": message.standing.delivered_at,
        "readAtMs": message.standing.read_at,
    }


def status_write(names: Names, update: StatusUpdate) -> Any:
    """Return the write that lets a message stand where the update says, or further, and creates nothing.

    Maximum and minimum are judged by Firestore itself: no order of arrival and no repetition takes anything back.
    """
    write = Write()
    write.update.name = names.message(update.account, update.chat, update.key)
    write.update_mask.SetInParent()  # empty, but there: all other fields stay as they are
    write.current_document.exists = True
    standing = update.standing
    transform(write, "statusNumber").maximum.integer_value = standing.status.number
    if standing.delivered_at is not None:
        transform(write, "deliveredAtMs").minimum.integer_value = standing.delivered_at
    if standing.read_at is not None:
        transform(write, "readAtMs").minimum.integer_value = standing.read_at
    return write


def transform(write: Any, field: str) -> Any:
    """Return a new transform of this field, done when the write is."""
    added = write.update_transforms.add()
    added.field_path = field
    return added


def message_of(document: Any) -> StoredMessage:
    fields = fields_of(document)
    number = fields.get("statusNumber", int(fields["fromMe"]))  # older documents have none
    message = Message(
        account=AccountId(fields["account"]),
        chat=ChatId(fields["chat"]),
        key=MessageKey(document.name.rpartition("/")[2]),
        message_id=fields["id"],
        sender=fields["from"],
        sender_name=fields["fromName"],
        recipient=fields["to"],
        from_me=fields["fromMe"],
        kind=fields["kind"],
        text=fields["text"] or fields["caption"],
        has_media=fields["hasMedia"],
        reply_to=fields["replyTo"],
        timestamp=fields["timestampMs"],
        received_at=fields["receivedAtMs"],
        raw=fields["raw"],
        standing=standing_of(number, fields.get("deliveredAtMs"), fields.get("readAtMs")),
    )
    return StoredMessage(message, fields["storedAtMs"])


def chat_of(document: Any) -> Chat:
    fields = fields_of(document)
    chat = ChatId(fields["chat"])
    return Chat(chat, display_name(chat, fields["name"]), fields["lastMessage"], fields["lastMessageAtMs"])


def merge(name: str, values: Mapping[str, object]) -> Any:
    """Return the write of these fields that leaves all others of the document as they are."""
    write = Write()
    write.update.name = name
    fill(write.update, values)
    write.update_mask.field_paths.extend(values)
    return write


def account_write(names: Names, account: Account) -> Any:
    """Merged, for the operator may have set ``owner`` there (see config/firestore.rules)."""
    values = {
        "schemaVersion": SCHEMA_VERSION,
        "id": str(account.id),
        "phone": str(account.number),
        "name": account.name,
        "createdAtMs": int(account.created_at * 1000),
    }
    return merge(names.account(account.id), values)


def account_of(document: Any) -> Account | None:
    """None for a document that holds only what others keep there."""
    fields = fields_of(document)
    if not fields.get("phone"):
        return None
    identity = AccountId(document.name.rpartition("/")[2])
    return Account(identity, Number(fields["phone"]), fields.get("name", ""), fields.get("createdAtMs", 0) / 1000)


def event_write(names: Names, event: Event, sequence: int) -> Any:
    """Return the write that creates an event. Raises PoisonMessage for what Firestore could never hold."""
    if not usable_id(event.id):
        raise PoisonMessage("the event's id cannot be a document's name")
    write = Write()
    write.update.name = names.event(event.id)
    plain = json.dumps(dict(event.data), default=str)
    try:
        fill(write.update, _event_fields(event, sequence) | {"data": json.loads(plain)})
    except PoisonMessage:
        # JSON that Firestore has no shape for, such as a list in a list, is kept as its text.
        write.update.ClearField("fields")
        fill(write.update, _event_fields(event, sequence) | {"dataJson": plain})
    write.current_document.exists = False
    return write


def _event_fields(event: Event, sequence: int) -> dict[str, object]:
    milliseconds = int(event.timestamp * 1000)
    return {
        "schemaVersion": SCHEMA_VERSION,
        "id": event.id,
        "type": str(event.type),
        "message": event.message,
        "account": event.account,
        "slot": str(event.slot) if event.slot else None,
        "generation": event.generation,
        "reason": event.reason,
        "instance": event.instance,
        "correlation": event.correlation,
        "timestamp": float(event.timestamp),
        "timestampMs": milliseconds,
        "position": position(milliseconds, sequence),
        "expireAt": _EPOCH + timedelta(seconds=event.timestamp, days=EVENT_DAYS),
    }


def event_of(document: Any) -> Event:
    fields = fields_of(document)
    return Event(
        id=fields["id"],
        type=EventType(fields["type"]),
        message=fields["message"],
        timestamp=fields["timestamp"],
        account=fields["account"],
        slot=_SLOTS.get(fields["slot"]),
        generation=fields["generation"],
        reason=fields["reason"],
        data=json.loads(fields["dataJson"]) if "dataJson" in fields else fields["data"],
        instance=fields.get("instance", ""),
        correlation=fields.get("correlation", ""),
    )


def report_write(names: Names, day: str, report: Mapping[str, object]) -> Any:
    """Return the write that creates a day's report, unless there is one."""
    write = Write()
    write.update.name = names.report(day)
    fill(write.update, {"schemaVersion": SCHEMA_VERSION, "report": dict(report)})
    write.current_document.exists = False
    return write


def report_of(document: Any) -> Mapping[str, object]:
    found: Mapping[str, object] = fields_of(document)["report"]
    return found
