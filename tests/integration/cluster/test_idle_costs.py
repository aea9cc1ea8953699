"""An idle instance asks Firestore for its heartbeats and nothing else; `make bench` measures what a day of it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.firestore_emulator import FirestoreEmulator
from support.idle_pair import DAY, FREE_READS, FREE_WRITES, Idler, idle_pair
from tandem.policy.lease import Limits
from tandem.settings import load
from tandem.store.firestore.credentials import Target
from tandem.store.port import Costs

pytestmark = pytest.mark.timeout(90)
ACCOUNTS, PACE, BEATS = 10, 4.0, 12
AFRESH = 300.0
"""Seconds after which the outbox's stream is begun anew: a read of each account as it begins, and one to be sure."""


async def test_an_idle_instance_pays_for_heartbeats_only(firestore: FirestoreEmulator, tmp_path: Path) -> None:
    target = Target(firestore.fresh_project(), emulator=firestore.address)
    async with idle_pair(tmp_path, target, ACCOUNTS, PACE) as (clock, (holder, passive)):
        await clock.sleep(10)
        await _beats(holder, 1)
        before, told = [holder.costs(), passive.costs()], len(holder.told.events)
        await _beats(holder, BEATS)
        runs, waits = _more(before[0], holder.costs()), _more(before[1], passive.costs())
        assert len(holder.told.events) == told, "a lease changed hands: that was not idle"
    print(f"{BEATS} heartbeats of the holder, writes and reads: holder {runs}, passive {waits}")
    assert runs["leases"][0] == BEATS
    assert max(runs["leases"][1], waits["leases"][0]) <= 2, "the other one's heartbeats, never its own"
    assert waits["leases"][1] == BEATS
    assert runs["outbox"] in {(0, 0), (0, 2 * ACCOUNTS)}
    assert waits["outbox"] == runs["store"] == waits["store"] == (0, 0)


def test_a_day_of_that_is_free() -> None:
    cluster = load({}).cluster
    limits = Limits(ttl=cluster.lease_ttl, settle=cluster.settle, pause=cluster.move_every)
    beats, others = DAY / limits.renew, DAY / limits.idle
    assert beats + others < FREE_WRITES
    assert beats + others + 2 * ACCOUNTS * DAY / AFRESH < FREE_READS / 2


def _more(then: Mapping[str, Costs], now: Mapping[str, Costs]) -> dict[str, tuple[int, int]]:
    return {part: (each.writes - then[part].writes, each.reads - then[part].reads) for part, each in now.items()}


async def _beats(idler: Idler, count: int) -> None:
    """Wait for so many heartbeats, and until the other instance has been told of the last."""
    ends = idler.costs()["leases"].writes + count
    async with asyncio.timeout(60):
        while idler.costs()["leases"].writes < ends:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
