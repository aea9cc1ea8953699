"""The queue's process is killed under load, again and again: every promise it made has to be kept, and none twice.

``QUEUE_KILLS`` sets how often (10 by default).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from support.virtual_time import VirtualClock
from tandem.model.states import OutboxState
from tandem.store.sqlite import SqliteStore
from unit.queue.parts import ACCOUNT, ANN, BOB, open_queue, waiting

KILLS = int(os.environ.get("QUEUE_KILLS", "10"))
ROOT = Path(__file__).parents[3]


def run_until_killed(directory: Path, first: int, seconds: float) -> list[str]:
    """Return what the process promised before it was killed ``seconds`` after its first promise."""
    command = [sys.executable, str(Path(__file__).with_name("load.py")), str(directory), str(first)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode().strip()]
        assert lines[0], "the process ended by itself"
        killer = time.monotonic() + seconds
        os.set_blocking(process.stdout.fileno(), False)
        rest = b""
        while time.monotonic() < killer:
            rest += process.stdout.read() or b""
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.set_blocking(process.stdout.fileno(), True)
        rest += process.stdout.read() or b""
        assert process.returncode == -signal.SIGKILL
    return [*lines, *rest.decode().split("\n")[:-1]]


@pytest.mark.timeout(60 + 5 * KILLS)
async def test_killed_under_load_every_promise_is_kept_once(tmp_path: Path) -> None:
    chance = random.Random(20261122)
    incoming: set[int] = set()
    outgoing: set[str] = set()
    first = 0
    for _ in range(KILLS):
        for line in run_until_killed(tmp_path, first, chance.uniform(0.0, 0.5)):
            kind, _, name = line.partition(" ")
            if kind == "in":
                incoming.add(int(name))
            else:
                outgoing.add(name)
        first = max(incoming) + 1_000

    store = SqliteStore(tmp_path, VirtualClock())
    await store.open()
    found = [*await store.messages(ACCOUNT, ANN, 10_000_000), *await store.messages(ACCOUNT, BOB, 10_000_000)]
    stored = Counter(each.message.text for each in found)
    await store.close()
    async with open_queue(tmp_path) as queue:
        there = set(stored) | set(await waiting(queue))
        rows = [await queue.outbox.get(name) for name in outgoing]

    assert {f"message {number}" for number in incoming} <= there
    assert max(stored.values()) == 1
    assert {row.state for row in rows} == {OutboxState.QUEUED}
    assert len(incoming) > 20 * KILLS
    assert len(outgoing) > KILLS
