from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from tandem.cluster.memory import Act
from tandem.cluster.port import Put
from tandem.model.cluster import NOBODY, Fitness, Instance, Lease
from tandem.model.event import EventType
from tandem.policy.lease import Limits
from unit.cluster.lease_parts import (
    KIOSK,
    LIMITS,
    NORTH,
    SHOP,
    SOUTH,
    TIMEOUT,
    WEST,
    beat_at,
    lease_at,
    meeting_at,
    now,
)
from unit.cluster.lease_scene import scene, two
from unit.supervision.test_supervisor import virtual

ACQUIRED, LOST, SWITCHED = EventType.LEASE_ACQUIRED, EventType.LEASE_LOST, EventType.SWITCHED_REGION
DAY, MINUTES = 86_400.0, 600.0


@pytest.fixture(autouse=True)
def _no_logs() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


@virtual
async def test_a_free_account_is_taken_at_once() -> None:
    async with scene() as here:
        node = await here.start(NORTH)
        await here.until_held()
        assert now() < 0.1
        assert lease_at(here.ground).generation == node.generation() == 1
        await asyncio.sleep(0.01)
        assert node.serving == {SHOP: 1}
        assert node.keeper.held == {SHOP: 1}


@virtual
async def test_of_several_that_are_there_the_one_in_the_primary_region_takes_it() -> None:
    for names in ((NORTH, SOUTH), (SOUTH, NORTH)):
        async with scene() as here:
            west = await here.start(WEST)
            await here.until_held()
            for name in names:
                await here.start(name, region="primary" if name == SOUTH else "backup")
            await asyncio.sleep(6)
            await west.crash()
            assert (await here.until_held()).id == SOUTH
            await asyncio.sleep(60)
            assert [each.by for each in here.of(ACQUIRED)] == [WEST, SOUTH]


@virtual
async def test_it_is_taken_where_it_is_online_though_a_better_region_is_there() -> None:
    async with scene() as here:
        west = await here.start(WEST)
        await here.until_held()
        await here.start(NORTH, region="primary", fitness=Fitness.LINKED)
        south = await here.start(SOUTH)
        await asyncio.sleep(6)
        await west.stop()
        await asyncio.sleep(1)
        assert here.holder() is south


@virtual
async def test_who_has_no_device_of_it_leaves_it_to_one_who_links_one_later() -> None:
    async with scene() as here:
        node = await here.start(NORTH, fitness=Fitness.UNLINKED)
        await asyncio.sleep(200)
        assert here.holder() is None
        node.fitness[SHOP] = Fitness.LINKED
        node.keeper.changed()
        await asyncio.sleep(0.1)
        assert node.holds()


@virtual
async def test_a_holder_keeps_it_by_its_heartbeats_alone() -> None:
    async with scene() as here:
        north, _ = await two(here)
        version = here.ground.documents[Lease, SHOP][1]
        beats, since = beat_at(here.ground, NORTH).beat, now()
        await asyncio.sleep(MINUTES)
        assert north.generation() == 1
        assert here.ground.documents[Lease, SHOP][1] == version, "an idle account costs nothing"
        assert beat_at(here.ground, NORTH).beat - beats == pytest.approx(MINUTES / LIMITS.renew, abs=2)
        assert beat_at(here.ground, SOUTH).beat <= 2 + (now() - since) / LIMITS.idle + 1


@virtual
async def test_a_successor_of_another_origin_waits_after_a_crash_and_one_of_the_same_does_not() -> None:
    for origin, least, most in (("origin", 0.0, 0.2), ("new container", LIMITS.ttl, LIMITS.ttl + 1.1)):
        async with scene() as here:
            node = await here.start(NORTH)
            await here.until_held()
            await node.crash()
            began = now()
            successor = await here.start(NORTH, origin=origin)
            await here.until_held()
            assert least <= now() - began <= most
            assert successor.generation() == 2
            await asyncio.sleep(1)
            assert successor.keeper.trouble == ""


@virtual
async def test_after_a_crash_it_is_taken_when_the_time_to_live_is_over_and_within_a_second_of_that() -> None:
    for after in (0.0, 1.3, 2.6, 4.9):
        async with scene() as here:
            north, south = await two(here)
            await asyncio.sleep(after)
            last = north.keeper.term.sent_at
            await north.crash()
            assert await here.until_held() is south
            assert LIMITS.ttl <= now() - last <= LIMITS.ttl + 1.0
            assert south.generation() == 2
            [acquired] = here.of(ACQUIRED, SOUTH)
            assert acquired.data["reason"].startswith(f"the {NORTH} has given no sign of life for 10.")
            assert len(here.of(SWITCHED)) == 1
            assert beat_at(here.ground, NORTH).deposed


@virtual
async def test_all_accounts_of_one_that_crashed_are_taken_in_one_act() -> None:
    async with scene() as here:
        north = await here.start(NORTH, SHOP, KIOSK, region="primary")
        await asyncio.sleep(1)
        south = await here.start(SOUTH, SHOP, KIOSK)
        await asyncio.sleep(5)
        await north.crash()
        await here.until_held()
        assert south.keeper.held == {SHOP: 2, KIOSK: 2}


@virtual
async def test_who_comes_back_after_a_crash_does_not_take_it_back() -> None:
    async with scene() as here:
        north, south = await two(here)
        await north.crash()
        await here.until_held()
        again = await here.start(NORTH, region="primary")
        await asyncio.sleep(MINUTES)
        assert (south.generation(), again.holds()) == (2, False)
        assert [(each.by, each.type) for each in here.told[1:]] == [(SOUTH, ACQUIRED), (SOUTH, SWITCHED)]


@pytest.mark.parametrize("weather", ["hangs", "refuses"])
def test_a_holder_that_cannot_beat_is_fenced_before_anybody_may_take_it(weather: str) -> None:
    @virtual
    async def check() -> None:
        async with scene() as here:
            north, south = await two(here)
            setattr(north.way, weather, set(Act))
            last = north.keeper.term.until - (LIMITS.ttl - LIMITS.margin)
            while north.holds():
                await asyncio.sleep(0.001)
            assert now() == pytest.approx(last + LIMITS.ttl - LIMITS.margin, abs=0.002)
            await asyncio.sleep(0.01)
            at, act = north.acts[-1]
            assert act == "lost"
            assert at == pytest.approx(now(), abs=0.02)
            assert north.serving == {}
            [lost] = here.of(LOST)
            assert "does not answer" in lost.data["reason"]
            assert north.keeper.trouble == lost.data["reason"]
            assert await here.until_held() is south
            assert last + LIMITS.ttl <= now() <= last + LIMITS.ttl + 1.0
            north.way.heal()
            await asyncio.sleep(120)
            assert (south.generation(), north.holds(), north.keeper.trouble) == (2, False, "")
            assert south.acts[-1][1] == "take up"

    check()


@virtual
async def test_a_right_ends_by_the_clock_even_if_nothing_of_its_keeper_runs() -> None:
    async with scene() as here:
        node = await here.start(NORTH)
        await here.until_held()
        until = node.keeper.term.until
        await node.crash()
        await asyncio.sleep(until - now() - 0.01)
        assert (node.holds(), node.keeper.held) == (True, {SHOP: 1})
        await asyncio.sleep(0.02)
        assert (node.holds(), node.keeper.held) == (False, {})


@virtual
async def test_who_was_deposed_begins_no_new_term_while_what_it_sent_may_be_under_way() -> None:
    async with scene() as here:
        node = await here.start(NORTH)
        await here.until_held()
        beat, version = beat_at(here.ground, NORTH), here.ground.documents[Instance, NORTH][1]
        here.ground.commit([Put(replace(beat, deposed=True), version)])
        async with asyncio.timeout(LIMITS.renew + 0.1):  # its next heartbeat fails
            while node.holds():
                await asyncio.sleep(0.01)
        assert [each.data["reason"] for each in here.of(LOST)] == ["another instance has ended this term"]
        await asyncio.sleep(LIMITS.margin - 0.2)
        assert beat_at(here.ground, NORTH).term == 1
        await here.until_held(patience=1)
        assert (beat_at(here.ground, NORTH).term, node.generation()) == (2, 2)


@virtual
async def test_a_call_under_way_that_hangs_does_not_delay_the_fence() -> None:
    """The one call that is made at a time waits for the network, the second task fences nevertheless."""
    async with scene(Limits(ttl=2.0)) as here:
        node = await here.start(NORTH)
        await here.until_held()
        until = node.keeper.term.until
        node.way.hang()
        await asyncio.sleep(until - now() + 0.01)
        assert (node.holds(), node.serving, node.keeper.held) == (False, {}, {})


@virtual
async def test_one_heartbeat_that_gets_lost_costs_no_right() -> None:
    async with scene() as here:
        north, _ = await two(here)
        for act in (Act.COMMIT, Act.COMMITTED):
            north.way.hangs = {act}
            while north.way.asked[act] and north.keeper.trouble == "":
                await asyncio.sleep(0.1)
            north.way.heal()
            await asyncio.sleep(20)
            assert north.generation() == 1
        assert not here.of(LOST)


@virtual
async def test_a_fenced_holder_that_nobody_else_can_replace_takes_it_anew_when_the_network_is_back() -> None:
    async with scene() as here:
        node = await here.start(NORTH)
        await here.until_held()
        await asyncio.sleep(10)
        node.way.cut()
        await asyncio.sleep(MINUTES)
        assert not node.holds()
        node.way.heal()
        await here.until_held(patience=3)
        assert node.generation() == 2
        assert not here.of(SWITCHED)


@virtual
async def test_a_region_that_takes_its_account_anew_has_not_switched() -> None:
    async with scene() as here:
        north, south = await two(here)
        await north.crash()
        await here.until_held()
        assert len(here.of(SWITCHED)) == 1
        south.way.cut()
        await asyncio.sleep(60)
        south.way.heal()
        await here.until_held(patience=3)
        assert south.generation() == 3
        assert len(here.of(SWITCHED)) == 1


@virtual
async def test_a_taking_whose_answer_is_lost_is_found_out() -> None:
    async with scene() as here:
        node = await here.start(NORTH, fitness=Fitness.UNLINKED)
        await asyncio.sleep(0.5)  # too soon for another heartbeat
        node.fitness[SHOP] = Fitness.ONLINE
        node.way.refuses, node.way.hangs = {Act.COMMITTED, Act.HAVE_READ}, {Act.TELL}
        node.keeper.changed()
        await asyncio.sleep(0.01)
        assert (node.holds(), lease_at(here.ground).holder) == (False, NORTH)
        node.way.heal()
        await here.until_held(patience=3)
        assert node.generation() == lease_at(here.ground).generation == 1
        assert len(here.told) == 1


@virtual
async def test_a_wall_clock_that_jumps_changes_nothing() -> None:
    async with scene() as here:
        north, south = await two(here)
        for jump in (DAY, -2 * DAY, DAY):
            for node in (north, south):
                node.clock.jumped += jump
                await asyncio.sleep(7)
        await asyncio.sleep(120)
        assert north.generation() == 1
        assert len(here.told) == 1
        south.clock.jumped = DAY
        last = north.keeper.term.sent_at
        await north.crash()
        await here.until_held()
        assert LIMITS.ttl <= now() - last <= LIMITS.ttl + 1


@virtual
async def test_a_copy_of_the_data_directory_never_holds_while_the_original_beats() -> None:
    async with scene() as here:
        original = await here.start(NORTH, origin="here")
        await here.until_held()
        copy = await here.start(NORTH, origin="there")
        for _ in range(100):
            await asyncio.sleep(6)
            assert not copy.holds()
        assert original.generation() == 1
        assert "runs on a copy" in copy.keeper.trouble
        await original.crash()
        began = now()
        assert await here.until_held() is copy
        assert now() - began > LIMITS.ttl - LIMITS.renew


@virtual
async def test_two_copies_that_hold_nothing_never_hold_it_both() -> None:
    """An idle instance beats too seldom to keep its copy out: they end each other's terms, and no more than that."""
    async with scene() as here:
        nodes = [await here.start(NORTH, origin=origin, fitness=Fitness.UNLINKED) for origin in ("here", "there")]
        await asyncio.sleep(300)
        for node in nodes:
            node.fitness[SHOP] = Fitness.ONLINE
            node.keeper.changed()
        holder = await here.until_held()
        await asyncio.sleep(300)
        assert holder.holds()


@virtual
async def test_a_lease_that_somebody_changed_behind_its_holder_is_laid_down_at_once() -> None:
    async with scene() as here:
        north, south = await two(here)
        lease, version = lease_at(here.ground), here.ground.documents[Lease, SHOP][1]
        meeting = await meeting_at(here.ground, WEST)
        freed = replace(lease, holder=NOBODY, term=0, wanted=SOUTH, reason="by hand")
        await meeting.commit([Put(freed, version)], TIMEOUT)
        await asyncio.sleep(0.1)
        assert (north.holds(), north.serving, south.generation()) == (False, {}, 2)
        assert [act for _, act in north.acts] == ["take up", "lost"]


@virtual
async def test_peers_that_look_bad_are_looked_at_and_nothing_is_taken_for_that() -> None:
    async with scene() as here:
        north, south = await two(here)
        reads = south.way.asked[Act.READ]
        south.keeper.look()
        await asyncio.sleep(0.1)
        assert south.way.asked[Act.READ] == reads + 1
        assert (north.generation(), south.holds()) == (1, False)
