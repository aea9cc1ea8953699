"""What two instances that share accounts ask of Firestore while nothing happens, and what of that would be billed.

Firestore gives 20,000 writes and 50,000 reads a day for nothing, to all instances together. ``make bench`` measures ten
accounts on a quick clock, and whole daemons, with devices, in real time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from integration.cluster.stage import TTL, Region, Stage
from support.firestore_emulator import FirestoreEmulator, running
from support.idle_pair import DAY, FREE_READS, FREE_WRITES, idle_pair
from tandem.store.firestore.credentials import Target
from tandem.store.port import Costs

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1200)]

ACCOUNTS = 10
PACE = 6.0
MEASURED = float(os.environ.get("COST_MEASURED", "903"))
"""Three times what the longest period is, in seconds of the quick clock."""
SECONDS = float(os.environ.get("COST_SECONDS", "60"))
REGIONS: dict[str, dict[str, str]] = {"primary": {}, "backup": {}}


@pytest.fixture(scope="module")
def firestore() -> Iterator[FirestoreEmulator]:
    with running() as emulator:
        yield emulator


async def test_ten_idle_accounts_on_two_instances(firestore: FirestoreEmulator, tmp_path: Path) -> None:
    target = Target(firestore.fresh_project(), emulator=firestore.address)
    async with idle_pair(tmp_path, target, ACCOUNTS, PACE) as (clock, idlers):
        await clock.sleep(30)
        before = [each.costs() for each in idlers]
        told, began = [len(each.told.events) for each in idlers], clock.monotonic()
        await clock.sleep(MEASURED)
        seconds = clock.monotonic() - began
        after = [each.costs() for each in idlers]
        assert [len(each.told.events) for each in idlers] == told, "a lease changed hands: that was not idle"
    named = dict(zip(("holder", "passive"), zip(before, after, strict=True), strict=True))
    _judge(f"{ACCOUNTS} accounts, {seconds:.0f} s", named, seconds, ACCOUNTS)


async def test_a_whole_pair_of_daemons_at_rest(firestore: FirestoreEmulator) -> None:
    async with Stage(firestore, REGIONS, accounts=2) as stage:
        for talk in stage.talks:
            await stage.run_by(talk, "primary", TTL + 5)
        await asyncio.sleep(10)
        before = {name: await _asked(region) for name, region in stage.regions.items()}
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(SECONDS)
        seconds = asyncio.get_running_loop().time() - began
        after = {name: await _asked(region) for name, region in stage.regions.items()}
    named = {name: (before[name], after[name]) for name in before}
    _judge(f"whole daemons, 2 accounts, {seconds:.0f} s", named, seconds, 2)


async def _asked(region: Region) -> Mapping[str, Costs]:
    costs: dict[str, Costs] = {}
    for family in text_string_to_metric_families(await region.tandem.call("GET", "/metrics")):
        what = family.name.removeprefix("tandem_firestore_")
        for sample in family.samples if what in {"reads", "writes"} else []:
            setattr(costs.setdefault(sample.labels["part"], Costs()), what, int(sample.value))
    return costs


def _judge(
    title: str, named: Mapping[str, tuple[Mapping[str, Costs], Mapping[str, Costs]]], seconds: float, accounts: int
) -> None:
    """Print what a day would cost, each instance and part, and compare the sum with what is free."""
    print(f"\n{title}; a day of it:\n{'instance':<10}{'part':<8}{'writes':>9}{'reads':>9}{'counted':>16}")
    writes = reads = 0.0
    for name, (before, after) in named.items():
        for part, now in after.items():
            written, read = now.writes - before[part].writes, now.reads - before[part].reads
            writes, reads = writes + written, reads + read
            counted = f"{written} w, {read} r"
            print(f"{name:<10}{part:<8}{written * DAY / seconds:>9,.0f}{read * DAY / seconds:>9,.0f}{counted:>16}")
    writes, reads = writes * DAY / seconds, reads * DAY / seconds
    print(f"{'all':<18}{writes:>9,.0f}{reads:>9,.0f}")
    print(f"{'an account':<18}{writes / accounts:>9,.0f}{reads / accounts:>9,.0f}")
    assert writes < FREE_WRITES
    assert reads < FREE_READS
