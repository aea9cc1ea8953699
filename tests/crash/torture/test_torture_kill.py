"""Daemon and all hosts killed in the same instant, under 100 messages a second: the loss per kill is measured.

Each host alone may lose what the library has acknowledged and not yet handed on, a window of a millisecond or two; the
partner has its own copy. Only a kill of everything at once can hit a message in both windows, so this is the limit of
what two devices on one machine can promise. ``make torture-kill KILLS=200`` measures it; CI runs the short form.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene
from tandem.demo.verdict import summary

KILLS = int(os.environ.get("TORTURE_KILLS", "8"))
RATE = 100.0
CONTACTS = [f"+1303555{100 + index:04d}" for index in range(10)]
LONG_FORM = 100
GOAL = 0.02
NEAR_A_KILL = 1.0
SETTLE = 60.0
UNCHANGED = 3.0

pytestmark = pytest.mark.timeout(120 + 10 * KILLS)


@dataclass
class Traffic:
    """When each message was written, in monotonic seconds, by its id."""

    written: dict[str, float] = field(default_factory=dict)
    over: bool = False

    async def run(self, scene: Scene) -> None:
        async with asyncio.TaskGroup() as tasks:
            for index, contact in enumerate(CONTACTS):
                tasks.create_task(self._write(scene, contact, index / RATE))

    async def _write(self, scene: Scene, contact: str, delay: float) -> None:
        """One contact's share, evenly; what a slow moment held up is made up for."""
        due = time.monotonic() + delay
        while not self.over:
            await asyncio.sleep(due - time.monotonic())
            at = time.monotonic()
            for message_id in await scene.emulator.write(contact, scene.actors[0].number, f"message {at}"):
                self.written[message_id] = at
            due += len(CONTACTS) / RATE


async def test_what_a_kill_of_everything_at_once_loses() -> None:
    random.seed(4)
    kills: list[float] = []
    spreads: list[float] = []
    restarts: list[float] = []
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as scene:
        await scene.link_everybody()
        traffic = Traffic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(traffic.run(scene))
            began = time.monotonic()
            for _ in range(KILLS):
                pids = _everything(scene)
                await asyncio.sleep(random.uniform(0.3, 0.8))  # after the search: it holds the traffic up
                at, spread = _kill(pids)
                kills.append(at)
                spreads.append(spread * 1000)
                await scene.daemon.child.end(signal.SIGKILL)
                await scene.restart_daemon()
                await scene.everybody_online()
                restarts.append((time.monotonic() - kills[-1]) * 1000)
            traffic.over = True
        seconds = time.monotonic() - began
        stored = await _settled(scene, traffic)
        on_ledger = (await scene.emulator.call("GET", "/control/health"))["messages"]

    missing = set(traffic.written) - set(stored)
    doubled = [message for message, times in stored.items() if times > 1]
    before_a_kill = sorted(_seconds_to_next(kills, traffic.written[message]) * 1000 for message in missing)
    report = {
        "kills": KILLS, "messages": len(traffic.written), "per_second": round(len(traffic.written) / seconds),
        "missing": len(missing), "missing_per_kill": len(missing) / KILLS, "doubled": len(doubled),
        "missing_ms_before_kill": [round(each, 1) for each in before_a_kill],
        "kill_spread_ms": summary(spreads), "restart_ms": summary(restarts),
    }  # fmt: skip
    print(json.dumps(report))
    assert on_ledger == len(traffic.written), "every message of the ledger is accounted for"
    assert len(scene.log.restored) == KILLS + 1
    assert not doubled
    assert set(stored) <= set(traffic.written)
    assert all(each < NEAR_A_KILL * 1000 for each in before_a_kill), "lost while nothing was killed"
    # Not zero: a message is gone when both copies were in the library's own window of 1 to 2 ms, acknowledged and not
    # yet on the host's disk. How seldom that is cannot be judged by a handful of kills, so there one may be hit.
    if KILLS >= LONG_FORM:
        assert len(missing) / KILLS <= GOAL
    else:
        assert len(missing) <= 1


def _everything(scene: Scene) -> list[int]:
    """The daemon's and both hosts' process ids."""
    hosts = scene.daemon.hosts()
    assert sorted(host.slot for host in hosts) == ["backup", "primary"]
    return [scene.daemon.child.pid, *(host.pid for host in hosts)]


def _kill(pids: list[int]) -> tuple[float, float]:
    """SIGKILL to all, in any order. Returns when, in monotonic seconds, and how far apart the first and the last."""
    random.shuffle(pids)
    assert all(Path(f"/proc/{pid}").exists() for pid in pids), "a host ended by itself"
    with _uninterrupted():
        at = time.monotonic()
        for pid in pids:
            with suppress(ProcessLookupError):  # interrupted all the same, a host may find the daemon gone and end
                os.kill(pid, signal.SIGKILL)
        return at, time.monotonic() - at


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let nobody else have this processor, if we may ask for that: the dying would take it between two kills."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


async def _settled(scene: Scene, traffic: Traffic) -> Mapping[str, int]:
    """What the store has once everything is in it, or nothing has come to it for a while and nothing waits."""
    began = changed = time.monotonic()
    stored = _stored(scene)
    while set(traffic.written) - set(stored):
        await asyncio.sleep(0.2)
        before, stored = stored, _stored(scene)
        if stored != before or not await _nothing_waits(scene):
            changed = time.monotonic()
        if time.monotonic() - changed > UNCHANGED:
            break
        assert time.monotonic() - began < SETTLE, "it never came to rest"
    return stored


async def _nothing_waits(scene: Scene) -> bool:
    try:
        metrics = (await scene.tandem.call("GET", "/api/metrics"))["metrics"]
    except (aiohttp.ClientError, TimeoutError):
        return False
    return bool(metrics["queueSize"] == 0 and metrics["batchSize"] == 0)


def _stored(scene: Scene) -> Counter[str]:
    """Message ids in the embedded store, as often as they stand there, read behind the daemon's back."""
    with sqlite3.connect(f"file:{scene.data}/store.db?mode=ro", uri=True) as database:
        rows = database.execute("SELECT message_id FROM messages WHERE from_me = 0").fetchall()
    return Counter(message_id for (message_id,) in rows)


def _seconds_to_next(kills: list[float], at: float) -> float:
    return min((kill - at for kill in kills if kill >= at), default=float("inf"))
