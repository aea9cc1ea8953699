"""How fast the writer fills Firestore, beside one that writes message by message. ``make bench`` prints the figures.

Against the official emulator on this machine, so the figures say what our side costs and how well requests are used,
not how fast Firestore is. Rounds of both kinds alternate, so that what else runs here slows both. What is counted is
messages; the writes of their chats come on top, one a message for the single writer, one a chat and batch for ours.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import pytest

from bench.test_queue_bench import queue_in
from integration.firestore.test_firestore_outage import outage_of
from support.firestore_emulator import FirestoreEmulator, running
from tandem.clock import SystemClock, SystemRandom
from tandem.inbound.writer import Writer
from tandem.model.ids import ChatId
from tandem.model.message import Message, StatusUpdate
from tandem.policy.batching import Caps
from tandem.queue.queue import Queue
from tandem.settings import WriterSettings
from tandem.store.firestore.client import Client
from tandem.store.firestore.credentials import Target
from tandem.store.firestore.documents import Names, merge, message_write, position
from tandem.store.firestore.store import FirestoreStore
from tandem.store.port import Poison
from unit.queue.parts import Told, arrival, message

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

CHATS = [ChatId(f"1202555{100 + index:04d}@s.whatsapp.net") for index in range(10)]
ROUNDS = 5
SINGLE, BATCHED = 300, 3_000
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def emulator() -> Iterator[FirestoreEmulator]:
    with running("2g") as emulator:
        yield emulator


def messages(count: int) -> list[Message]:
    """Messages to some chats in turn, as long as such messages are, that nobody has written before."""
    numbers = itertools.islice(NUMBERS, count)
    return [message(each, CHATS[each % len(CHATS)], text="some words " * 10, raw=bytes(500)) for each in numbers]


class Watched(FirestoreStore):
    """Notes when its last write was acknowledged."""

    acknowledged = 0.0

    async def write(self, messages: Sequence[Message], updates: Sequence[StatusUpdate] = ()) -> Sequence[Poison]:
        poison = await super().write(messages, updates)
        self.acknowledged = time.perf_counter()
        return poison


class Single:
    """A writer that creates a message, then brings its chat up to date, one after the other, on a channel of ours."""

    def __init__(self, target: Target) -> None:
        self._client = Client(target)
        self._client.connect()
        self._names = Names(target.path)

    async def write(self, messages: Sequence[Message]) -> None:
        for each in messages:
            await self.create(each)
            values: dict[str, object] = {"lastMessage": each.text, "lastMessageAtMs": each.timestamp}
            await self._client.commit([merge(self._names.chat(each.account, each.chat), values)], 10)

    async def create(self, each: Message) -> None:
        write = message_write(self._names, each, position(each.timestamp, 0), each.received_at)
        await self._client.commit([write], 10)

    async def close(self) -> None:
        await self._client.close()


@asynccontextmanager
async def single_writer(emulator: FirestoreEmulator) -> AsyncIterator[Single]:
    single = Single(Target(emulator.fresh_project(), emulator=emulator.address))
    yield single
    await single.close()


@asynccontextmanager
async def open_parts(emulator: FirestoreEmulator, directory: Path) -> AsyncIterator[tuple[Queue, Watched]]:
    queue = queue_in(directory)
    await queue.open()
    store = Watched(Target(emulator.fresh_project(), emulator=emulator.address), SystemClock())
    await store.open()
    yield queue, store
    await store.close()
    await queue.close()


@asynccontextmanager
async def writing(queue: Queue, store: FirestoreStore) -> AsyncIterator[Writer]:
    """The writer with the caps of the default settings."""
    settings = WriterSettings()
    caps = Caps(settings.max_documents, settings.max_bytes)
    writer = Writer(
        queue, store, caps, deadline=settings.deadline, clock=SystemClock(), random=SystemRandom(), publish=Told()
    )
    task = asyncio.create_task(writer.run())
    yield writer
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def drained(queue: Queue, store: FirestoreStore, count: int) -> float:
    """Documents of messages a second, from a full inbox to an empty one."""
    await queue.inbox.put([arrival(each) for each in messages(count)])
    started = time.perf_counter()
    async with writing(queue, store) as writer:
        assert await writer.drain(120) == 0
        return count / (time.perf_counter() - started)


async def test_documents_a_second_beside_single_writes(emulator: FirestoreEmulator, tmp_path: Path) -> None:
    singles, ours = [], []
    async with single_writer(emulator) as single, open_parts(emulator, tmp_path) as (queue, store):
        await single.write(messages(SINGLE))  # both warm the emulator up
        await drained(queue, store, BATCHED)
        for _ in range(ROUNDS):
            each = messages(SINGLE)
            started = time.perf_counter()
            await single.write(each)
            singles.append(SINGLE / (time.perf_counter() - started))
            ours.append(await drained(queue, store, BATCHED))
    ratio = median(mine / other for mine, other in zip(ours, singles, strict=True))
    print(
        f"\nmessages into Firestore, {ROUNDS} rounds each in turn: single writes {median(singles):,.0f}/s "
        f"({min(singles):,.0f} to {max(singles):,.0f}), writer {median(ours):,.0f}/s "
        f"({min(ours):,.0f} to {max(ours):,.0f}): {ratio:.1f} times"
    )
    assert ratio >= 10


async def test_a_lone_message_is_written_as_soon_as_by_a_single_write(
    emulator: FirestoreEmulator, tmp_path: Path
) -> None:
    singles, ours = [], []
    async with single_writer(emulator) as single, open_parts(emulator, tmp_path) as (queue, store):
        await drained(queue, store, 200)
        await single.write(messages(200))
        async with writing(queue, store) as writer:
            for mine, other in zip(messages(40), messages(40), strict=True):
                await queue.inbox.put([arrival(mine)])
                committed = time.perf_counter()
                assert await writer.drain(10) == 0
                ours.append((store.acknowledged - committed) * 1000)
                await asyncio.sleep(0.1)
                started = time.perf_counter()
                await single.create(other)
                singles.append((time.perf_counter() - started) * 1000)
                await asyncio.sleep(0.1)
    ratio = median(ours) / median(singles)
    print(
        f"\none message at a time: a single write {median(singles):.2f} ms ({min(singles):.2f} to {max(singles):.2f}), "
        f"from inbox commit to acknowledged write {median(ours):.2f} ms ({min(ours):.2f} to {max(ours):.2f}): "
        f"{ratio:.2f} times"
    )
    assert ratio <= 1.5


async def test_draining_a_long_queue_into_firestore(emulator: FirestoreEmulator, tmp_path: Path) -> None:
    async with open_parts(emulator, tmp_path) as (queue, store):
        await drained(queue, store, 2_000)
        rate = await drained(queue, store, 20_000)
    print(f"\n20,000 waiting messages drained into Firestore: {rate:,.0f} documents/s")
    assert rate >= 2_000


def test_the_first_write_after_a_long_outage(emulator: FirestoreEmulator, tmp_path: Path) -> None:
    outage = asyncio.run(outage_of(emulator, tmp_path, 20))
    print(f"\nfirst write {outage.saved_after[0]:.1f} s after 20 s without Firestore, {outage.waiting} messages waited")
    assert outage.stored == outage.written[::2] + outage.written[1::2]
    assert outage.saved_after[0] < 5
