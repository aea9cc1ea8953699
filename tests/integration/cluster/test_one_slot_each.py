"""Two regions run one slot of each account: losing a session, not only a region, moves the account to the other one."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from integration.cluster.stage import TTL, Stage
from support.firestore_emulator import FirestoreEmulator

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
REGIONS = {"primary": {"TANDEM_CLUSTER__SLOTS": "primary"}, "backup": {"TANDEM_CLUSTER__SLOTS": "backup"}}
_DWELL = 5.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(firestore: FirestoreEmulator) -> AsyncIterator[Stage]:
    async with Stage(firestore, REGIONS) as stage:
        stage.talk_on()
        yield stage


async def test_each_region_shows_the_other_ones_slot_as_that_one_tells_it(stage: Stage) -> None:
    [talk] = stage.talks
    await stage.run_by(talk, "primary", 15)
    for name, slot, other in (("primary", "backup", "backup"), ("backup", "primary", "primary")):

        async def told(name: str = name, slot: str = slot, other: str = other) -> bool:
            [account] = await stage.regions[name].tandem.accounts()
            [shown] = [each for each in account["slots"] if each["slot"] == slot]
            return (shown["state"], shown["instance"], account["status"]) == ("online", other, "online")

        await stage.until(told, 10, f"{name} shows the {slot} of {other}")


async def test_a_lost_session_moves_the_account_to_the_other_region(stage: Stage) -> None:
    """Its host is killed: faster than it comes back, the other region sends."""
    [talk] = stage.talks
    took = []
    for number in range(4):
        sender = "primary" if number % 2 == 0 else "backup"
        await stage.run_by(talk, sender, 15)
        await asyncio.sleep(_DWELL + 0.5)
        killed = time.time()
        for host in stage.regions[sender].daemon.hosts():
            os.kill(host.pid, signal.SIGKILL)
        other = "backup" if sender == "primary" else "primary"
        await stage.run_by(talk, other, 10)
        await stage.until(partial(stage.events, "lease_acquired", killed), 2, "the log says so, too")
        took.append(stage.events("lease_acquired", killed)[0].at - killed)
    print("session lost, account run by the other region after", [f"{each * 1000:.0f} ms" for each in sorted(took)])
    assert max(took) < 2.0


async def test_a_region_lost_is_taken_over(stage: Stage) -> None:
    [talk] = stage.talks
    await stage.run_by(talk, "primary", 15)
    killed = stage.regions["primary"].kill()
    await stage.run_by(talk, "backup", 30)
    assert stage.events("lease_acquired", killed)[0].at - killed <= TTL + 1
    await stage.regions["primary"].end()
    await stage.regions["primary"].start()
    await asyncio.sleep(2)


async def test_in_all_that_nothing_was_lost_or_doubled(stage: Stage) -> None:
    await stage.quiet()
    print(f"judged: {await stage.verdict()}")
