"""A process that takes messages in and writes them to the store as fast as it can, and says what was acknowledged.

Run as ``python load.py DIRECTORY FIRST``; prints a line for each promise it made: ``in N`` after the message numbered N
was acknowledged, ``out ID`` after an outgoing message was accepted. It is there to be killed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

from tandem.clock import SystemClock, SystemRandom
from tandem.inbound.writer import Writer
from tandem.model.states import Slot
from tandem.policy.batching import Caps
from tandem.queue.inbox import Copy
from tandem.queue.queue import Queue
from tandem.settings import QueueSettings
from tandem.store.sqlite import SqliteStore
from unit.queue.parts import ANN, BOB, Told, accept_text, arrival, message

PRODUCERS = 16


def say(line: str) -> None:
    """One write a line: what is in the pipe was really promised."""
    os.write(1, f"{line}\n".encode())


async def produce(queue: Queue, numbers: itertools.count[int]) -> None:
    """Take messages in, each from both slots, and send one now and then."""
    for number in numbers:
        content = message(number, ANN if number % 2 else BOB)
        verdicts = await queue.inbox.put([arrival(content, Slot.PRIMARY), arrival(content, Slot.BACKUP)])
        assert [verdict.copy for verdict in verdicts] == [Copy.FIRST, Copy.DUPLICATE]
        say(f"in {number}")
        if number % 10 == 0:
            row, _ = await accept_text(queue, ANN, f"reply to {number}")
            say(f"out {row.id}")


async def main(directory: Path, first: int) -> None:
    clock, random = SystemClock(), SystemRandom()
    queue = Queue(directory, QueueSettings(max_outbox=1_000_000), clock, random, Told())
    await queue.open()
    store = SqliteStore(directory, clock)
    await store.open()
    writer = Writer(queue, store, Caps(50, 1_000_000), deadline=10, clock=clock, random=random, publish=Told())
    numbers = itertools.count(first)
    await asyncio.gather(writer.run(), *(produce(queue, numbers) for _ in range(PRODUCERS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
