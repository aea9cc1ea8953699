"""Outgoing messages as documents.

accounts/{account}/outbox/{id}           a message that was accepted for sending
accounts/{account}/outboxKeys/{digest}   what an idempotency key made, deleted by Firestore's TTL policy on ``expireAt``

Times are Unix milliseconds, as their names say. ``open``: something is still to become of the message. When nothing is
any more, ``expireAt`` says when the document may be deleted. ``position`` orders by time and then by acceptance.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2s
from typing import Any

from tandem.cluster.outbox_port import KEYS_KEPT, SeenRow, Stamp
from tandem.cluster.port import Version
from tandem.model.cluster import InstanceId
from tandem.model.ids import AccountId, ChatId
from tandem.model.outbox import IdempotencyKey, IfUnknown, OutboxRow
from tandem.model.states import OutboxState, Slot
from tandem.policy.shared_outbox import OPEN
from tandem.queue.outbox_content import dump, load
from tandem.store.firestore.documents import Names, position
from tandem.store.firestore.values import Write, fields_of, fill

SCHEMA_VERSION = 1
KEPT_DAYS = 30
_WITHIN_ONE = 10_000
"""A place is a time in milliseconds and four digits more, in one number that a cursor can carry."""
_STATES = {str(state): state for state in OutboxState}
_SLOTS = {str(slot): slot for slot in Slot}
_IF_UNKNOWN = {str(each): each for each in IfUnknown}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def place_at(seconds: float) -> int:
    """Return the first place of this time (Unix seconds)."""
    return int(seconds * 1000) * _WITHIN_ONE


def position_of(place: int) -> str:
    return position(place // _WITHIN_ONE, place % _WITHIN_ONE)


def row_name(names: Names, account: str, outbox_id: str) -> str:
    return f"{names.account(account)}/outbox/{outbox_id}"


def key_name(names: Names, account: str, key: IdempotencyKey) -> str:
    """A key is any text that a client thinks of; a document's name is not."""
    return f"{names.account(account)}/outboxKeys/{blake2s(key.text.encode(errors='surrogatepass')).hexdigest()}"


def creation(names: Names, row: OutboxRow, place: int) -> Any:
    """Return the write that creates a document. Raises PoisonMessage for what Firestore could never hold."""
    write = Write()
    write.update.name = row_name(names, row.account, row.id)
    fixed = {
        "schemaVersion": SCHEMA_VERSION,
        "id": row.id,
        "account": str(row.account),
        "chat": str(row.chat),
        "content": dump(row.content),
        "ifUnknown": str(row.if_unknown),
        "secret": bytes(row.secret),
        "createdAtMs": _ms(row.created_at),
        "position": position_of(place),
    }
    fill(write.update, fixed | _moving(row, Stamp()))
    write.current_document.exists = False
    return write


def change(names: Names, row: OutboxRow, expected: Version, stamp: Stamp) -> Any:
    """Return the write of all that may change of a document, if it is in the expected state."""
    write = Write()
    write.update.name = row_name(names, row.account, row.id)
    values = _moving(row, stamp)
    fill(write.update, values)
    write.update_mask.field_paths.extend([*values, "expireAt"])  # masked and not there: deleted
    write.current_document.update_time.seconds, write.current_document.update_time.nanos = expected
    return write


def key_creation(names: Names, row: OutboxRow, key: IdempotencyKey, now: float, replaces: Version | None) -> Any:
    """Return the write that remembers what a key made; ``replaces``: one whose time was over."""
    write = Write()
    write.update.name = key_name(names, row.account, key)
    expires = _EPOCH + timedelta(seconds=now + KEYS_KEPT)
    fill(write.update, {"request": bytes(key.request), "outboxId": row.id, "expireAt": expires})
    if replaces is None:
        write.current_document.exists = False
    else:
        write.current_document.update_time.seconds, write.current_document.update_time.nanos = replaces
    return write


def key_of(document: Any, now: float) -> tuple[bytes, str] | None:
    """Return the request and the message of a key, None if its time is over: Firestore deletes it late."""
    fields = fields_of(document)
    expires = (fields["expireAt"] - _EPOCH).total_seconds()
    return (fields["request"], fields["outboxId"]) if expires > now else None


def version_of(document: Any) -> Version:
    return document.update_time.seconds, document.update_time.nanos


def row_of(document: Any) -> SeenRow:
    """Inverse of ``creation`` and ``change``. Raises ValueError, KeyError for what no release has written."""
    fields = fields_of(document)
    row = OutboxRow(
        id=fields["id"],
        account=AccountId(fields["account"]),
        chat=ChatId(fields["chat"]),
        content=load(fields["content"]),
        secret=fields["secret"],
        state=_STATES[fields["state"]],
        reason=fields["reason"],
        created_at=_seconds(fields["createdAtMs"]),
        expires_at=_seconds(fields["expiresAtMs"]),
        updated_at=_seconds(fields["updatedAtMs"]),
        if_unknown=_IF_UNKNOWN[fields["ifUnknown"]],
        sent_at=_seconds(fields["sentAtMs"]),
        delivered_at=_seconds(fields["deliveredAtMs"]),
        read_at=_seconds(fields["readAtMs"]),
        ended_at=_seconds(fields["endedAtMs"]),
        message_id=fields["messageId"],
        slot=_SLOTS[fields["slot"]] if fields["slot"] else None,
        attempts=fields["attempts"],
    )
    stamp = Stamp(InstanceId(fields["holder"]), fields["generation"])
    return SeenRow(row, version_of(document), _place_of(fields["position"]), stamp)


def in_milliseconds(row: OutboxRow) -> OutboxRow:
    """Return the row with its times as a document gives them back."""
    return replace(
        row,
        created_at=_seconds(_ms(row.created_at)),
        expires_at=_seconds(_ms(row.expires_at)),
        updated_at=_seconds(_ms(row.updated_at)),
        sent_at=_seconds(_ms(row.sent_at)),
        delivered_at=_seconds(_ms(row.delivered_at)),
        read_at=_seconds(_ms(row.read_at)),
        ended_at=_seconds(_ms(row.ended_at)),
    )


def _moving(row: OutboxRow, stamp: Stamp) -> dict[str, object]:
    values: dict[str, object] = {
        "state": str(row.state),
        "open": row.state in OPEN,
        "reason": row.reason,
        "expiresAtMs": _ms(row.expires_at),
        "updatedAtMs": _ms(row.updated_at),
        "sentAtMs": _ms(row.sent_at),
        "deliveredAtMs": _ms(row.delivered_at),
        "readAtMs": _ms(row.read_at),
        "endedAtMs": _ms(row.ended_at),
        "messageId": row.message_id,
        "slot": str(row.slot) if row.slot else None,
        "attempts": row.attempts,
        "generation": stamp.generation,
        "holder": str(stamp.holder),
    }
    if row.state not in OPEN:
        values["expireAt"] = _EPOCH + timedelta(seconds=row.updated_at, days=KEPT_DAYS)
    return values


def _place_of(position: str) -> int:
    moment, _, within = position.partition("-")
    return (int(moment, 16) - 2**63) * _WITHIN_ONE + int(within, 16)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _seconds(milliseconds: int) -> float:
    return milliseconds / 1000
