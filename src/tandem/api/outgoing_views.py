"""The JSON shapes of messages on their way out."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from tandem.api.masking import shown
from tandem.api.views import Done, Json, unix_ms
from tandem.model.outbox import Content, IfUnknown, MarkRead, OutboxRow, Reaction, Reply, Revoke, Text
from tandem.model.states import AccountStatus, OutboxState, Slot


class SendAnswer(Done):
    id: str
    status: OutboxState
    account_status: AccountStatus
    online: bool = Field(description="Whether a slot of the account is online, so that it goes out now.")
    note: str | None = Field(default=None, description="What keeps it from being sent at once; absent otherwise.")
    idempotent: bool = Field(default=False, description="True when the key was used before; absent otherwise.")


class OutboxJson(Json):
    id: str
    account: str
    chat: str
    kind: Literal["text", "reply", "reaction", "revoke", "read"]
    refers_to: list[str] = Field(description="Messages that it answers, reacts to, takes back or marks as read.")
    status: OutboxState
    reason: str
    if_unknown: IfUnknown
    created_at: int = Field(description="When it was accepted.")
    updated_at: int
    expires_at: int
    sent_at: int | None = Field(description="When the server was known to have it.")
    delivered_at: int | None
    read_at: int | None
    ended_at: int | None = Field(description="When it expired, failed or was cancelled.")
    message_id: str | None = Field(description="WhatsApp's id of it, once it is known.")
    slot: Slot | None
    attempts: int

    @classmethod
    def of(cls, row: OutboxRow, *, full: bool) -> Self:
        kind, refers_to = _kind(row.content)
        return cls(
            id=row.id,
            account=row.account,
            chat=shown(row.chat, full=full),
            kind=kind,
            refers_to=refers_to,
            status=row.state,
            reason=row.reason,
            if_unknown=row.if_unknown,
            created_at=unix_ms(row.created_at),
            updated_at=unix_ms(row.updated_at),
            expires_at=unix_ms(row.expires_at),
            sent_at=_reached(row.sent_at),
            delivered_at=_reached(row.delivered_at),
            read_at=_reached(row.read_at),
            ended_at=_reached(row.ended_at),
            message_id=row.message_id or None,
            slot=row.slot,
            attempts=row.attempts,
        )


class OutboxAnswer(OutboxJson, Done):
    pass


class OutboxPage(Done):
    messages: list[OutboxJson]
    next: str | None = Field(description="What to give as ``cursor`` for the older ones; null when there are none.")


def _kind(content: Content) -> tuple[Literal["text", "reply", "reaction", "revoke", "read"], list[str]]:
    match content:
        case Text():
            return "text", []
        case Reply(_, target):
            return "reply", [target.message_id]
        case Reaction(_, target, _):
            return "reaction", [target.message_id]
        case Revoke(message_id):
            return "revoke", [message_id]
        case MarkRead(targets):
            return "read", [target.message_id for target in targets]


def _reached(seconds: float) -> int | None:
    return unix_ms(seconds) if seconds else None
