"""The store as the rest of Tandem sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tandem.model.account import Account
from tandem.model.event import Event
from tandem.model.ids import AccountId, ChatId, MessageKey
from tandem.model.message import Message


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
    """A message that can never be written, and why."""

    key: MessageKey
    reason: str


class Store(Protocol):
    """Writes are create-if-absent by (account, chat, key): writing twice is success and changes nothing."""

    @property
    def name(self) -> str: ...

    async def open(self) -> None:
        """Raise Misconfigured or DataUnusable if the store cannot be used."""

    async def close(self) -> None: ...

    async def write(self, messages: Sequence[Message]) -> Sequence[Poison]:
        """Make all messages durable, and their chats' last message, which never goes backwards.

        Returns those that can never be written. Raises StoreUnavailable if the rest is not known to be durable.
        """
        ...

    async def save_account(self, account: Account) -> None: ...

    async def save_event(self, event: Event) -> None: ...

    async def chats(self, account: AccountId, limit: int) -> Sequence[Chat]:
        """Newest first."""
        ...

    async def messages(
        self, account: AccountId, chat: ChatId, limit: int, before: int | None = None
    ) -> Sequence[StoredMessage]:
        """Return the newest ``limit`` messages (older than ``before``, Unix milliseconds), oldest first."""
        ...
