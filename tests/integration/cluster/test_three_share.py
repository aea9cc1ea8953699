"""Three instances share four accounts out among themselves, and move them one at a time as members come and go."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import pytest_asyncio

from integration.cluster.stage import TTL, Stage
from support.firestore_emulator import FirestoreEmulator

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
EVERY = 2.0
SETTINGS = {
    "TANDEM_CLUSTER__PLACEMENT": "spread",
    "TANDEM_CLUSTER__SLOTS": "primary",
    "TANDEM_CLUSTER__SETTLE": "4",
    "TANDEM_CLUSTER__MOVE_EVERY": str(EVERY),
}
REGIONS = dict.fromkeys(("one", "two", "three"), SETTINGS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(firestore: FirestoreEmulator) -> AsyncIterator[Stage]:
    async with Stage(firestore, REGIONS, accounts=4) as stage:
        stage.talk_on(rate=2.0)
        yield stage


async def places(stage: Stage) -> dict[str, str]:
    return {talk.account: await stage.holder(talk) for talk in stage.talks}


async def settled(stage: Stage, patience: float = 60.0) -> dict[str, str]:
    """Wait until every account runs somewhere and has not moved for a while."""
    ends, last, since = time.monotonic() + patience, await places(stage), time.monotonic()
    while time.monotonic() < ends:
        await asyncio.sleep(0.5)
        now = await places(stage)
        if now != last or "" in now.values():
            last, since = now, time.monotonic()
        elif time.monotonic() - since > 3 * EVERY:
            return last
    raise AssertionError(f"no rest within {patience:g} s: {last}")


async def test_accounts_spread_and_move_one_at_a_time_when_a_member_goes_and_comes(stage: Stage) -> None:
    before = await settled(stage)
    print("shared out:", Counter(before.values()))
    assert len(set(before.values())) > 1
    lost = max(set(before.values()), key=list(before.values()).count)
    killed = stage.regions[lost].kill()
    without = await settled(stage)
    taken = [each.at - killed for each in stage.events("lease_acquired", killed)]
    print(f"{lost} killed: its accounts taken over after {max(taken):.2f} s")
    assert lost not in without.values()
    assert {account for account, name in before.items() if name != lost} == {
        account for account, name in without.items() if name == before[account]
    }, "an account moved that had no reason to"
    assert max(taken) <= TTL + 1
    await stage.regions[lost].end()
    await stage.regions[lost].start()
    again = time.time()
    assert await settled(stage) == before
    moves = [each.at for each in stage.events("lease_acquired", again)]
    assert all(later - earlier > EVERY / 2 for earlier, later in pairwise(moves)), moves
    await stage.quiet()
    print(f"judged: {await stage.verdict()}")
