"""The JSON shapes of conversations, as they come from the store."""

from __future__ import annotations

from pydantic import Field

from tandem.api.masking import shown
from tandem.api.views import Done, Json
from tandem.model.ids import GROUP_SERVER, Jid
from tandem.model.states import MessageStatus
from tandem.store.port import Chat, StoredMessage


class ChatJson(Json):
    id: str
    name: str
    is_group: bool
    timestamp: int
    last_message: str
    unread_count: int | None = Field(default=None, description="Always null: the phone keeps it to itself.")

    @classmethod
    def of(cls, chat: Chat, *, full: bool) -> ChatJson:
        return cls(
            id=shown(chat.id, full=full),
            name=shown(chat.name, full=full),
            is_group=Jid.parse(chat.id).server == GROUP_SERVER,
            timestamp=chat.last_message_at,
            last_message=shown(chat.last_message, full=full),
        )


class ChatsAnswer(Done):
    chats: list[ChatJson]


class MessageJson(Json):
    id: str
    chat_id: str
    sender: str = Field(alias="from")
    recipient: str = Field(alias="to")
    body: str
    from_me: bool
    has_media: bool
    kind: str
    timestamp: int
    stored_at: int
    status: MessageStatus = Field(description="Somebody else's message is received; an own one goes from sent on.")
    delivered_at: int | None = Field(description="When the first of its recipients got an own message.")
    read_at: int | None = Field(description="When the first of its recipients read an own message.")

    @classmethod
    def of(cls, stored: StoredMessage, *, full: bool) -> MessageJson:
        message = stored.message
        return cls(
            id=message.message_id,
            chat_id=shown(message.chat, full=full),
            sender=shown(message.sender, full=full),
            recipient=shown(message.recipient, full=full),
            body=shown(message.text, full=full),
            from_me=message.from_me,
            has_media=message.has_media,
            kind=message.kind,
            timestamp=message.timestamp,
            stored_at=stored.stored_at,
            status=message.standing.status,
            delivered_at=message.standing.delivered_at,
            read_at=message.standing.read_at,
        )


class MessagesAnswer(Done):
    messages: list[MessageJson]
    next: str | None = Field(
        description="What to give as ``cursor`` for the page of older messages; null when there are none."
    )
