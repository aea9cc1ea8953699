"""What the API needs from the rooms below; the daemon hands in the real parts, unit tests their twins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tandem.model.ids import AccountId, ChatId, Number
from tandem.model.outbox import OutboxRow
from tandem.model.states import Slot
from tandem.model.views import AccountView, PairingView, PairMethod


class Accounts(Protocol):
    """The supervised accounts. Every method raises NotFound for an account that does not exist."""

    async def add(self, name: str, number: Number) -> tuple[AccountView, bool]:
        """Add an account and start pairing its primary. The same number again: the same account, False."""
        ...

    def list(self) -> Sequence[AccountView]: ...

    def get(self, account: AccountId) -> AccountView: ...

    async def pair(self, account: AccountId, slot: Slot, method: PairMethod) -> tuple[PairingView, bool]:
        """Start a pairing, or return the one under way and False. Raises Conflict if the slot is paired."""
        ...

    async def switch(self, account: AccountId) -> AccountView:
        """Move the active role to the other slot. Raises Conflict, with the reason, if that one cannot take it."""
        ...

    async def remove(self, account: AccountId) -> None:
        """Log out both devices and forget the account; its conversations stay in the store."""


class Outgoing(Protocol):
    """Messages on their way out."""

    async def accept(
        self, account: AccountId, chat: ChatId, text: str, idempotency_key: str | None = None
    ) -> tuple[OutboxRow, bool]:
        """Commit a message for sending. With a key that was used before: the row it made, and False.

        Raises Conflict if the key came with another message, Overloaded when the account's backlog is full.
        """
        ...

    async def get(self, outbox_id: str) -> OutboxRow:
        """Raise NotFound if there is none."""
        ...
