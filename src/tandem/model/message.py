"""Messages and receipts, decoded once at the edge, the same for every way they came in."""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem.model.ids import AccountId, ChatId, Jid, MessageKey
from tandem.model.states import MessageStatus, Slot


@dataclass(frozen=True, slots=True)
class RawEvent:
    """An event as a host journaled it: the library's event number and its undecoded protobuf bytes.

    ``sequence`` grows by one per journaled event of a slot and is what gets acknowledged; 0 was not journaled.
    ``arrived_at`` is in Unix seconds.
    """

    account: AccountId
    slot: Slot
    generation: int
    sequence: int
    code: int
    payload: bytes
    arrived_at: float


@dataclass(frozen=True, slots=True)
class DecodedMessage:
    """A message event in words, before the canonical chat is known: addresses as the library gave them.

    ``sender_alt`` and ``recipient_alt`` are the other form (LID or phone number) of the two people, if the server said.
    ``timestamp`` is WhatsApp's, in Unix milliseconds. ``secret`` is messageContextInfo.messageSecret, 32 bytes or none.
    ``raw`` is the serialised waE2E.Message. ``undecryptable`` messages have no content.
    """

    message_id: str
    chat: Jid
    sender: Jid
    sender_alt: Jid | None
    recipient_alt: Jid | None
    from_me: bool
    is_group: bool
    push_name: str
    timestamp: int
    kind: str
    text: str
    has_media: bool
    reply_to: str
    secret: bytes
    raw: bytes
    undecryptable: bool = False


@dataclass(frozen=True, slots=True)
class DecodedReceipt:
    """A receipt event: ``kind`` is delivered, read, played …; ``timestamp`` in Unix seconds."""

    message_ids: tuple[str, ...]
    chat: Jid
    sender: Jid
    from_me: bool
    kind: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a message has come, and since when; Unix milliseconds, None if not yet.

    In a group the first delivery and the first reading count. What has been read has been delivered, at that time at
    the latest.
    """

    status: MessageStatus = MessageStatus.RECEIVED
    delivered_at: int | None = None
    read_at: int | None = None

    @classmethod
    def first(cls, *, from_me: bool) -> Standing:
        """Return where a message stands that is new in its conversation."""
        return cls(MessageStatus.SENT if from_me else MessageStatus.RECEIVED)

    @classmethod
    def reached(cls, status: MessageStatus, at: int) -> Standing:
        """Return what a receipt says."""
        read = status in {MessageStatus.READ, MessageStatus.PLAYED}
        return cls(status, at, at if read else None)

    def joined(self, other: Standing) -> Standing:
        """Return both as one. In whatever order and however often things are joined, the same comes out."""
        return Standing(
            max(self.status, other.status, key=lambda status: status.number),
            _earlier(self.delivered_at, other.delivered_at),
            _earlier(self.read_at, other.read_at),
        )


def _earlier(one: int | None, other: int | None) -> int | None:
    return min((at for at in (one, other) if at is not None), default=None)


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """Where a message stands that is in the store already."""

    account: AccountId
    chat: ChatId
    key: MessageKey
    standing: Standing


@dataclass(frozen=True, slots=True)
class Message:
    """A canonical message, as it is queued and stored. Timestamps in Unix milliseconds.

    Its ``standing`` is kept apart, since it alone changes later: here it is as far as known.
    """

    account: AccountId
    chat: ChatId
    key: MessageKey
    message_id: str
    sender: str
    sender_name: str
    recipient: str
    from_me: bool
    kind: str
    text: str
    has_media: bool
    reply_to: str
    timestamp: int
    received_at: int
    raw: bytes = field(repr=False)
    standing: Standing = Standing()
