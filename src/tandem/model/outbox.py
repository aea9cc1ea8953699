"""Outgoing messages: what was accepted, and what is known of its fate."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tandem.model.ids import AccountId, ChatId
from tandem.model.states import OutboxState, Slot


class SendOutcome(StrEnum):
    """What one call of the library's send came to."""

    ACCEPTED = "accepted"  # server ack; the message id is valid
    REJECTED = "rejected"  # server refused; the error says why
    NOT_SENT = "not_sent"  # provably never left this machine; safe to try again
    UNKNOWN = "unknown"  # no answer: it may have been sent


@dataclass(frozen=True, slots=True)
class SendResult:
    """``timestamp`` is the server's, in Unix seconds, 0 if there was none."""

    outcome: SendOutcome
    message_id: str = ""
    timestamp: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A message accepted for sending. Times in Unix seconds, 0 when not reached yet.

    ``secret`` is 32 bytes, HMAC of the id, and names the row in WhatsApp's own storage and in the partner's echo.
    """

    id: str
    account: AccountId
    chat: ChatId
    text: str = field(repr=False)
    secret: bytes = field(repr=False)
    state: OutboxState
    reason: str
    created_at: float
    expires_at: float
    updated_at: float
    message_id: str = ""
    slot: Slot | None = None
    attempts: int = 0
