"""Firestore out of reach while messages keep coming, and back: queue, writer and store together."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from integration.firestore.scene import ACCOUNT, CHAT, GROUP, Scene, message, texts
from support.fault_proxy import FaultProxy
from support.firestore_emulator import FirestoreEmulator
from tandem.clock import SystemClock, SystemRandom
from tandem.inbound.writer import Writer
from tandem.model.event import EventType
from tandem.policy.batching import Caps
from tandem.queue.queue import Queue
from tandem.settings import QueueSettings
from tandem.store.port import Store
from unit.queue.parts import arrival

RATE = 50.0
SECONDS = 7.0


class Unlucky(SystemRandom):
    """Every wait is as long as it can be, so that the longest delay is what is measured."""

    def uniform(self, low: float, high: float) -> float:
        del low
        return high


@dataclass
class Outage:
    """What was seen of one. Times in monotonic seconds; ``waiting`` is how many messages waited when it ended."""

    events: list[tuple[float, EventType]] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    began: float = 0.0
    ended: float = math.inf
    waiting: int = 0
    over: bool = False

    def tell(self, type: EventType, message: str, **data: object) -> None:  # noqa: A002 - the port's name
        del message, data
        self.events.append((time.monotonic(), type))

    def times_of(self, kind: EventType) -> list[float]:
        return [at for at, each in self.events if each is kind]

    @property
    def saved_after(self) -> list[float]:
        """For each batch that was saved after the outage, how many seconds after."""
        return [at - self.ended for at in self.times_of(EventType.BATCH_SAVED) if at > self.ended]


@pytest.fixture(scope="module")
def outage(emulator: FirestoreEmulator, tmp_path_factory: pytest.TempPathFactory) -> Outage:
    return asyncio.run(outage_of(emulator, tmp_path_factory.mktemp("outage"), SECONDS))


def test_an_outage_loses_doubles_and_reorders_nothing(outage: Outage) -> None:
    assert outage.waiting > SECONDS * RATE / 2, "messages came while nothing could be written"
    assert outage.stored == outage.written[::2] + outage.written[1::2]


def test_the_first_write_comes_within_five_seconds_of_the_return(outage: Outage) -> None:
    assert outage.saved_after[0] < 5


def test_its_beginning_and_its_end_are_told_once_each(outage: Outage) -> None:
    [degraded], [restored] = outage.times_of(EventType.STORE_DEGRADED), outage.times_of(EventType.STORE_RESTORED)
    assert outage.began < degraded < outage.began + 2
    assert outage.ended < restored < outage.ended + outage.saved_after[0] + 1


async def outage_of(emulator: FirestoreEmulator, directory: Path, seconds: float) -> Outage:
    """Let messages come to a writer whose Firestore refuses every connection for so long, and settle it all."""
    outage = Outage()
    scene = Scene(emulator.address, emulator.fresh_project())
    async with FaultProxy(emulator.host, emulator.port) as proxy:
        store = await scene.store(proxy.address)
        try:
            async with _writing(directory, store, outage) as (queue, writer):
                coming = asyncio.create_task(_messages_come(queue, outage))
                await _until(lambda: len(outage.times_of(EventType.BATCH_SAVED)) > 3, 10)
                outage.began = time.monotonic()
                await proxy.down()
                await asyncio.sleep(seconds)
                outage.waiting = queue.inbox.depth
                outage.ended = time.monotonic()
                await proxy.up()
                await _until(lambda: bool(outage.saved_after), 60)
                outage.over = True
                await coming
                assert await writer.drain(30) == 0
            for chat in (CHAT, GROUP):
                outage.stored += texts(await store.messages(ACCOUNT, chat, 100_000))
        finally:
            await scene.close()
    return outage


@asynccontextmanager
async def _writing(directory: Path, store: Store, outage: Outage) -> AsyncIterator[tuple[Queue, Writer]]:
    clock, random, tell = SystemClock(), Unlucky(), outage.tell
    queue = Queue(directory, QueueSettings(), clock, random, tell)
    await queue.open()
    writer = Writer(queue, store, Caps(100, 3_500_000), deadline=10, clock=clock, random=random, publish=tell)
    task = asyncio.create_task(writer.run())
    try:
        yield queue, writer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await queue.close()


async def _messages_come(queue: Queue, outage: Outage) -> None:
    """To two chats in turn."""
    while not outage.over:
        number = len(outage.written)
        one = message(number, chat=(CHAT, GROUP)[number % 2])
        await queue.inbox.put([arrival(one)])
        outage.written.append(one.text)
        await asyncio.sleep(1 / RATE)


async def _until(reached: Callable[[], bool], patience: float) -> None:
    async with asyncio.timeout(patience):
        while not reached():
            await asyncio.sleep(0.02)
