from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import structlog

from tandem.cluster.desk import ClusterDesk
from tandem.errors import Conflict, InstancePassive, NotFound
from tandem.model.cluster import AccountStanding, Fitness, SlotStanding
from tandem.model.cluster_view import ClusterRole, InstanceState, LeaseState, RegionView
from tandem.model.states import SessionState, Slot
from unit.cluster.lease_parts import KIOSK, LIMITS, NORTH, SHOP, SOUTH, WEST, beat_at, lease_at, now
from unit.cluster.lease_scene import Node, scene, two
from unit.supervision.test_supervisor import virtual

REGION = RegionView("primary", "https://north.example")


@pytest.fixture(autouse=True)
def _no_logs() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def _desk(node: Node) -> ClusterDesk:
    return ClusterDesk(node.keeper, lambda: (REGION,), node.clock)


def _refusal(ask: Callable[[], object]) -> InstancePassive:
    with pytest.raises(InstancePassive) as refusal:
        ask()
    return refusal.value


# Who may change an account


@virtual
async def test_the_holder_may_change_an_account_and_the_others_name_it_and_where_it_is_found() -> None:
    async with scene() as here:
        north, south = await two(here)
        _desk(north).require(SHOP)
        refusal = _refusal(lambda: _desk(south).require(SHOP))
        assert (refusal.holder, refusal.url, refusal.retry_after) == (f"the {NORTH}", f"https://{NORTH}.example", 1.0)
        assert f"the {NORTH}" in str(refusal)
        assert f"https://{NORTH}.example" in str(refusal)


@virtual
async def test_a_silent_holder_is_named_until_its_lease_is_taken() -> None:
    async with scene() as here:
        north, south = await two(here)
        south.fitness[SHOP] = Fitness.UNLINKED
        south.keeper.changed()
        await north.crash()
        await asyncio.sleep(LIMITS.ttl + 1)
        desk = _desk(south)
        lease = desk.lease(SHOP)
        assert lease is not None
        assert (lease.state, lease.holder) == (LeaseState.SILENT, NORTH)
        assert _refusal(lambda: desk.require(SHOP)).holder == f"the {NORTH}"


@virtual
async def test_a_fenced_instance_says_why_it_may_change_nothing() -> None:
    async with scene() as here:
        node = await here.start(NORTH)
        await here.until_held()
        node.way.cut()
        await asyncio.sleep(LIMITS.ttl)
        refusal = _refusal(lambda: _desk(node).require(SHOP))
        assert "cannot hold a lease now: the meeting place does not answer" in str(refusal)
        assert refusal.holder == ""
        assert "does not answer" in str(_refusal(_desk(node).require_active))


@virtual
async def test_an_account_that_somebody_will_take_in_a_moment_is_not_changed_until_then() -> None:
    async with scene() as here:
        north, south = await two(here)
        south.way.hang()
        await asyncio.sleep(0.1)
        await north.keeper.leave(SHOP, SOUTH, "an operator moved it")
        assert "no instance runs the account at this instant" in str(_refusal(lambda: _desk(north).require(SHOP)))


@virtual
async def test_an_account_that_nobody_has_linked_or_that_is_not_known_may_be_changed_anywhere() -> None:
    async with scene() as here:
        node = await here.start(NORTH, fitness=Fitness.UNLINKED)
        await asyncio.sleep(1)
        _desk(node).require(SHOP)
        _desk(node).require(KIOSK)


@virtual
async def test_new_accounts_belong_to_the_instance_that_runs_the_others() -> None:
    async with scene() as here:
        north, south = await two(here)
        _desk(north).require_active()
        assert _refusal(_desk(south).require_active).holder == f"the {NORTH}"
        north.keeper.drain(on=True)
        await asyncio.sleep(1)
        _desk(south).require_active()


@virtual
async def test_new_accounts_are_taken_anywhere_if_nobody_runs_any_or_they_are_spread() -> None:
    async with scene() as here:
        first = await here.start(NORTH, fitness=Fitness.UNLINKED)
        await asyncio.sleep(1)
        _desk(first).require_active()
    async with scene() as here:
        await here.start(NORTH, spread=True)
        await here.until_held()
        second = await here.start(SOUTH, spread=True)
        await asyncio.sleep(1)
        assert not second.keeper.held
        _desk(second).require_active()


# Moving


@virtual
async def test_an_account_is_moved_to_the_named_instance_and_its_new_lease_returned() -> None:
    async with scene() as here:
        north, south = await two(here)
        await here.start(WEST, region="primary")
        await asyncio.sleep(1)
        began = now()
        lease = await _desk(north).move(SHOP, f"the {SOUTH}")
        assert (lease.holder, lease.holder_name, lease.generation, lease.mine) == (SOUTH, f"the {SOUTH}", 2, False)
        assert lease.reason == "an operator moved it"
        assert now() - began < 1
        assert south.holds()
        back = await _desk(south).move(SHOP)
        assert back.holder == WEST, "the best of the others, since none was named"


@virtual
async def test_only_its_holder_moves_an_account() -> None:
    async with scene() as here:
        _, south = await two(here)
        with pytest.raises(InstancePassive):
            await _desk(south).move(SHOP)
        with pytest.raises(Conflict, match="no instance runs"):
            await _desk(south).move(KIOSK)


@pytest.mark.parametrize(
    ("to", "error", "words"),
    [
        ("nobody-1234", NotFound, "no such instance"),
        (NORTH, Conflict, "runs here already"),
        (WEST, Conflict, "being drained"),
        (SOUTH, Conflict, "no linked device"),
        ("", Conflict, "no other instance"),
    ],
)
def test_a_move_to_one_who_cannot_take_it_is_refused(to: str, error: type[Exception], words: str) -> None:
    @virtual
    async def check() -> None:
        async with scene() as here:
            north = await here.start(NORTH)
            await here.until_held()
            await here.start(SOUTH, fitness=Fitness.UNLINKED)
            west = await here.start(WEST)
            west.keeper.drain(on=True)
            await asyncio.sleep(3)
            with pytest.raises(error, match=words):
                await _desk(north).move(SHOP, to)
            assert north.generation() == 1

    check()


@virtual
async def test_a_move_to_one_who_is_gone_is_refused() -> None:
    async with scene() as here:
        north, south = await two(here)
        await south.crash()
        await asyncio.sleep(LIMITS.idle + LIMITS.ttl)
        with pytest.raises(Conflict, match="no sign of life"):
            await _desk(north).move(SHOP, SOUTH)


@virtual
async def test_two_operators_who_move_it_at_once_both_hear_where_it_went() -> None:
    async with scene() as here:
        north, _ = await two(here)
        leases = await asyncio.gather(*(_desk(north).move(SHOP, SOUTH) for _ in range(2)))
        assert [lease.holder for lease in leases] == [SOUTH, SOUTH]
        assert lease_at(here.ground).generation == 2


@virtual
async def test_a_drain_returns_when_everything_is_handed_on() -> None:
    async with scene() as here:
        north, south = await two(here)
        north.lay_down_takes = 0.8
        view = await _desk(north).drain(True)
        assert 0.8 <= now() - 6.0 < 2.0
        assert view.me.role is ClusterRole.PASSIVE
        await asyncio.sleep(2)
        assert [each.draining for each in _desk(south).overview().instances if each.id == NORTH] == [True]
        assert south.holds()
        await _desk(north).drain(False)
        await asyncio.sleep(2)
        assert not beat_at(here.ground, NORTH).draining


# Showing


@virtual
async def test_the_overview_shows_who_is_there_and_who_holds_what() -> None:
    async with scene() as here:
        north, south = await two(here)
        view = _desk(south).overview()
        assert (view.enabled, view.placement, view.ttl, view.regions) == (True, "sticky", LIMITS.ttl, (REGION,))
        assert (view.me.id, view.me.role, view.me.term, view.me.fenced_for) == (SOUTH, ClusterRole.PASSIVE, 1, "")
        assert {each.id: (each.state, each.me, each.holds, each.region) for each in view.instances} == {
            NORTH: (InstanceState.ALIVE, False, 1, "primary"),
            SOUTH: (InstanceState.ALIVE, True, 0, "backup"),
        }
        [lease] = view.leases
        assert (lease.account, lease.holder_name, lease.mine, lease.state) == (
            SHOP, f"the {NORTH}", False, LeaseState.HELD
        )  # fmt: skip
        assert _desk(north).overview().leases[0].mine
        assert _desk(north).role() == "active"
        seen_ago = next(each.seen_ago for each in view.instances if each.id == NORTH)
        assert seen_ago is not None
        assert 0 <= seen_ago <= LIMITS.renew
        await north.stop()
        await asyncio.sleep(0.1)
        after = {each.id: (each.state, each.holds) for each in _desk(south).overview().instances}
        assert after == {NORTH: (InstanceState.DEPOSED, 0), SOUTH: (InstanceState.ALIVE, 1)}


@virtual
async def test_the_overview_leaves_out_what_was_deleted_and_shows_silence_and_hand_over() -> None:
    async with scene() as here:
        north, south = await two(here)
        await north.keeper.found(KIOSK, "the account was added here")
        await north.keeper.delete(KIOSK)
        await asyncio.sleep(0.1)
        assert [each.account for each in _desk(south).overview().leases] == [SHOP]
        south.way.hang()
        await north.keeper.leave(SHOP, SOUTH, "an operator moved it")
        lease = _desk(north).lease(SHOP)
        assert lease is not None
        assert (lease.state, lease.holder) == (LeaseState.HANDED_OVER, "")
        await south.crash()
        await asyncio.sleep(LIMITS.idle + LIMITS.ttl)
        states = {each.id: each.state for each in _desk(north).overview().instances}
        assert states[SOUTH] is InstanceState.SILENT
        assert _desk(north).lease(KIOSK.__class__("unknown")) is None


@virtual
async def test_a_slot_that_runs_elsewhere_is_told_by_its_own_instance_the_connected_one_first() -> None:
    async with scene() as here:
        north, south = await two(here)
        west = await here.start(WEST)
        standings = {
            north: SlotStanding(SessionState.STOPPED, "", "12025550123:1@s.whatsapp.net"),
            west: SlotStanding(SessionState.ONLINE, "online", "12025550123:2@s.whatsapp.net", 17.0),
            south: SlotStanding(SessionState.ONLINE, "mine", "12025550123:3@s.whatsapp.net"),
        }
        for node, stands in standings.items():
            node.standings[SHOP] = AccountStanding(Fitness.ONLINE, {Slot.BACKUP: stands})
            node.keeper.drain(on=False)  # tell it soon
        await asyncio.sleep(3)
        desk = _desk(south)
        assert desk.elsewhere(SHOP, Slot.BACKUP) == (f"the {WEST}", standings[west])
        assert desk.elsewhere(SHOP, Slot.PRIMARY) is None
        assert desk.elsewhere(KIOSK, Slot.BACKUP) is None
        await west.stop()
        await asyncio.sleep(0.1)
        assert desk.elsewhere(SHOP, Slot.BACKUP) == (f"the {NORTH}", standings[north])


@virtual
async def test_how_far_the_holder_has_written_is_what_its_last_heartbeat_says_while_it_holds() -> None:
    async with scene() as here:
        north, south = await two(here)
        north.standings[SHOP] = AccountStanding(Fitness.ONLINE, durable_through=1_700_000_017.5)
        await asyncio.sleep(LIMITS.renew + 0.1)
        assert _desk(south).durable_through(SHOP) == 1_700_000_017.5
        assert _desk(north).durable_through(SHOP) == 0.0, "its own mark is not another's"
        assert _desk(south).durable_through(KIOSK) == 0.0
        await north.stop()
        await asyncio.sleep(0.1)
        assert _desk(south).durable_through(SHOP) == 0.0


@virtual
async def test_the_mark_of_one_who_does_not_hold_it_or_is_silent_is_not_believed() -> None:
    async with scene() as here:
        north, south = await two(here)
        west = await here.start(WEST)
        mark = AccountStanding(Fitness.ONLINE, durable_through=99.0)
        west.standings[SHOP] = mark
        await asyncio.sleep(2)
        assert _desk(south).durable_through(SHOP) == 0.0
        north.standings[SHOP] = replace(mark, durable_through=98.0)
        await asyncio.sleep(LIMITS.renew + 0.1)
        assert _desk(south).durable_through(SHOP) == 98.0
        for node in (south, west):
            node.fitness[SHOP] = Fitness.UNLINKED
        await north.crash()
        await asyncio.sleep(LIMITS.ttl + 0.1)
        assert _desk(south).durable_through(SHOP) == 0.0
