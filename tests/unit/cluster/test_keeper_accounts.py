from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import structlog

from tandem.cluster.memory import Act
from tandem.errors import InstancePassive, StoreUnavailable
from tandem.model.cluster import Fitness
from tandem.model.event import EventType
from unit.cluster.lease_parts import (
    KIOSK,
    LIMITS,
    SHOP,
    lease_at,
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
async def test_a_new_account_belongs_to_who_added_it_and_the_others_hear_of_it() -> None:
    async with scene() as here:
        north, south = await two(here)
        await north.keeper.found(KIOSK, "the account was added here")
        assert north.holds(KIOSK)
        assert lease_at(here.ground, KIOSK).reason == "the account was added here"
        await asyncio.sleep(0.1)
        assert south.fitness[KIOSK] is Fitness.UNLINKED
        assert [act for _, act in south.acts] == ["discovered"]
        assert north.fitness[KIOSK] is Fitness.UNLINKED
        await asyncio.sleep(200)
        assert [act for _, act in south.acts] == ["discovered"]


@virtual
async def test_an_account_that_another_instance_runs_or_may_still_run_cannot_be_added() -> None:
    async with scene() as here:
        north, south = await two(here)
        south.fitness[SHOP] = Fitness.UNLINKED  # it would take it otherwise
        for silent in (False, True):
            if silent:
                await north.crash()
                await asyncio.sleep(LIMITS.ttl + 1)
            with pytest.raises(InstancePassive, match="has this account already"):
                await south.keeper.found(SHOP, "the account was added here")
            assert lease_at(here.ground).generation == 1


@virtual
async def test_of_two_who_add_one_account_in_the_same_instant_one_is_refused() -> None:
    async with scene() as here:
        nodes = await two(here)
        results = await asyncio.gather(
            *(node.keeper.found(KIOSK, "the account was added here") for node in nodes), return_exceptions=True
        )
        assert [type(result) for result in results if result] == [InstancePassive]
        assert here.holder(KIOSK) is nodes[results.index(None)]
        await asyncio.sleep(1)
        assert lease_at(here.ground, KIOSK).generation == 1


@virtual
async def test_an_account_cannot_be_added_while_no_lease_can_be_had() -> None:
    async with scene() as here:
        north, _ = await two(here)
        north.way.cut()
        with pytest.raises(StoreUnavailable):
            await north.keeper.found(KIOSK, "the account was added here")
        await asyncio.sleep(60)
        north.way.refuses -= {Act.READ, Act.HAVE_READ}
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await north.keeper.found(KIOSK, "the account was added here")


@virtual
async def test_a_deleted_account_is_forgotten_everywhere_and_can_be_added_again() -> None:
    async with scene() as here:
        north, south = await two(here)
        await north.keeper.delete(SHOP)
        assert not north.holds()
        await asyncio.sleep(0.1)
        assert (north.fitness, south.fitness) == ({}, {})
        assert lease_at(here.ground).removed
        assert here.of(LOST)[0].data["reason"] == "the account was deleted"
        await asyncio.sleep(100)
        assert [act for _, act in south.acts] == ["removed"]
        await south.keeper.found(SHOP, "the account was added here")
        assert (south.generation(), lease_at(here.ground).removed) == (2, False)


@virtual
async def test_who_was_away_while_an_account_was_deleted_forgets_it_when_it_is_back() -> None:
    async with scene() as here:
        north, south = await two(here)
        south.way.cut()
        await asyncio.sleep(1)
        await north.keeper.delete(SHOP)
        await asyncio.sleep(100)
        assert SHOP in south.fitness
        south.way.heal()
        await asyncio.sleep(3)
        assert SHOP not in south.fitness


@virtual
async def test_a_deletion_that_was_not_done_takes_nothing_away() -> None:
    async with scene() as here:
        north, _ = await two(here)
        north.way.refuses = {Act.COMMIT}
        with pytest.raises(StoreUnavailable):
            await north.keeper.delete(SHOP)
        assert north.holds()
        north.way.heal()
        await asyncio.sleep(30)
        assert north.generation() == 1
