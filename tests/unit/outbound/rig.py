"""A dispatcher on virtual time with a real outbox, and a pair that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.errors import NotOnline
from tandem.model.ids import ChatId
from tandem.model.outbox import Content, OutboxRow, SendOutcome, SendResult, Text
from tandem.model.states import OutboxState, Slot
from tandem.outbound.dispatcher import Dispatcher
from tandem.queue.queue import Queue
from unit.queue.parts import ACCOUNT, ANN, Told, accept_text, open_queue

Behaviour = Callable[[ChatId, str], Coroutine[Any, Any, SendResult]]


@dataclass
class TwinPair:
    """Sends as told; remembers what was tried and what left."""

    online: bool = True
    active: Slot = Slot.PRIMARY
    seconds: float = 0.01
    tried: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    behaviour: Behaviour | None = None
    banned_until: float = 0.0
    recycled: list[Slot] = field(default_factory=list)

    def recycle(self, slot: Slot) -> None:
        """The host is ended: whoever waits for it learns that nobody knows what became of the call."""
        self.recycled.append(slot)
        self.ended[slot].set()

    def __post_init__(self) -> None:
        self.ended = {slot: asyncio.Event() for slot in Slot}

    async def send(self, slot: Slot, chat: ChatId, content: Content, secret: bytes, timeout: float) -> SendResult:  # noqa: ARG002 - the port's
        assert isinstance(content, Text)
        text = content.text
        self.tried.append(text)
        if not self.online:
            raise NotOnline("no slot is online")
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.behaviour is not None:
                return await self._outcome(slot, self.behaviour(chat, text))
            await asyncio.sleep(self.seconds)
            self.left.append(text)
            return SendResult(SendOutcome.ACCEPTED, f"ID{len(self.left)}", 1_700_000_000)
        finally:
            self.under_way -= 1

    async def _outcome(self, slot: Slot, work: Coroutine[Any, Any, SendResult]) -> SendResult:
        end = asyncio.create_task(self.ended[slot].wait())
        call = asyncio.create_task(work)
        try:
            await asyncio.wait({call, end}, return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
            self.ended[slot].clear()
            return SendResult(SendOutcome.UNKNOWN, error="the host was ended")
        finally:
            call.cancel()
            end.cancel()


@dataclass
class Rig:
    queue: Queue
    pair: TwinPair
    dispatcher: Dispatcher
    told: Told
    task: asyncio.Task[None]

    async def accept(self, text: str, chat: ChatId = ANN) -> OutboxRow:
        row, _ = await accept_text(self.queue, chat, text)
        return row

    async def state(self, row: OutboxRow) -> OutboxState:
        return (await self.queue.outbox.get(row.id)).state

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def run(
    directory: Path, scenario: Callable[[Rig], Coroutine[Any, Any, None]], pair: TwinPair | None = None, **options: Any
) -> None:
    async def whole() -> None:
        told, twin = Told(), pair or TwinPair()
        async with open_queue(directory, told) as queue:
            dispatcher = Dispatcher(
                ACCOUNT, queue.outbox, twin, clock=VirtualClock(), random=SeededRandom(7), publish=told, **options
            )
            rig = Rig(queue, twin, dispatcher, told, asyncio.create_task(dispatcher.run()))
            await asyncio.sleep(0)
            try:
                await scenario(rig)
            finally:
                await rig.end()

    run_virtually(whole())
