"""The outbox as the dispatcher sees it while several instances share it: a message is claimed before it is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tandem.cluster.outbox_rows import HeldRows
from tandem.errors import NotOnline
from tandem.model.ids import AccountId, ChatId
from tandem.model.outbox import OutboxRow, SendResult
from tandem.model.states import Slot
from tandem.queue.outbox import Outbox
from tandem.queue.outbox_rows import Move


class ClaimingOutbox:
    """What is claimed in time is sent by nobody else.

    Raises InstancePassive while that cannot be made sure of, NotOnline while nothing can be sent.
    """

    def __init__(self, local: Outbox, rows: HeldRows, online: Callable[[AccountId], bool]) -> None:
        """``online``: whether an account has a session that can send. Without one no claim is wasted on it."""
        self._local = local
        self._rows = rows
        self._online = online

    def subscribe(self, listener: Callable[[AccountId], None]) -> Callable[[], None]:
        return self._local.subscribe(listener)

    async def interrupted(self, account: AccountId) -> None:
        await self._local.interrupted(account)

    async def sendable(self, account: AccountId, hold: float, busy: Iterable[ChatId] = ()) -> OutboxRow | None:
        row = await self._local.sendable(account, hold, busy)
        if row is not None:
            if not self._online(account):
                raise NotOnline("no session of the account is online")
            self._rows.require_time(account)
        return row

    async def conversed(self, account: AccountId, chat: ChatId) -> bool:
        return await self._local.conversed(account, chat)

    async def mark_sending(self, outbox_id: str, slot: Slot | None) -> OutboxRow:
        """Claim a message. Raises Conflict, too, if an operator or another instance has changed it."""
        return await self._rows.claim(outbox_id, slot)

    async def record(self, outbox_id: str, result: SendResult) -> Move:
        return await self._local.record(outbox_id, result)
