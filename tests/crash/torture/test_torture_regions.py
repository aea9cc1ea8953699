"""Two regions run one slot of an account each; one or the other is killed whole, under 100 messages a second.

Daemon and host of a region die in the same instant and are started again, two times out of three at once, else
when the other region has taken over. What the dying region had in its library's window, the other one received too, and
must have held back until it is stored. ``make torture-regions KILLS=100`` runs the long form; CI the short one.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from prometheus_client.parser import text_string_to_metric_families

from integration.cluster.stage import TTL, Region, Stage
from support import firestore_emulator
from tandem.clock import SystemClock
from tandem.demo.verdict import summary
from tandem.model.ids import AccountId
from tandem.store.firestore.credentials import Target
from tandem.store.firestore.store import FirestoreStore

KILLS = int(os.environ.get("TORTURE_KILLS", "3"))
RATE = 100.0
CONTACTS = [f"+1303555{200 + index:04d}" for index in range(10)]
REGIONS = {"primary": {"TANDEM_CLUSTER__SLOTS": "primary"}, "backup": {"TANDEM_CLUSTER__SLOTS": "backup"}}
STAYS_DOWN_EVERY = 3
NOTHING_HELD = 30.0
SETTLE = 120.0
"""Seconds in which everything must be there: what the region that ran the account lost, the other one is allowed to
write after a minute."""

pytestmark = pytest.mark.timeout(240 + 20 * KILLS)


@pytest.fixture
def firestore() -> Iterator[firestore_emulator.FirestoreEmulator]:
    with firestore_emulator.running("2g") as emulator:
        yield emulator


@dataclass
class Traffic:
    """When each message was written, in Unix seconds, by its id."""

    written: dict[str, float] = field(default_factory=dict)
    over: bool = False

    async def run(self, stage: Stage) -> None:
        async with asyncio.TaskGroup() as tasks:
            for index, contact in enumerate(CONTACTS):
                tasks.create_task(self._write(stage, contact, index / RATE))

    async def _write(self, stage: Stage, contact: str, delay: float) -> None:
        """One contact's share, evenly; what a slow moment held up is made up for."""
        due = time.monotonic() + delay
        while not self.over:
            await asyncio.sleep(due - time.monotonic())
            at = time.time()
            for message_id in await stage.emulator.write(contact, stage.talks[0].number, f"message {at}"):
                self.written[message_id] = at
            due += len(CONTACTS) / RATE


async def test_nothing_is_missing_and_nothing_doubled(firestore: firestore_emulator.FirestoreEmulator) -> None:
    dice = random.Random(7)
    kills: list[tuple[float, str]] = []
    restarts: list[float] = []
    async with Stage(firestore, REGIONS) as stage:
        [talk] = stage.talks
        await stage.run_by(talk, "primary", TTL + 5)
        traffic, began = Traffic(), time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(traffic.run(stage))
            for number in range(KILLS):
                await asyncio.sleep(dice.uniform(0.3, 0.8))
                region = dice.choice(list(stage.regions.values()))
                kills.append((region.kill(), region.name))
                await region.end()
                if number % STAYS_DOWN_EVERY == STAYS_DOWN_EVERY - 1:
                    await stage.run_by(talk, _other(stage, region), TTL + 5)
                started = time.monotonic()
                await region.start()
                await region.tandem.wait_for_slot(talk.account, region.name, "online", 30)
                restarts.append((time.monotonic() - started) * 1000)
            traffic.over = True
        seconds = time.monotonic() - began
        await _nothing_waits(stage)
        stored, waited = await _settled(firestore, stage, traffic)
        acquired = [each for each in stage.events("lease_acquired") if each.account == talk.account]
        switched = len(stage.events("switched_region"))
        on_ledger = (await stage.emulator.call("GET", "/control/health"))["messages"]

    missing = set(traffic.written) - set(stored)
    doubled = [message for message, times in stored.items() if times > 1]
    report = {
        "kills": KILLS, "messages": len(traffic.written), "per_second": round(len(traffic.written) / seconds),
        "missing": len(missing), "doubled": len(doubled), "leases_acquired": len(acquired), "switched": switched,
        "restart_ms": summary(restarts), "last_one_stored_after_s": round(waited, 1),
        "missing_written_at": sorted(_since_kill(kills, traffic.written[each]) for each in missing)[:20],
    }  # fmt: skip
    print(json.dumps(report))
    generations = [each.line["generation"] for each in acquired]
    assert generations == sorted(set(generations)), "two regions ran the account under one generation"
    assert on_ledger == len(traffic.written), "every message of the ledger is accounted for"
    assert (missing, doubled) == (set(), [])
    assert set(stored) == set(traffic.written)


def _other(stage: Stage, region: Region) -> str:
    return next(name for name in stage.regions if name != region.name)


async def _nothing_waits(stage: Stage) -> None:
    """Wait until no queue holds anything, or nothing but what may wait for a minute."""

    async def empty() -> bool:
        return all([await _waiting(region) == 0 for region in stage.regions.values()])

    ends = time.monotonic() + SETTLE
    while not await empty() and time.monotonic() < ends:
        await asyncio.sleep(0.5)


async def _waiting(region: Region) -> float:
    text = await region.tandem.call("GET", "/metrics")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    inbox = sum(each.value for each in samples if each.name == "tandem_queue_depth" and each.labels["queue"] == "inbox")
    return inbox + sum(each.value for each in samples if each.name == "tandem_held_back_messages")


async def _settled(
    firestore: firestore_emulator.FirestoreEmulator, stage: Stage, traffic: Traffic
) -> tuple[Mapping[str, int], float]:
    """Message ids as often as Firestore has them, once it has all, or nothing is to be expected any more."""
    store = FirestoreStore(Target(stage.project, emulator=firestore.address), SystemClock())
    await store.open()
    began = time.monotonic()
    try:
        while True:
            found: Counter[str] = Counter()
            account = AccountId(stage.talks[0].account)
            for chat in await store.chats(account, 100):
                found.update(each.message.message_id for each in await store.messages(account, chat.id, 1_000_000))
            waited = time.monotonic() - began
            if not set(traffic.written) - set(found) or waited > NOTHING_HELD:
                return found, waited
            await asyncio.sleep(2)
    finally:
        await store.close()


def _since_kill(kills: list[tuple[float, str]], at: float) -> tuple[float, str]:
    """How many milliseconds after the last kill before it, and whose; negative: before the first one after it."""
    nearest = min(kills, key=lambda kill: abs(kill[0] - at))
    return round((at - nearest[0]) * 1000, 1), nearest[1]
