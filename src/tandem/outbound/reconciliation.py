"""Settles the sends whose fate is not known, as far as evidence reaches; ``policy.reconciliation`` decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from tandem.clock import Clock, until_told
from tandem.errors import TandemError
from tandem.model.account import Account
from tandem.model.event import EventType, Publish
from tandem.model.outbox import MarkRead, OutboxRow
from tandem.model.states import Slot
from tandem.policy.reconciliation import Action, Evidence, judge
from tandem.queue.unknown import UnknownSends

_log = structlog.get_logger(__name__)
_PATIENCE = 5.0
_INTERVAL = 1.0
_FOREIGN_CALL = 5.0
"""Seconds after a lease came here within which a call of the last holder may still end: it claims only what it has time
to send, and ends the host of a call that is overdue."""


class KeyStores(Protocol):
    """What the devices' key stores remember of sends."""

    def departures(self, account: Account, secret: bytes) -> set[str]:
        """Return the message ids under which a message with this secret was about to leave, from either slot."""
        ...

    def paired_device(self, account: Account, slot: Slot) -> str:
        """Return the device in a slot's key store, empty if there is none. Raises DataUnusable if it is damaged."""
        ...


class Witnesses(Protocol):
    """What the account's sessions can say. Times in Unix seconds."""

    def host_started_at(self, slot: Slot) -> float | None:
        """When the running host of a slot was started, None if there is none."""
        ...

    def online_since(self, slot: Slot) -> float | None:
        """Since when a slot is online with its offline messages received, None if it is not."""
        ...

    def linked_since(self, slot: Slot) -> float:
        """Since when a slot is linked, 0 if it was before anybody noted it; infinity if it is not."""
        ...

    def recycle(self, slot: Slot) -> None:
        """End the slot's host and start another."""
        ...


class Reconciler:
    """One an account. ``run`` as a task beside its dispatcher."""

    def __init__(
        self,
        account: Account,
        unknown: UnknownSends,
        key_stores: KeyStores,
        witnesses: Witnesses,
        *,
        clock: Clock,
        publish: Publish,
        call_ended: Callable[[str], float | None] = lambda _outbox_id: None,
    ) -> None:
        """``call_ended``: when the call for a message came back, in Unix seconds, if that is known."""
        self._account = account
        self._unknown = unknown
        self._key_stores = key_stores
        self._witnesses = witnesses
        self._clock = clock
        self._publish = publish
        self._call_ended = call_ended
        self._told: set[str] = set()
        self._parked: set[tuple[str, int]] = set()
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Look now: a message has become unknown, or an overdue call has come back."""
        self._news.set()

    async def run(self) -> None:
        """Look at every unknown send of the account once a second, for ever."""
        while True:
            try:
                rows = await self._unknown.of(self._account.id)
            except TandemError as error:
                _log.warning("reconciliation_waits", account=self._account.id, reason=str(error))
                rows = ()
            for row in rows:
                await self._try(row)
            await until_told(self._news, self._clock, _INTERVAL)

    async def _try(self, row: OutboxRow) -> None:
        try:
            await self._settle(row)
        except TandemError as error:
            if row.id not in self._told:
                self._told.add(row.id)
                _log.warning("send_stays_unknown", account=row.account, outbox_id=row.id, reason=str(error))

    async def _settle(self, row: OutboxRow) -> None:
        if (row.id, row.attempts) in self._parked:
            return
        slot = row.slot or Slot.PRIMARY
        foreign = bool(row.foreign_since)
        departed = await self._departed(row) if not foreign else set()
        named = len(departed) >= row.attempts - row.foreign_attempts
        left = foreign or named or not await self._remembers(row, slot)
        judgement = judge(self._evidence(row, slot, left=left), _PATIENCE, row.if_unknown)
        if left and len(departed) == 1 and not row.message_id:
            await self._unknown.name(row, *departed)
        if judgement.action is Action.END_HOST:
            self._witnesses.recycle(slot)
        elif judgement.action is Action.SEND_AGAIN:
            await self._unknown.send_again(row, judgement.reason, left=left)
        elif judgement.action is Action.PARK:
            await self._unknown.park(row, judgement.reason)
            self._parked.add((row.id, row.attempts))
        if judgement.action is not Action.WAIT:
            self._tell(row, slot, judgement.reason)

    async def _departed(self, row: OutboxRow) -> set[str]:
        return await asyncio.to_thread(self._key_stores.departures, self._account, row.secret)

    async def _remembers(self, row: OutboxRow, slot: Slot) -> bool:
        """Whether the key store of the device that sent would name it: the library empties it when it is logged out."""
        device = await asyncio.to_thread(self._key_stores.paired_device, self._account, slot)
        return bool(device) and self._witnesses.linked_since(slot) <= row.updated_at

    def _evidence(self, row: OutboxRow, slot: Slot, *, left: bool) -> Evidence:
        now = self._clock.now()
        foreign = bool(row.foreign_since)
        ended = self._ended(row, slot) if not foreign else _foreign_end(row, now)
        watching = self._watching(row, Slot if foreign else (slot.partner,))
        return Evidence(
            age=now - row.updated_at,
            call_over=ended is not None,
            left=left,
            partner_watched=now - max(watching, ended) if ended is not None and watching is not None else 0.0,
            repeatable=isinstance(row.content, MarkRead),
            foreign=foreign,
        )

    def _watching(self, row: OutboxRow, slots: Iterable[Slot]) -> float | None:
        """Since when one of these slots would have got the echo; None if none would.

        WhatsApp sends an echo to the devices that were linked when the message came.
        """
        linked = [slot for slot in slots if self._witnesses.linked_since(slot) <= row.created_at]
        online = [since for slot in linked if (since := self._witnesses.online_since(slot)) is not None]
        return min(online, default=None)

    def _ended(self, row: OutboxRow, slot: Slot) -> float | None:
        """When the call was over at the latest: it came back, or the host that made it is gone. None: not yet."""
        ended = self._call_ended(row.id)
        if ended is not None:
            return ended
        started = self._witnesses.host_started_at(slot)
        if started is None:
            return row.updated_at
        return started if started > row.updated_at else None

    def _tell(self, row: OutboxRow, slot: Slot, reason: str) -> None:
        self._publish(
            EventType.MESSAGE_SEND_UNKNOWN, reason, account=row.account, slot=slot, reason=reason, outbox_id=row.id
        )


def _foreign_end(row: OutboxRow, now: float) -> float | None:
    """When another instance's call was over at the latest, None: not yet."""
    ended = row.foreign_since + _FOREIGN_CALL
    return ended if ended <= now else None
