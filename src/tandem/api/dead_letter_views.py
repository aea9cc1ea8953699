"""The JSON shapes of dead letters. For the admin token only, so nothing in them is masked."""

from __future__ import annotations

import base64

from pydantic import Field

from tandem.api.views import Done, Json, unix_ms
from tandem.model.message import Message
from tandem.model.states import Slot
from tandem.queue.dead_letters import DeadLetter, LetterKind


class DeadLetterJson(Json):
    id: int
    kind: LetterKind = Field(
        description="An event that could not be understood, a message no store takes, a delivery no endpoint took."
    )
    reason: str = Field(description="Why, in words that hold none of its content.")
    account: str
    slot: Slot | None = Field(description="The slot that an event came from; null for messages.")
    code: int | None = Field(description="The library's number of an event; null for messages.")
    arrived_at: int = Field(description="When it came from WhatsApp.")
    created_at: int = Field(description="When it was laid aside.")

    @classmethod
    def of(cls, letter: DeadLetter) -> DeadLetterJson:
        return cls(
            id=letter.id,
            kind=letter.kind,
            reason=letter.reason,
            account=letter.account,
            slot=letter.slot,
            code=letter.code if letter.kind is LetterKind.EVENT else None,
            arrived_at=unix_ms(letter.arrived_at),
            created_at=unix_ms(letter.created_at),
        )


class DeadLettersAnswer(Done):
    dead_letters: list[DeadLetterJson]
    next: int | None = Field(description="What to give as ``after`` for the next page; null at the end.")


class DeadMessageJson(Json):
    chat: str
    sender: str
    kind: str
    timestamp: int
    text: str

    @classmethod
    def of(cls, message: Message) -> DeadMessageJson:
        return cls(
            chat=_speakable(message.chat),
            sender=_speakable(message.sender),
            kind=_speakable(message.kind),
            timestamp=message.timestamp,
            text=_speakable(message.text),
        )


class DeadLetterDetails(DeadLetterJson):
    size: int = Field(description="Bytes of the payload.")
    message: DeadMessageJson | None = Field(description="What a message's letter holds; null for events.")
    raw: str | None = Field(
        description="The payload, base64, if it was asked for: an event's protobuf, a message's JSON; else null."
    )

    @classmethod
    def of_letter(cls, letter: DeadLetter, *, raw: bool) -> DeadLetterDetails:
        return cls(
            **dict(DeadLetterJson.of(letter)),
            size=len(letter.payload),
            message=_message_of(letter),
            raw=base64.b64encode(letter.payload).decode() if raw else None,
        )


class DeadLetterAnswer(Done):
    dead_letter: DeadLetterDetails


def _message_of(letter: DeadLetter) -> DeadMessageJson | None:
    """None for events, and for a message that cannot be read any more: the raw payload is there then."""
    if letter.kind is not LetterKind.MESSAGE:
        return None
    try:
        return DeadMessageJson.of(letter.message())
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def _speakable(text: str) -> str:
    r"""Return a text that JSON can carry: half a surrogate pair, which is one way to be poison, as ``\udc00``."""
    return text.encode(errors="backslashreplace").decode()
