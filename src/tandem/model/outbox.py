"""Outgoing messages: what can be sent, what was accepted, and what is known of its fate."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tandem.model.ids import AccountId, ChatId
from tandem.model.states import OutboxState, Slot


@dataclass(frozen=True, slots=True)
class Target:
    """A message that another one refers to. ``author`` is its writer's address.

    ``text`` is what it said, as far as a reply shows it.
    """

    message_id: str
    author: str
    from_me: bool = False
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Text:
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """A text that quotes a message of the same chat."""

    text: str = field(repr=False)
    target: Target


@dataclass(frozen=True, slots=True)
class Reaction:
    """An ``emoji`` on a message of the same chat; empty takes an earlier one back. ``at`` in Unix milliseconds."""

    emoji: str
    target: Target
    at: int


@dataclass(frozen=True, slots=True)
class Revoke:
    """Takes an own message of the same chat back, for everyone."""

    message_id: str


@dataclass(frozen=True, slots=True)
class MarkRead:
    """Tells the writers that their messages were read. Repeating it changes nothing; it has no echo and no id."""

    targets: tuple[Target, ...]


Content = Text | Reply | Reaction | Revoke | MarkRead


class IfUnknown(StrEnum):
    """What to do with a message whose send got no answer and that no echo or receipt has settled."""

    RESEND = "resend"  # once it is proven that the server does not have it
    PARK = "park"  # never again, unless an operator says so


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's name for a request, and a digest of all that the request says."""

    text: str
    request: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which outbox rows are wanted, None for all; ``before``: only those behind this place of an earlier page."""

    account: AccountId | None = None
    state: OutboxState | None = None
    chat: ChatId | None = None
    before: int | None = None


class SendOutcome(StrEnum):
    """What one call of the library's send came to."""

    ACCEPTED = "accepted"  # server ack; the message id is valid
    REJECTED = "rejected"  # server refused; the error says why
    NOT_SENT = "not_sent"  # provably never left this machine; safe to try again
    UNKNOWN = "unknown"  # no answer: it may have been sent


@dataclass(frozen=True, slots=True)
class SendResult:
    """``timestamp`` (Unix seconds) and ``code`` (of a refusal) are the server's, 0 if there was none."""

    outcome: SendOutcome
    message_id: str = ""
    timestamp: int = 0
    error: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A message accepted for sending. Times in Unix seconds, 0 when not reached yet.

    ``secret`` is 32 bytes that belong to this row alone, and names it in WhatsApp's own storage and in the partner's
    echo. ``created_at`` is when it was accepted, ``ended_at`` when it expired, failed or was cancelled. A message that
    was read without a delivery receipt has no ``delivered_at``. ``foreign_since``: another instance made the call whose
    fate is unknown, and since then this one answers for it; ``foreign_attempts``: so many of the attempts were made by
    other instances, or before this one took the row up.
    """

    id: str
    account: AccountId
    chat: ChatId
    content: Content
    secret: bytes = field(repr=False)
    state: OutboxState
    reason: str
    created_at: float
    expires_at: float
    updated_at: float
    if_unknown: IfUnknown = IfUnknown.RESEND
    sent_at: float = 0.0
    delivered_at: float = 0.0
    read_at: float = 0.0
    ended_at: float = 0.0
    message_id: str = ""
    slot: Slot | None = None
    attempts: int = 0
    foreign_since: float = 0.0
    foreign_attempts: int = 0
