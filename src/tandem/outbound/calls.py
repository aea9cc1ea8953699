"""The calls of the library that send for an account: bounded a slot, answered in time or overdue, seen to their end.

A call that is overdue has left its message's fate open and blocks its slot in the library, which sends one message at
a time. It may still bring proof; otherwise its host is ended for it, since only then nothing can be sent by it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from tandem.clock import Clock
from tandem.errors import NotOnline
from tandem.model.ids import ChatId
from tandem.model.outbox import Content, OutboxRow, SendOutcome, SendResult
from tandem.model.states import Slot

_log = structlog.get_logger(__name__)
_AT_ONCE = 2
"""Calls a slot. The library sends one message at a time, so a second is all it takes to keep it busy, and to let a
recipient who is slow to be looked up hold up nobody; each more would only be one more in doubt when the slot dies. The
host allows 8, which leaves room for probes, read marks and calls that are stuck."""
_OVERDUE = 3.0  # seconds that an overdue call has before its host is ended for it
_GRACE = 5.0  # beyond the call's own deadline: a sender that breaks its promise must not hold the slot for ever
_REMEMBERED = 1000


class Sender(Protocol):
    """Whoever sends for the account: the pair. ``active`` is the slot that sends now."""

    @property
    def active(self) -> Slot: ...

    @property
    def banned_until(self) -> float:
        """When a ban of the number ends, in Unix seconds; 0 if there is none. It concerns both slots."""
        ...

    async def send(self, slot: Slot, chat: ChatId, content: Content, secret: bytes, timeout: float) -> SendResult:
        """Raise NotOnline when that slot cannot send; everything else is in the result. ``timeout`` in seconds."""
        ...

    def recycle(self, slot: Slot) -> None:
        """End the slot's host and start another."""
        ...


class Calls:
    """``patience``: seconds a call has to be answered; ``timeout``: seconds after which it is over in any case.

    ``late`` is awaited with the answer of an overdue call if it is proof; ``over`` is called at the end of each.
    """

    def __init__(
        self,
        sender: Sender,
        clock: Clock,
        late: Callable[[OutboxRow, SendResult], Awaitable[None]],
        over: Callable[[], None],
        *,
        patience: float,
        timeout: float,
    ) -> None:
        self._sender = sender
        self._clock = clock
        self._late = late
        self._over = over
        self._patience = patience
        self._timeout = timeout
        self._under_way: Counter[Slot] = Counter()
        self._stuck: Counter[Slot] = Counter()
        self._overdue: dict[str, asyncio.Task[None]] = {}
        self._ended: dict[str, float] = {}

    @property
    def overdue(self) -> list[asyncio.Task[None]]:
        """Those who wait for overdue calls."""
        return list(self._overdue.values())

    def free(self, slot: Slot) -> bool:
        """Whether a call may be made now."""
        return self._under_way[slot] < _AT_ONCE and not self._stuck[slot]

    def begin(self, slot: Slot) -> None:
        """Reserve a call; ``end`` it, whatever came of it."""
        self._under_way[slot] += 1

    def end(self, slot: Slot) -> None:
        self._under_way[slot] -= 1

    def is_overdue(self, outbox_id: str) -> bool:
        return outbox_id in self._overdue

    def ended(self, outbox_id: str) -> float | None:
        """When the last call for a message came back, in Unix seconds: since then nothing can be sent by it any more.

        None says nothing: the call may be from before this daemon's start.
        """
        return self._ended.get(outbox_id)

    async def answer(self, slot: Slot, row: OutboxRow) -> SendResult:
        """Call the sender. Without an answer in time the fate is unknown, and the call goes on without us."""
        self._ended.pop(row.id, None)
        call = asyncio.create_task(self._call(slot, row), name=f"call {row.id}")
        try:
            done, _ = await asyncio.wait({call}, timeout=self._patience)
        except asyncio.CancelledError:
            call.cancel()
            raise
        if done:
            return call.result()
        self._stuck[slot] += 1
        self._overdue[row.id] = asyncio.create_task(self._outlast(slot, row, call), name=f"overdue {row.id}")
        return SendResult(SendOutcome.UNKNOWN, error=f"no answer within {self._patience:g} s")

    async def _outlast(self, slot: Slot, row: OutboxRow, call: asyncio.Task[SendResult]) -> None:
        """See an overdue call to its end. Only proof counts then; anything else is for the reconciler to find out."""
        try:
            done, _ = await asyncio.wait({call}, timeout=_OVERDUE)
            if not done:
                self._sender.recycle(slot)
            result = await call
            if result.outcome is SendOutcome.ACCEPTED:
                await self._late(row, result)
        finally:
            call.cancel()
            del self._overdue[row.id]
            self._stuck[slot] -= 1
            self._over()

    async def _call(self, slot: Slot, row: OutboxRow) -> SendResult:
        """What the sender raises in spite of its promise leaves the fate of the message open."""
        try:
            async with asyncio.timeout(self._timeout + _GRACE):
                result = await self._sender.send(slot, row.chat, row.content, row.secret, self._timeout)
        except NotOnline as error:
            return SendResult(SendOutcome.NOT_SENT, error=str(error))
        except TimeoutError:
            return SendResult(SendOutcome.UNKNOWN, error="the device host did not answer")
        except Exception as error:  # noqa: BLE001 - it may have been sent before it failed
            _log.exception("sender_failed", outbox_id=row.id)
            return SendResult(SendOutcome.UNKNOWN, error=type(error).__name__)
        self._ended[row.id] = self._clock.now()
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return result
