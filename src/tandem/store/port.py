"""The store as the rest of Tandem sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tandem.model.account import Account
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId, ChatId, MessageKey
from tandem.model.message import Message, StatusUpdate

_PREVIEW = 200
_NOT_DIRECT = ("@g.us", "@broadcast", "@newsletter")


Name = tuple[AccountId, ChatId, MessageKey]
"""Names a message in the store."""


@dataclass(slots=True)
class Costs:
    """What was asked of Firestore, and so the most that it bills: documents written and read; and in how many calls."""

    writes: int = 0
    reads: int = 0
    calls: int = 0


@runtime_checkable
class Billed(Protocol):
    """What costs something for each document."""

    @property
    def costs(self) -> Costs:
        """What was asked for since the start."""
        ...


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message and the time it was stored, in Unix milliseconds."""

    message: Message
    stored_at: int


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat and its newest message. ``last_message_at`` in Unix milliseconds."""

    id: ChatId
    name: str
    last_message: str
    last_message_at: int


@dataclass(frozen=True, slots=True)
class Poison:
    """A message that can never be written, and why. The reason holds none of its content."""

    account: AccountId
    key: MessageKey
    reason: str


def preview(message: Message) -> str:
    """Return what a list of chats shows of its newest message."""
    return message.text[:_PREVIEW] or f"[{message.kind}]"


def display_name(chat: ChatId, name: str) -> str:
    """Return a chat's name; the user part of its address while nobody has told a name."""
    return name or chat.partition("@")[0]


def name_from(message: Message) -> str:
    """Return the name that a message gives its chat: in a direct chat what the other person calls themselves."""
    group = message.chat.endswith(_NOT_DIRECT)
    return "" if message.from_me or group else message.sender_name


class Store(Protocol):
    """Writes are create-if-absent by (account, chat, key): writing twice is success and changes nothing."""

    @property
    def name(self) -> str: ...

    async def open(self) -> None:
        """Raise Misconfigured or DataUnusable if the store cannot be used."""

    async def close(self) -> None: ...

    async def write(self, messages: Sequence[Message], updates: Sequence[StatusUpdate] = ()) -> Sequence[Poison]:
        """Make all messages durable, and their chats' last message, which never goes backwards.

        Each message then stands where it says, or further: standings only grow, a message's that was there before too.
        ``updates`` do the same for earlier messages; one of a message that is not there does nothing. Returns those
        messages that can never be written. Raises StoreUnavailable if the rest is not known to be durable.
        """
        ...

    async def save_account(self, account: Account) -> None: ...

    async def account(self, account: AccountId) -> Account | None:
        """Return an account that was saved, None if there is none."""
        ...

    async def save_event(self, event: Event) -> None: ...

    async def chats(self, account: AccountId, limit: int) -> Sequence[Chat]:
        """Newest first."""
        ...

    async def messages(
        self,
        account: AccountId,
        chat: ChatId,
        limit: int,
        before: int | None = None,
        before_key: MessageKey | None = None,
    ) -> Sequence[StoredMessage]:
        """Return the newest ``limit`` messages, oldest first; those of the same time in the order they came in.

        ``before`` (Unix milliseconds) leaves out what is not older. WhatsApp's times are whole seconds, so a page that
        ends between messages of one second needs ``before_key`` too: with the key of the oldest message of the last
        page nothing is skipped and nothing comes twice.
        """
        ...

    async def find(self, account: AccountId, chat: ChatId, message_id: str) -> Sequence[StoredMessage]:
        """Return the chat's messages of this id: one or none, but in a group any member may choose any id."""
        ...

    async def present(self, names: Sequence[Name]) -> set[Name]:
        """Return which of these messages are in the store. Raises StoreUnavailable if that cannot be known now."""
        ...

    async def events(
        self,
        limit: int,
        type: EventType | None = None,  # noqa: A002 - the field's name everywhere else
        account: AccountId | None = None,
    ) -> Sequence[Event]:
        """Newest first, those that have not expired."""
        ...

    async def save_report(self, day: str, report: Mapping[str, object]) -> bool:
        """Keep the report of a day (an ISO date), a JSON object, unless there is one. Returns whether it is new."""
        ...

    async def report(self, day: str) -> Mapping[str, object] | None:
        """Return the report of a day, None if there is none."""
        ...
