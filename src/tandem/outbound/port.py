"""The outbox, as far as the dispatcher needs it: ``queue.outbox.Outbox``, or one that instances share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from tandem.model.ids import AccountId, ChatId
from tandem.model.outbox import OutboxRow, SendResult
from tandem.model.states import Slot
from tandem.queue.outbox_rows import Move


class Waiting(Protocol):
    """Messages that wait to be sent, and what became of them. All raise Transient when they cannot tell now."""

    def subscribe(self, listener: Callable[[AccountId], None]) -> Callable[[], None]:
        """Have ``listener`` called when an account may have something to send. Returns what ends it."""
        ...

    async def interrupted(self, account: AccountId) -> None:
        """Make an account's sends that nobody works on any more unknown."""
        ...

    async def sendable(self, account: AccountId, hold: float, busy: Iterable[ChatId] = ()) -> OutboxRow | None:
        """Return the account's oldest queued row that may go now, None if none may."""
        ...

    async def conversed(self, account: AccountId, chat: ChatId) -> bool:
        """Whether the chat is no stranger's."""
        ...

    async def mark_sending(self, outbox_id: str, slot: Slot | None) -> OutboxRow:
        """Commit that the library is about to be called. Raises Conflict if the row is not to be sent any more."""
        ...

    async def record(self, outbox_id: str, result: SendResult) -> Move:
        """Commit what a send came to."""
        ...
