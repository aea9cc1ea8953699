from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import structlog

from tandem.cluster.memory import Act
from tandem.errors import StoreUnavailable
from tandem.model.cluster import NOBODY, Fitness
from tandem.model.event import EventType
from tandem.policy.lease import Limits
from unit.cluster.lease_parts import (
    LIMITS,
    NORTH,
    SHOP,
    SOUTH,
    TIMEOUT,
    WEST,
    beat_at,
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
async def test_who_ends_gracefully_hands_over_within_a_second_and_ends_its_work_first() -> None:
    async with scene() as here:
        north, south = await two(here)
        north.lay_down_takes = 0.5
        began = now()
        stopping = asyncio.create_task(north.stop())
        await here.until_held()
        while here.holder() is not south:
            await asyncio.sleep(0.01)
        assert 0.5 <= now() - began < 1.0
        await stopping
        assert south.generation() == 2
        assert [act for _, act in north.acts] == ["take up", "lay down"]
        assert north.acts[-1][0] <= south.acts[-1][0]
        [lost], [acquired] = here.of(LOST), here.of(ACQUIRED, SOUTH)
        assert (lost.by, lost.data["reason"], lost.data["to"]) == (NORTH, "its instance stops", f"the {SOUTH}")
        assert (acquired.data["reason"], acquired.data["generation"]) == ("its instance stops", 2)
        [switched] = here.of(SWITCHED)
        assert (switched.by, switched.data["from_region"], switched.data["to_region"]) == (SOUTH, "primary", "backup")
        assert switched.message == "switched to region backup: its instance stops"
        assert beat_at(here.ground, NORTH).deposed


@virtual
async def test_a_successor_on_the_same_directory_begins_at_once_after_a_graceful_end() -> None:
    async with scene() as here:
        node = await here.start(NORTH, origin="old container")
        await here.until_held()
        await node.stop()
        began = now()
        await here.start(NORTH, origin="new container")
        await here.until_held()
        assert now() - began < 0.2


@virtual
async def test_an_account_goes_to_the_one_that_it_is_handed_to_though_another_is_better() -> None:
    async with scene() as here:
        north, south = await two(here)
        west = await here.start(WEST, region="primary")
        await asyncio.sleep(1)
        began = now()
        await north.keeper.leave(SHOP, SOUTH, "an operator moved it")
        await asyncio.sleep(0.3)
        assert (south.holds(), west.holds(), south.generation()) == (True, False, 2)
        assert south.acts[-1][0] - began < 0.5
        assert here.of(LOST)[0].data["to"] == f"the {SOUTH}"
        await asyncio.sleep(120)
        assert south.generation() == 2, "and it stays there"


@virtual
async def test_what_its_new_holder_does_not_take_goes_to_another_after_a_while() -> None:
    async with scene() as here:
        north, south = await two(here)
        south.way.hang()
        await asyncio.sleep(0.5)
        began = now()
        await north.keeper.leave(SHOP, SOUTH, "an operator moved it")
        assert await here.until_held() is north
        assert now() - began == pytest.approx(LIMITS.handover + north.lay_down_takes, abs=0.2)
        assert north.generation() == 2
        await asyncio.sleep(0.1)
        assert north.serving == {SHOP: 2}
        south.way.heal()
        north.fitness[SHOP] = Fitness.LINKED
        north.keeper.changed()
        await asyncio.sleep(30)
        assert north.generation() == 2, "it is handed nothing for a while, though it would be better"
        assert not here.of(ACQUIRED, SOUTH)
        await asyncio.sleep(LIMITS.idle)
        assert south.generation() == 3


@virtual
async def test_a_release_whose_answer_is_lost_is_never_resumed_under_the_same_generation() -> None:
    for refused in (Act.COMMIT, Act.COMMITTED):
        async with scene() as here:
            north = await here.start(NORTH)
            await here.until_held()
            await asyncio.sleep(5)
            north.way.refuses = {refused}
            with pytest.raises(StoreUnavailable):
                await north.keeper.leave(SHOP, NOBODY, "an operator moved it")
            assert not north.holds()
            north.way.heal()
            await here.until_held(patience=3)
            assert north.generation() == 2
            await asyncio.sleep(1)
            assert north.serving == {SHOP: 2}
            assert [each.data["generation"] for each in here.of(ACQUIRED)] == [1, 2]


@virtual
async def test_who_is_drained_hands_on_takes_nothing_and_takes_part_again_afterwards() -> None:
    async with scene() as here:
        north, south = await two(here)
        north.keeper.drain(on=True)
        await asyncio.sleep(1)
        assert south.generation() == 2
        assert here.of(LOST)[0].data["reason"] == "this instance is being drained"
        await asyncio.sleep(2)
        assert beat_at(here.ground, NORTH).draining
        await south.crash()
        await asyncio.sleep(60)
        assert here.holder() is None
        north.keeper.drain(on=False)
        await here.until_held(patience=1.5)
        assert north.generation() == 3
        await asyncio.sleep(6)
        assert not beat_at(here.ground, NORTH).draining


@virtual
async def test_an_account_that_goes_offline_here_is_handed_to_where_it_is_online_and_stays() -> None:
    async with scene() as here:
        north, south = await two(here)
        north.fitness[SHOP] = Fitness.LINKED
        north.keeper.changed()
        began = now()
        while here.holder() is not south:
            await asyncio.sleep(0.01)
        assert LIMITS.patience <= now() - began < LIMITS.patience + 1
        north.fitness[SHOP] = Fitness.ONLINE
        north.keeper.changed()
        await asyncio.sleep(120)
        assert south.generation() == 2


@virtual
async def test_two_who_hand_the_same_account_on_at_once_do_it_once() -> None:
    async with scene() as here:
        north, south = await two(here)
        moves = [north.keeper.leave(SHOP, SOUTH, reason) for reason in ("an operator moved it", "so did another")]
        results = await asyncio.gather(*moves, return_exceptions=True)
        assert results == [None, None]
        await asyncio.sleep(60)
        assert (south.generation(), len(here.of(LOST))) == (2, 1)


@virtual
async def test_an_end_amid_a_drain_waits_for_what_is_under_way() -> None:
    async with scene() as here:
        north, south = await two(here)
        north.lay_down_takes = 0.8
        north.keeper.drain(on=True)
        await asyncio.sleep(0.1)
        await north.keeper.leave_all("its instance stops")
        assert north.serving == {}
        assert north.acts[-1][1] == "lay down"
        await north.crash()
        await asyncio.sleep(0.5)
        assert south.generation() == 2
        assert south.acts[-1][0] >= north.acts[-1][0]


@virtual
async def test_an_end_without_the_meeting_place_comes_soon_all_the_same() -> None:
    async with scene() as here:
        north, south = await two(here)
        north.way.hang()
        began = now()
        await north.keeper.leave_all("its instance stops")
        assert now() - began < 4 * TIMEOUT
        assert (north.holds(), north.serving) == (False, {})
        await north.crash()
        assert await here.until_held() is south


@virtual
async def test_accounts_are_spread_over_members_one_at_a_time_and_come_back_when_one_leaves() -> None:
    accounts = [type(SHOP)(f"account-{number}") for number in range(8)]
    async with scene(Limits(settle=10.0, pause=5.0)) as here:
        north = await here.start(NORTH, *accounts, spread=True)
        await asyncio.sleep(20)
        assert len(north.keeper.held) == 8
        south = await here.start(SOUTH, *accounts, spread=True)
        await asyncio.sleep(9)
        assert len(north.keeper.held) == 8, "it has to settle first"
        await asyncio.sleep(120)
        moved = dict(south.keeper.held)
        assert 0 < len(moved) < 8
        assert len(north.keeper.held) + len(moved) == 8
        times = [each.at for each in here.of(ACQUIRED, SOUTH)]
        assert all(later - earlier >= 5.0 for earlier, later in pairwise(times))
        await asyncio.sleep(120)
        assert south.keeper.held == moved, "and then rest"
        await south.stop()
        await asyncio.sleep(1)
        assert len(north.keeper.held) == 8


@virtual
async def test_a_keeper_outlives_defects_of_what_it_steers() -> None:
    async with scene() as here:
        north, south = await two(here)

        async def broken(*_: object) -> None:
            raise RuntimeError("a defect")

        north.keeper._ports = replace(north.keeper._ports, lay_down=broken)
        await north.keeper.leave(SHOP, SOUTH, "an operator moved it")
        await asyncio.sleep(1)
        assert south.generation() == 2
