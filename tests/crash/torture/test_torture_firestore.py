"""Firestore behind a bad network, the daemon killed at random moments: nothing is missing and nothing doubled.

``make torture-firestore KILLS=500`` runs the long form; CI the short one.
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
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from support import firestore_emulator
from support.fault_proxy import FaultProxy, Latency, Swallow
from tandem.clock import SystemClock
from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene
from tandem.model.ids import AccountId
from tandem.queue.dead_letters import decode_message
from tandem.settings import load
from tandem.store.firestore.store import FirestoreStore

KILLS = int(os.environ.get("TORTURE_KILLS", "12"))
RATE = 60.0
POISON = "p" * 1_200_000  # more than a Firestore document can hold
POISON_EVERY = 5
CONTACTS = [f"+1303555{100 + index:04d}" for index in range(3)]
SETTLE = 120.0

pytestmark = pytest.mark.timeout(120 + 10 * KILLS)


@pytest.fixture
def firestore() -> Iterator[firestore_emulator.FirestoreEmulator]:
    with firestore_emulator.running() as emulator:
        yield emulator


class Traffic:
    """Messages to the account at a steady rate, some of them too large to be stored."""

    def __init__(self, scene: Scene) -> None:
        self.good: list[str] = []
        self.poison: list[str] = []
        self.over = False
        self._scene = scene

    async def run(self) -> None:
        while not self.over:
            await self._write(random.choice(CONTACTS), f"message {len(self.good)}", self.good)
            await asyncio.sleep(1 / RATE)

    async def add_poison(self) -> None:
        await self._write(random.choice(CONTACTS), POISON, self.poison)

    async def _write(self, contact: str, text: str, ledger: list[str]) -> None:
        ledger += await self._scene.emulator.write(contact, self._scene.actors[0].number, text)


async def test_nothing_is_missing_and_nothing_doubled(firestore: firestore_emulator.FirestoreEmulator) -> None:
    random.seed(20)
    project = firestore.fresh_project()
    async with FaultProxy(firestore.host, firestore.port) as proxy:
        environment = {
            "TANDEM_STORE": "firestore",
            "FIRESTORE_EMULATOR_HOST": proxy.address,
            "TANDEM_FIRESTORE__PROJECT": project,
        }
        async with Scene(DemoOptions(accounts=1), lambda _sentence: None, environment) as scene:
            await scene.link_everybody()
            traffic = Traffic(scene)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run())
                for number in range(KILLS):
                    await _torment(proxy, random.uniform(0.3, 1.2))
                    if number % POISON_EVERY == 0:
                        await traffic.add_poison()
                    await scene.daemon.child.end(signal.SIGKILL)
                    await scene.restart_daemon()
                traffic.over = True
            proxy.heal()
            await scene.everybody_online()
            took = await _settled(scene)
            await scene.stop_daemon()
            documents, wrong_times = await _stored(firestore, project, scene)
            buried = _dead_letters(scene.data)

    missing = set(traffic.good) - set(documents)
    doubled = [message for message in traffic.good if documents[message] > 1]
    report = {
        "kills": KILLS, "messages": len(traffic.good), "missing": len(missing), "doubled": len(doubled),
        "poison": len(traffic.poison), "dead_letters": len(buried), "wrong_chat_times": wrong_times,
        "drained_after_s": round(took, 1),
    }  # fmt: skip
    print(json.dumps(report))
    assert not missing
    assert not doubled
    assert sum(documents.values()) == len(traffic.good)
    assert set(buried) == set(traffic.poison)
    assert all(buried.values()), "every dead letter has its reason"
    assert wrong_times == 0


async def _torment(proxy: FaultProxy, seconds: float) -> None:
    """One kind of bad network for a while, then good again."""
    kinds: list[Callable[[], object]] = [
        proxy.cut,
        proxy.strand,
        lambda: proxy.add(Latency(0.2, 0.1)),
        lambda: proxy.add(Swallow()),
        lambda: None,
    ]
    random.choice(kinds)()
    await asyncio.sleep(seconds)
    proxy.heal()


async def _settled(scene: Scene) -> float:
    """Wait until nothing waits for the store any more."""
    began = time.monotonic()
    while True:
        try:
            metrics = (await scene.tandem.call("GET", "/api/metrics"))["metrics"]
            if metrics["queueSize"] == 0 and metrics["batchSize"] == 0:
                return time.monotonic() - began
        except (aiohttp.ClientError, TimeoutError):
            pass
        assert time.monotonic() - began < SETTLE, "the queue was not drained"
        await asyncio.sleep(0.5)


async def _stored(
    firestore: firestore_emulator.FirestoreEmulator, project: str, scene: Scene
) -> tuple[Counter[str], int]:
    """Message ids as often as Firestore has them, and how many chats show another time than their newest message's."""
    settings = load({"firestore_emulator_host": firestore.address, "data_dir": scene.data})
    store = FirestoreStore.of(settings, SystemClock(), project=project)
    await store.open()
    found: Counter[str] = Counter()
    wrong = 0
    try:
        account = AccountId(scene.actors[0].account)
        for chat in await store.chats(account, 100):
            rows = await store.messages(account, chat.id, 1_000_000)
            found.update(row.message.message_id for row in rows)
            wrong += chat.last_message_at != max(row.message.timestamp for row in rows)
    finally:
        await store.close()
    return found, wrong


def _dead_letters(data: Path) -> dict[str, str]:
    with sqlite3.connect(f"file:{data}/queue.db?mode=ro", uri=True) as database:
        rows = database.execute("SELECT payload, reason FROM dead_letters WHERE kind = 'message'").fetchall()
    return {decode_message(payload).message_id: reason for payload, reason in rows}
