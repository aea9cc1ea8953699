from __future__ import annotations

import asyncio
from dataclasses import replace
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from support.virtual_time import VirtualClock, run_virtually
from tandem.cluster.port import SeenInstance, SeenLease, Sight, Version
from tandem.cluster.sight import Outlook
from tandem.model.cluster import NOBODY, Fitness, InstanceId, Lease
from tandem.policy.lease import View
from unit.cluster.lease_parts import KIOSK, LIMITS, NORTH, SHOP, SOUTH, WEST
from unit.cluster.meeting_places import heartbeat, lease
from unit.supervision.test_supervisor import virtual


def _outlook() -> Outlook:
    return Outlook(NORTH, VirtualClock(), LIMITS)


def _beat(name: InstanceId = SOUTH, beat: int = 1, *, at: int = 0, deposed: bool = False, term: int = 1) -> Sight:
    told = replace(heartbeat(name, beat, deposed=deposed), term=term)
    return Sight({name: SeenInstance(told, (at or beat, 0))})


def _lease(generation: int = 1, holder: InstanceId = SOUTH) -> Sight:
    return Sight(leases={SHOP: SeenLease(lease(SHOP, holder, generation), (generation, 0))})


def _whole(*sights: Sight) -> Sight:
    instances = {name: seen for sight in sights for name, seen in sight.instances.items()}
    leases = {name: seen for sight in sights for name, seen in sight.leases.items()}
    return Sight(instances, leases, whole=True)


def _view(outlook: Outlook, fitness: Fitness = Fitness.ONLINE) -> View:
    return outlook.view(term=1, until=inf, draining=False, spread=False, fitness={SHOP: fitness}, given_up={})


@given(st.permutations(range(1, 6)), st.permutations(range(1, 6)))
def test_in_whatever_order_states_come_the_newest_stands(beats: list[int], generations: list[int]) -> None:
    async def work() -> None:
        outlook = _outlook()
        for beat, generation in zip(beats, generations, strict=True):
            outlook.take_in(_beat(beat=beat))
            outlook.take_in(_lease(generation), looked=True)
        assert outlook.members[SOUTH].instance.beat == 5
        assert outlook.leases[SHOP].lease.generation == 5

    run_virtually(work())


@virtual
async def test_an_older_state_is_no_sign_of_life_and_the_same_state_again_is_none_either() -> None:
    outlook = _outlook()
    outlook.take_in(_beat(beat=3))
    for beat in (2, 3):
        await asyncio.sleep(1)
        outlook.take_in(_beat(beat=beat))
        outlook.take_in(_whole(_beat(beat=beat)))
    assert outlook.members[SOUTH].seen_at == 0.0
    await asyncio.sleep(1)
    outlook.take_in(_beat(beat=4))
    assert outlook.members[SOUTH].seen_at == 3.0


@virtual
async def test_a_look_counts_as_one_only_if_it_shows_no_older_state() -> None:
    outlook = _outlook()
    outlook.take_in(_beat(beat=3))
    assert outlook.members[SOUTH].looked_at == -inf
    await asyncio.sleep(1)
    outlook.take_in(_beat(beat=2), looked=True)
    assert outlook.members[SOUTH].looked_at == -inf
    outlook.take_in(_beat(beat=3), looked=True)
    assert (outlook.members[SOUTH].looked_at, outlook.members[SOUTH].seen_at) == (1.0, 0.0)


@virtual
async def test_since_when_one_is_there_outlives_heartbeats_but_no_new_term() -> None:
    outlook = _outlook()
    outlook.take_in(_beat(beat=1))
    outlook.snubbed(SOUTH)
    await asyncio.sleep(5)
    outlook.take_in(_beat(beat=2))
    assert outlook.members[SOUTH].since == 0.0
    assert outlook.members[SOUTH].snubbed_until == LIMITS.idle
    outlook.take_in(_beat(beat=3, deposed=True))
    assert outlook.members[SOUTH].since == 0.0
    await asyncio.sleep(5)
    outlook.take_in(_beat(beat=1, at=4, term=2))
    assert outlook.members[SOUTH].since == 10.0


@virtual
async def test_what_a_whole_sight_does_not_show_is_forgotten_and_a_deletion_too() -> None:
    outlook = _outlook()
    outlook.take_in(_whole(_beat(NORTH, 1), _beat(SOUTH, 2), _lease(3)))
    outlook.take_in(_whole(_beat(NORTH, 4)))
    assert (set(outlook.members), outlook.leases) == ({NORTH}, {})
    outlook.take_in(Sight({NORTH: None}))
    assert outlook.members == {}


@virtual
async def test_a_whole_sight_from_before_does_not_undo_what_was_written_since() -> None:
    outlook = _outlook()
    outlook.take_in(_whole(_beat(NORTH, 1), _beat(SOUTH, 2)))
    outlook.wrote(lease(SHOP, NORTH), (5, 0))
    outlook.take_in(_beat(SOUTH, 6))
    outlook.take_in(_beat(WEST, 7))
    outlook.take_in(_whole(_beat(NORTH, 4), _beat(SOUTH, 3)))
    assert outlook.leases[SHOP].lease.holder == NORTH
    assert outlook.members[SOUTH].instance.beat == 6
    assert WEST in outlook.members


@virtual
async def test_after_a_break_as_long_as_a_heartbeats_pace_everybody_is_given_their_time_again() -> None:
    outlook = _outlook()
    outlook.take_in(_beat(beat=1))
    await asyncio.sleep(20)
    outlook.take_in(_whole(_beat(beat=1)), after_break=LIMITS.renew - 0.1)
    assert outlook.members[SOUTH].seen_at == 0.0
    outlook.take_in(_whole(_beat(beat=1)), after_break=LIMITS.renew)
    assert outlook.members[SOUTH].seen_at == 20.0


@virtual
async def test_accounts_without_a_lease_are_free_once_all_leases_were_seen() -> None:
    outlook = _outlook()
    assert _view(outlook).leases == {}
    outlook.take_in(_whole())
    await asyncio.sleep(3)
    known = _view(outlook).leases[SHOP]
    assert (known.lease, known.version, known.seen_at) == (Lease(SHOP), None, 3.0)
    await asyncio.sleep(3)
    assert _view(outlook).leases[SHOP].seen_at == 3.0
    outlook.take_in(_whole())
    assert SHOP in outlook.leases
    outlook.take_in(_lease())
    assert _view(outlook).leases[SHOP].lease.holder == SOUTH


@virtual
async def test_since_when_an_account_is_less_than_online_is_remembered_until_it_is_online() -> None:
    outlook = _outlook()
    assert _view(outlook).unfit_since == {}
    await asyncio.sleep(1)
    assert _view(outlook, Fitness.LINKED).unfit_since == {SHOP: 1.0}
    await asyncio.sleep(1)
    assert _view(outlook, Fitness.UNLINKED).unfit_since == {SHOP: 1.0}
    assert _view(outlook).unfit_since == {}
    assert _view(outlook, Fitness.LINKED).unfit_since == {SHOP: 2.0}


@virtual
async def test_who_held_a_lease_before_is_known_however_it_came_here() -> None:
    outlook = _outlook()
    outlook.take_in(_lease(1, SOUTH))
    outlook.take_in(_lease(2, NOBODY))
    assert SHOP not in outlook.previous or outlook.previous[SHOP] == SOUTH
    outlook.take_in(_lease(3, NORTH))
    assert outlook.previous[SHOP] == SOUTH
    outlook.take_in(_lease(4, NORTH))
    assert outlook.previous[SHOP] == NORTH


@virtual
async def test_a_look_shows_news_if_any_state_is_not_the_one_that_is_known() -> None:
    outlook = _outlook()
    outlook.take_in(_whole(_beat(beat=2), _lease(2)))
    seen: list[tuple[Sight, bool]] = [
        (_beat(beat=2), False),
        (_lease(2), False),
        (_beat(beat=3), True),
        (_lease(3), True),
        (_beat(NORTH), True),
        (Sight({NORTH: None}, {KIOSK: None}), False),
    ]
    assert [outlook.newer_than_known(sight) for sight, _ in seen] == [news for _, news in seen]


def test_versions_are_compared_as_a_whole() -> None:
    async def work() -> None:
        versions: list[Version] = [(5, 900), (6, 100), (6, 50)]
        outlook = _outlook()
        for number, version in enumerate(versions):
            outlook.take_in(Sight({SOUTH: SeenInstance(heartbeat(SOUTH, number), version)}))
        assert outlook.members[SOUTH].version == (6, 100)

    run_virtually(work())
