"""What the dispatcher and the reconciler ask again and again must not cost more when the outbox is full of old rows."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from support.virtual_time import VirtualClock
from tandem.model.ids import ChatId
from tandem.model.outbox import SendOutcome, SendResult
from tandem.model.states import Slot
from tandem.queue.unknown import UnknownSends
from unit.queue.parts import ACCOUNT, accept_text, open_queue

ROWS, CHATS, TIMES = 10_000, 500, 40


async def test_ten_thousand_rows_cost_a_look_next_to_nothing(tmp_path: Path) -> None:
    chats = [ChatId(f"1202{number:07d}@s.whatsapp.net") for number in range(CHATS)]
    async with open_queue(tmp_path, max_outbox=2 * ROWS) as queue:

        async def fill(start: int) -> None:
            for number in range(start, ROWS, 50):
                row, _ = await accept_text(queue, chats[number % CHATS], str(number))
                if number < ROWS // 2:
                    await queue.outbox.mark_sending(row.id, Slot.PRIMARY)
                    await queue.outbox.record(row.id, SendResult(SendOutcome.ACCEPTED, f"3EB0{number:08X}", 1))

        await asyncio.gather(*(fill(start) for start in range(50)))
        unknown = UnknownSends(queue.database, queue.outbox, VirtualClock())

        async def milliseconds(*busy: ChatId) -> float:
            began = time.perf_counter()
            for _ in range(TIMES):
                assert await queue.outbox.sendable(ACCOUNT, 30.0, busy) is not None
            return (time.perf_counter() - began) / TIMES * 1000

        looks = {"all free": await milliseconds(), "half the chats wait": await milliseconds(*chats[: CHATS // 2])}
        began = time.perf_counter()
        for _ in range(TIMES):
            assert await unknown.of(ACCOUNT) == []
        looks["unknown"] = (time.perf_counter() - began) / TIMES * 1000
        print({name: round(each, 2) for name, each in looks.items()})
        assert max(looks.values()) < 5
