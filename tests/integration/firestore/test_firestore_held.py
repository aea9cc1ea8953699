"""What is held back, against Firestore: what it costs to drop it, and how long a takeover takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from integration.firestore.scene import Scene, Wire
from tandem.clock import SystemClock, SystemRandom
from tandem.inbound.held import HeldBack
from tandem.inbound.writer import Writer
from tandem.model.ids import AccountId, ChatId
from tandem.model.message import Message
from tandem.policy.batching import Caps
from tandem.queue.queue import Queue
from tandem.settings import QueueSettings
from tandem.store.firestore.store import FirestoreStore
from unit.queue.parts import ACCOUNT, ANN, BOB, Told, arrival, message


@dataclass
class Passive:
    queue: Queue
    held: HeldBack
    holding: bool = False
    mark: float = 0.0

    async def settled(self, depth: int = 0) -> float:
        """Seconds until the inbox is as deep as this."""
        started = time.perf_counter()
        async with asyncio.timeout(30):
            while self.queue.inbox.depth != depth:
                await asyncio.sleep(0.005)
        return time.perf_counter() - started


@asynccontextmanager
async def passive(folder: Path, store: FirestoreStore) -> AsyncIterator[Passive]:
    """An instance that received messages for an account that another one runs."""
    clock, random = SystemClock(), SystemRandom()
    queue = Queue(folder, QueueSettings(), clock, random, Told())
    await queue.open()

    def holds(_account: AccountId) -> bool:
        return instance.holding

    def mark(_account: AccountId) -> float:
        return instance.mark

    held = HeldBack(queue, store, holds, mark, deadline=10.0, clock=clock, random=random)
    caps = Caps(100, 3_500_000)
    writer = Writer(queue, store, caps, deadline=10.0, clock=clock, random=random, publish=Told(), holds=holds)
    instance = Passive(queue, held)
    tasks = [asyncio.create_task(part.run()) for part in (held, writer)]
    yield instance
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await queue.close()


def received(number: int, ago: float = 0.0) -> Message:
    at = int((time.time() - ago) * 1000)
    return message(number, ANN if number % 3 else BOB, received_at=at)


async def all_of(store: FirestoreStore, chat: ChatId) -> set[str]:
    return {each.message.text for each in await store.messages(ACCOUNT, chat, 10_000)}


async def test_a_message_that_the_holder_wrote_costs_one_read_once_and_none_before(
    scene: Scene, tmp_path: Path
) -> None:
    theirs, store = await scene.store(), await scene.store()
    wire = Wire(store)
    async with passive(tmp_path, store) as instance:
        await theirs.write([received(number) for number in range(120)])
        await instance.queue.inbox.put([arrival(received(number, 30), held=True) for number in range(120)])
        instance.mark = time.time() - 25
        await asyncio.sleep(6)
        assert (wire.reads, wire.writes) == (0, 0)
        instance.mark = time.time()
        await instance.settled()
        assert (wire.reads, wire.writes) == (120, 0)
        assert instance.held.dropped[ACCOUNT] == 120
        await asyncio.sleep(6)
        assert (wire.reads, wire.writes) == (120, 0)


async def test_a_takeover_writes_what_the_holder_did_not_get_to(scene: Scene, tmp_path: Path) -> None:
    theirs, store = await scene.store(), await scene.store()
    wire = Wire(store)
    async with passive(tmp_path, store) as instance:
        everything = [received(number) for number in range(1_000)]
        await instance.queue.inbox.put([arrival(each, held=True) for each in everything])
        await theirs.write(everything[:500])
        instance.holding = True
        instance.held.wake(ACCOUNT)
        late = asyncio.create_task(theirs.write(everything[480:600]))  # what it had under way when it was fenced
        seconds = await instance.settled()
        await late
        print(f"\n1,000 messages held back, half of them missing: settled {seconds:.2f} s after the takeover", end="")
        stored = await all_of(store, ANN) | await all_of(store, BOB)
        assert stored == {each.text for each in everything}
        assert 400 <= instance.held.released[ACCOUNT] <= 500
        assert wire.reads <= 1_000 + 2 + 200, "one a message, and of the chats"
        assert seconds < 10
