"""How fast the queue commits and the writer drains, on this machine, at this moment. ``make bench`` prints the figures.

The floors are those of the queue's purpose: 20,000 inbox commits a second with 64 producers, p99 of 25 ms at 1,000 a
second.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import pytest

from tandem.clock import SystemClock, SystemRandom
from tandem.inbound.writer import Writer
from tandem.policy.batching import Caps
from tandem.queue.inbox import Arrival
from tandem.queue.queue import Queue
from tandem.settings import QueueSettings
from tandem.store.sqlite import SqliteStore
from unit.queue.parts import ANN, BOB, Told, arrival, message

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]


def arrivals(count: int, first: int = 0) -> list[Arrival]:
    return [
        arrival(message(number, ANN if number % 2 else BOB, text="some words " * 10, raw=bytes(500)))
        for number in range(first, first + count)
    ]


def queue_in(directory: Path) -> Queue:
    return Queue(directory, QueueSettings(), SystemClock(), SystemRandom(), Told())


async def test_inbox_commits_a_second_with_64_producers(tmp_path: Path) -> None:
    queue = queue_in(tmp_path)
    await queue.open()
    best = 0.0
    for turn in range(3):
        work = iter(arrivals(20_000, turn * 20_000))

        async def produce(work: itertools.chain[Arrival]) -> None:
            for each in work:
                await queue.inbox.put([each])

        started = time.perf_counter()
        await asyncio.gather(*(produce(work) for _ in range(64)))  # type: ignore[arg-type]
        rate = 20_000 / (time.perf_counter() - started)
        best = max(best, rate)
        print(f"\ninbox, 64 producers: {rate:,.0f} commits/s", end="")
    sizes = queue.database.group_sizes
    print(
        f", {sizes.total / sizes.count:.0f} to a group, p99 ≤ {queue.database.commit_seconds.quantile(0.99) * 1000} ms"
    )
    await queue.close()
    assert best >= 20_000


async def test_commit_latency_at_1000_a_second(tmp_path: Path) -> None:
    queue = queue_in(tmp_path)
    await queue.open()
    latencies: list[float] = []

    async def put(each: Arrival) -> None:
        started = time.perf_counter()
        await queue.inbox.put([each])
        latencies.append(time.perf_counter() - started)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number, each in enumerate(arrivals(5_000)):
            await asyncio.sleep(max(0.0, begin + number / 1_000 - time.perf_counter()))
            tasks.create_task(put(each))
    latencies.sort()
    p50, p99 = latencies[2_500] * 1000, latencies[4_950] * 1000
    print(f"\ninbox at 1,000/s: p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {latencies[-1] * 1000:.1f} ms")
    await queue.close()
    assert p99 <= 25


async def test_draining_into_the_embedded_store(tmp_path: Path) -> None:
    clock, random = SystemClock(), SystemRandom()
    queue = queue_in(tmp_path)
    await queue.open()
    store = SqliteStore(tmp_path, clock)
    await store.open()
    await queue.inbox.put(arrivals(20_000))
    writer = Writer(queue, store, Caps(100, 3_500_000), deadline=10, clock=clock, random=random, publish=Told())
    started = time.perf_counter()
    task = asyncio.create_task(writer.run())
    assert await writer.drain(120) == 0
    print(f"\nwriter into SQLite: {20_000 / (time.perf_counter() - started):,.0f} messages/s")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await queue.close()
    await store.close()


async def test_opening_a_large_queue(tmp_path: Path) -> None:
    queue = queue_in(tmp_path)
    await queue.open()
    for turn in range(10):
        await queue.inbox.put(arrivals(20_000, turn * 20_000))
    await queue.close()
    size = queue.database.path.stat().st_size / 1e6
    started = time.perf_counter()
    again = queue_in(tmp_path)
    await again.open()
    print(f"\nopening 200,000 waiting messages ({size:.0f} MB), checked: {time.perf_counter() - started:.2f} s")
    await again.close()
