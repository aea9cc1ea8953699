from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.model.cluster import NOBODY, AccountStanding, Fitness, Instance, InstanceId, Lease
from tandem.model.ids import AccountId
from tandem.policy.lease import (
    Known,
    Leave,
    Limits,
    Member,
    Plan,
    Standing,
    Take,
    View,
    anybody,
    best_other,
    decide,
    end_of_right,
    present,
    standing,
)

LIMITS = Limits()
SHOP = AccountId("1f0c8a62b7d94e35")
ME, NORTH, SOUTH, WEST = (InstanceId(name) for name in ("me", "north", "south", "west"))
NOW = 1000.0


def _beat(name: InstanceId, fitness: Fitness = Fitness.ONLINE, *accounts: AccountId, **changes: Any) -> Instance:
    told = {account: AccountStanding(fitness) for account in accounts or (SHOP,)}
    return replace(Instance(name, f"the {name}", 1, 1, 5.0, region="backup", accounts=told), **changes)


def _member(beat: Instance, seen_at: float = NOW, looked_at: float = -inf, **changes: Any) -> Member:
    return replace(Member(beat, (1, 0), seen_at, looked_at), **changes)


def _known(holder: InstanceId = NOBODY, seen_at: float = NOW, account: AccountId = SHOP, **changes: Any) -> Known:
    lease = Lease(account, holder, 1 if holder else 0, 7)
    return Known(replace(lease, **changes), (1, 0), seen_at)


def _view(*members: Member, leases: Sequence[Known] = (), **changes: Any) -> View:
    """What an instance sees that has the account online here, beats, and sees these members beside itself."""
    everybody = (_member(_beat(ME)), *members)
    view = View(
        ME, 1, NOW + 8, members={each.instance.id: each for each in everybody},
        leases={known.lease.account: known for known in leases}, fitness={SHOP: Fitness.ONLINE},
    )  # fmt: skip
    return replace(view, **changes)


def _stands(view: View, known: Known, now: float = NOW) -> Standing:
    return standing(view, known, now, LIMITS)[0]


def _plan(view: View, now: float = NOW) -> Plan:
    return decide(view, now, LIMITS)


# How a lease stands


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Standing.MINE),
        ({"removed": True}, Standing.REMOVED),
        ({"term": 0}, Standing.FREE),  # of a term of mine that is over
        ({"term": 2}, Standing.HELD),  # of a term that I know nothing of: a copy of me has it
    ],
)
def test_a_lease_in_my_name_is_mine_in_my_term_only(changes: Mapping[str, Any], expected: Standing) -> None:
    assert _stands(_view(), _known(ME, **changes)) is expected


@pytest.mark.parametrize(("now", "expected"), [(NOW + 7.99, Standing.MINE), (NOW + 8, Standing.HELD)])
def test_a_lease_is_mine_up_to_the_instant_at_which_my_right_ends(now: float, expected: Standing) -> None:
    assert _stands(_view(), _known(ME), now) is expected


@pytest.mark.parametrize(("generation", "expected"), [(7, Standing.FREE), (6, Standing.MINE)])
def test_a_generation_that_i_began_to_let_go_is_never_mine_again(generation: int, expected: Standing) -> None:
    for now in (NOW, NOW + 20):
        if now < NOW + 8 or expected is Standing.FREE:
            assert _stands(_view(given_up={SHOP: generation}), _known(ME), now) is expected


def test_a_lease_that_nobody_holds_is_free_since_it_was_seen_so() -> None:
    assert standing(_view(), _known(seen_at=NOW - 3), NOW, LIMITS) == (Standing.FREE, NOW - 3)


@pytest.mark.parametrize(
    ("beat", "silent_for", "expected"),
    [
        ({}, 9.99, Standing.HELD),
        ({}, 10.0, Standing.SILENT),
        ({"deposed": True}, 0.0, Standing.FREE),
        ({"term": 2}, 0.0, Standing.FREE),
        ({"term": 2}, 30.0, Standing.FREE),
        # The lease is newer than the heartbeat that was seen last: its holder's new term is not known here yet.
        ({"term": 0}, 9.99, Standing.HELD),
        ({"term": 0, "deposed": True}, 9.99, Standing.HELD),
        ({"term": 0, "deposed": True}, 10.0, Standing.SILENT),
        ({"draining": True}, 9.99, Standing.HELD),
        ({"every": 60.0}, 10.0, Standing.SILENT),  # whatever it promised: leases are held at the pace of leases
    ],
)
def test_another_ones_lease_stands_while_its_term_does_and_its_heartbeats_come(
    beat: Mapping[str, Any], silent_for: float, expected: Standing
) -> None:
    view = _view(_member(_beat(NORTH, **beat), NOW - silent_for))
    assert _stands(view, _known(NORTH, NOW - 100)) is expected


def test_the_end_of_a_term_counts_from_when_it_was_seen_with_its_lease() -> None:
    over = _member(_beat(NORTH, deposed=True), NOW - 2)
    assert standing(_view(over), _known(NORTH, NOW - 100), NOW, LIMITS) == (Standing.FREE, NOW - 2)
    assert standing(_view(over), _known(NORTH, NOW - 1), NOW, LIMITS) == (Standing.FREE, NOW - 1)


@pytest.mark.parametrize(("age", "expected"), [(9.99, Standing.HELD), (10.0, Standing.SILENT)])
def test_a_holder_that_was_never_seen_has_the_time_to_live_of_its_lease(age: float, expected: Standing) -> None:
    assert _stands(_view(), _known(NORTH, NOW - age)) is expected


@given(
    term=st.integers(0, 4),
    lease_term=st.integers(0, 4),
    deposed=st.booleans(),
    silent_for=st.floats(0, 30),
    seen_ago=st.floats(0, 30),
)
def test_nobody_who_may_still_act_is_ever_called_free(
    term: int,
    lease_term: int,
    deposed: bool,  # noqa: FBT001 - hypothesis's
    silent_for: float,
    seen_ago: float,
) -> None:
    """Free only by proof: the term that the lease names is over. Time alone makes a holder silent at most."""
    view = _view(_member(_beat(NORTH, term=term, deposed=deposed), NOW - silent_for))
    stands = _stands(view, _known(NORTH, NOW - seen_ago, term=lease_term))
    over = term > lease_term or (term == lease_term and deposed)
    assert (stands is Standing.FREE) == over
    if not over:
        assert stands is (Standing.SILENT if NOW - silent_for + LIMITS.ttl <= NOW else Standing.HELD)


def test_a_right_ends_a_margin_before_whoever_watches_may_take() -> None:
    for ttl in (2.0, 10.0, 120.0):
        limits = Limits(ttl=ttl)
        assert end_of_right(50.0, limits) == pytest.approx(50.0 + ttl - limits.margin)
        assert limits.margin == pytest.approx(ttl / 5)
        assert limits.renew + limits.margin < end_of_right(0.0, limits)  # one call that hangs costs no right


# Who may hold it


def _order(view: View, now: float = NOW) -> list[InstanceId]:
    """The candidates, best first, as somebody sees them who cannot hold it himself."""
    onlooker, found = replace(view, fitness={}), []
    while (best := best_other(onlooker, SHOP, now, LIMITS)) != NOBODY:
        found.append(best)
        onlooker = replace(onlooker, members={k: v for k, v in onlooker.members.items() if k != best})
    return found


def test_the_fitter_comes_first_then_the_primary_region_then_the_place_by_hash() -> None:
    online = [_member(_beat(name)) for name in (NORTH, SOUTH)]
    home = _member(_beat(WEST, region="primary"))
    by_hash = _order(_view(*online))
    assert set(by_hash) == {NORTH, SOUTH}
    assert _order(_view(*reversed(online))) == by_hash
    assert _order(_view(*online, home)) == [WEST, *by_hash]
    assert _order(_view(*online, _member(_beat(WEST, Fitness.LINKED, region="primary")))) == [*by_hash, WEST]


def test_accounts_that_are_spread_have_no_home_region() -> None:
    names = (NORTH, SOUTH, WEST)
    by_hash = _order(_view(*(_member(_beat(name)) for name in names), spread=True))
    for home in names:
        members = [_member(_beat(name, region="primary" if name == home else "backup")) for name in names]
        assert _order(_view(*members, spread=True)) == by_hash


@pytest.mark.parametrize(
    "out",
    [
        _member(_beat(SOUTH, draining=True)),
        _member(_beat(SOUTH, deposed=True)),
        _member(_beat(SOUTH, Fitness.UNLINKED)),
        _member(_beat(SOUTH, Fitness.ONLINE, AccountId("another"))),
        _member(_beat(SOUTH), snubbed_until=NOW + 1),
        _member(_beat(SOUTH), NOW - 15.0),
        _member(_beat(SOUTH, every=60.0), NOW - 70.0),
    ],
)
def test_who_is_gone_drains_did_not_take_or_has_no_device_is_left_out(out: Member) -> None:
    assert _order(_view(_member(_beat(NORTH, Fitness.LINKED)), out)) == [NORTH]
    assert not anybody(_view(out, fitness={}), SHOP, NOW, LIMITS)


@pytest.mark.parametrize(
    "there",
    [
        _member(_beat(SOUTH), NOW - 14.9),
        _member(_beat(SOUTH, every=60.0), NOW - 69.9),
        _member(_beat(SOUTH), snubbed_until=NOW),
    ],
)
def test_who_is_late_but_within_its_pace_and_time_to_live_is_there(there: Member) -> None:
    assert _order(_view(there)) == [SOUTH]
    assert present(_view(there), there, NOW, LIMITS)


def test_i_am_there_however_long_ago_i_saw_my_own_heartbeat_and_judged_by_what_i_am_now() -> None:
    stale = _member(_beat(ME, Fitness.UNLINKED, draining=True), NOW - 500)
    view = _view(members={ME: stale})
    assert anybody(view, SHOP, NOW, LIMITS)
    assert not anybody(replace(view, draining=True), SHOP, NOW, LIMITS)
    assert best_other(view, SHOP, NOW, LIMITS) == NOBODY


_ACCOUNTS = [AccountId(f"account-{number}") for number in range(200)]


def _places(names: Sequence[str]) -> list[InstanceId]:
    members = [_member(_beat(InstanceId(name), Fitness.ONLINE, *_ACCOUNTS)) for name in names]
    view = _view(*members, spread=True, fitness={})
    return [best_other(view, account, NOW, LIMITS) for account in _ACCOUNTS]


@given(st.lists(st.text("abcdef0123456789", min_size=8, max_size=16), min_size=2, max_size=6, unique=True))
def test_a_new_member_moves_few_accounts_and_all_of_them_to_itself(names: list[str]) -> None:
    *names, new = names
    before, after = _places(names), _places([*names, new])
    moved = [place for was, place in zip(before, after, strict=True) if place != was]
    assert set(moved) <= {InstanceId(new)}
    share = len(_ACCOUNTS) / (len(names) + 1)
    assert share / 2 < len(moved) < share * 1.6 + 10


# Taking


def test_a_free_lease_is_taken_at_once_by_the_best_and_says_why_it_is_free() -> None:
    plan = _plan(_view(leases=[_known(reason="the north stops")]))
    assert list(plan.takes) == [Take(SHOP, "the north stops")]
    assert list(_plan(_view(leases=[_known()])).takes) == [Take(SHOP, "nobody held it")]


def test_each_of_the_candidates_leaves_a_head_start_to_those_before_it() -> None:
    better = [_member(_beat(name, region="primary")) for name in (NORTH, SOUTH)]
    for count in range(3):
        view = _view(*better[:count], leases=[_known()])
        starts = NOW + count * LIMITS.stagger
        if count:
            early = _plan(view, starts - 0.01)
            assert (list(early.takes), early.again) == ([], starts)
        assert [take.account for take in _plan(view, starts).takes] == [SHOP]


def test_who_has_no_linked_device_never_takes() -> None:
    view = _view(leases=[_known()], fitness={SHOP: Fitness.UNLINKED})
    for now in (NOW, NOW + 10, NOW + 10_000):
        assert not _plan(view, now).takes


def test_who_is_drained_takes_nothing() -> None:
    assert not _plan(_view(leases=[_known()], draining=True), NOW + 100).takes


def test_what_was_handed_to_me_is_mine_at_once_however_good_the_others_are() -> None:
    better = [_member(_beat(name, region="primary")) for name in (NORTH, SOUTH)]
    assert _plan(_view(*better, leases=[_known(wanted=ME)])).takes


def test_what_was_handed_to_another_is_only_theirs_for_a_while() -> None:
    wanted, better = _member(_beat(NORTH, Fitness.LINKED)), _member(_beat(SOUTH, region="primary"))
    view = _view(wanted, better, leases=[_known(wanted=NORTH)])
    starts = NOW + LIMITS.handover + LIMITS.stagger
    early = _plan(view, starts - 0.01)
    assert (list(early.takes), early.again) == ([], starts)
    assert _plan(view, starts).takes
    handed_to_the_best = _view(better, leases=[_known(wanted=SOUTH)])
    assert not _plan(handed_to_the_best, NOW + LIMITS.handover - 0.01).takes
    assert _plan(handed_to_the_best, NOW + LIMITS.handover).takes


def test_a_hand_over_to_one_who_is_gone_binds_nobody() -> None:
    for gone in (_member(_beat(NORTH), NOW - 100), _member(_beat(NORTH, draining=True))):
        assert _plan(_view(gone, leases=[_known(wanted=NORTH)])).takes


def test_a_silent_holder_is_looked_at_once_more_before_its_lease_is_taken_with_its_term() -> None:
    known = _known(NORTH, NOW - 100)
    for looked_at in (-inf, NOW - 0.1):  # never, and before its time to live was over
        plan = _plan(_view(_member(_beat(NORTH), NOW - 10, looked_at), leases=[known]))
        assert (list(plan.takes), list(plan.looks)) == ([], [NORTH])
    plan = _plan(_view(_member(_beat(NORTH), NOW - 10.5, NOW - 0.5), leases=[known]))
    assert list(plan.takes) == [Take(SHOP, "the north has given no sign of life for 10.5 s", depose=NORTH)]


def test_a_holder_that_beats_is_left_alone_and_thought_of_when_its_time_would_be_over() -> None:
    plan = _plan(_view(_member(_beat(NORTH), NOW - 3), leases=[_known(NORTH, NOW - 100)]))
    assert (list(plan.takes), plan.looks) == ([], frozenset())
    assert plan.again == NOW - 3 + 5.0 + LIMITS.margin  # its next heartbeat is overdue then


def test_a_holder_without_any_document_is_deposed_without_a_look_that_could_show_nothing() -> None:
    [take] = _plan(_view(leases=[_known(NORTH, NOW - 10)])).takes
    assert take.depose == NORTH


@pytest.mark.parametrize(
    ("silent_for", "looked", "looks"),
    [(6.9, -inf, []), (7.0, -inf, [NORTH]), (7.5, 7.1, []), (16.9, -inf, [NORTH]), (17.0, -inf, [])],
)
def test_one_whose_heartbeat_is_overdue_is_looked_at_once(
    silent_for: float, looked: float, looks: list[InstanceId]
) -> None:
    seen_at = NOW - silent_for
    plan = _plan(_view(_member(_beat(NORTH), seen_at, seen_at + looked)))
    assert list(plan.looks) == looks


def test_nobody_looks_at_one_who_said_that_it_ends_nor_at_oneself() -> None:
    gone, myself = _member(_beat(NORTH, deposed=True), NOW - 8), _member(_beat(ME), NOW - 8)
    assert _plan(_view(gone, members={NORTH: gone, ME: myself})).looks == frozenset()


# Handing on


def test_an_account_stays_though_a_better_place_is_there() -> None:
    home = _member(_beat(NORTH, region="primary"), since=NOW - 1000)
    assert not _plan(_view(home, leases=[_known(ME, NOW - 1000)])).leaves


def test_an_account_that_is_offline_here_and_online_there_moves_after_dwell_and_patience() -> None:
    other = _member(_beat(NORTH))
    for held_for, unfit_for, again in ((4.9, 60.0, 0.1), (60.0, 0.9, 0.1)):
        view = _view(
            other, leases=[_known(ME, NOW - held_for)],
            fitness={SHOP: Fitness.LINKED}, unfit_since={SHOP: NOW - unfit_for},
        )  # fmt: skip
        early = _plan(view)
        assert not early.leaves
        assert early.again == pytest.approx(NOW + again)
        [leave] = _plan(view, NOW + again + 0.001).leaves
        assert (leave.to, leave.reason) == (NORTH, "no session of it is online here, the north has one")


@pytest.mark.parametrize("other", [Fitness.LINKED, Fitness.UNLINKED])
def test_it_does_not_move_to_one_who_is_not_online_either(other: Fitness) -> None:
    view = _view(
        _member(_beat(NORTH, other)), leases=[_known(ME, NOW - 60)],
        fitness={SHOP: Fitness.LINKED}, unfit_since={SHOP: NOW - 60},
    )  # fmt: skip
    assert not _plan(view).leaves


def test_who_is_drained_hands_everything_on_to_the_best_other_or_to_whoever_comes() -> None:
    held = [_known(ME)]
    others = [_member(_beat(NORTH)), _member(_beat(SOUTH, region="primary"))]
    [leave] = _plan(_view(*others, leases=held, draining=True)).leaves
    assert leave == Leave(SHOP, SOUTH, "this instance is being drained")
    [leave] = _plan(_view(leases=held, draining=True)).leaves
    assert leave.to == NOBODY


# Balance


def _out_of_place(count: int, place: InstanceId) -> list[AccountId]:
    """Return accounts whose place is this one while it, the north and I are there."""
    members = [_member(_beat(name, Fitness.ONLINE, *_ACCOUNTS)) for name in (ME, NORTH, SOUTH)]
    view = _view(*members, spread=True, fitness={}, me=InstanceId("onlooker"))
    return sorted(each for each in _ACCOUNTS if best_other(view, each, NOW, LIMITS) == place)[:count]


def _balancing(accounts: Sequence[AccountId], holders: Sequence[InstanceId], **changes: Any) -> View:
    """Held for a long time by these; the south, whose accounts they are, has been there for a long time."""
    members = [_member(_beat(n, Fitness.ONLINE, *accounts), since=NOW - 1000) for n in (ME, NORTH, SOUTH)]
    leases = [_known(holder, NOW - 500, account) for account, holder in zip(accounts, holders, strict=True)]
    view = _view(*members, leases=leases, spread=True, fitness=dict.fromkeys(accounts, Fitness.ONLINE))
    return replace(view, **changes)


def test_one_account_moves_to_its_place_at_a_time() -> None:
    accounts = _out_of_place(3, SOUTH)
    assert list(_plan(_balancing(accounts, [ME] * 3)).leaves) == [
        Leave(accounts[0], SOUTH, "the south is its place while all are there")
    ]


def test_an_account_in_its_place_stays_and_without_spreading_all_do() -> None:
    accounts = _out_of_place(3, SOUTH)
    assert not _plan(_balancing(_out_of_place(3, ME), [ME] * 3)).leaves
    assert not _plan(_balancing(accounts, [ME] * 3, spread=False)).leaves


def test_who_has_only_just_come_gets_nothing_until_it_has_settled() -> None:
    view = _balancing(_out_of_place(1, SOUTH), [ME])
    members = {**view.members, SOUTH: replace(view.members[SOUTH], since=NOW - 29)}
    early = _plan(replace(view, members=members))
    assert not early.leaves
    assert early.again <= NOW + 1
    assert _plan(replace(view, members=members), NOW + 1).leaves


def test_the_holders_take_turns_one_pause_after_the_other() -> None:
    accounts = _out_of_place(3, SOUTH)
    view = _balancing(accounts, [NORTH, ME, NORTH])  # the north's is first, mine second
    latest = NOW - 15
    leases = {**view.leases, accounts[2]: replace(view.leases[accounts[2]], seen_at=latest)}
    view = replace(view, leases=leases)
    early = _plan(view, latest + 2 * LIMITS.pause - 0.01)
    assert not early.leaves
    assert [leave.account for leave in _plan(view, latest + 2 * LIMITS.pause).leaves] == [accounts[1]]


def test_a_move_of_any_account_starts_the_pause_anew() -> None:
    [account] = _out_of_place(1, SOUTH)
    [other] = _out_of_place(1, NORTH)
    view = _balancing([account, other], [ME, NORTH])
    moved = {**view.leases, other: replace(view.leases[other], seen_at=NOW - LIMITS.pause + 1)}
    assert not _plan(replace(view, leases=moved)).leaves
    assert _plan(replace(view, leases=moved), NOW + 1).leaves


def test_what_is_free_or_silent_is_nobodys_turn() -> None:
    accounts = _out_of_place(2, SOUTH)
    view = _balancing(accounts, [NORTH, ME])
    view = replace(view, leases={each: replace(known, seen_at=NOW - 15) for each, known in view.leases.items()})
    assert not _plan(view).leaves
    silent = {**view.members, NORTH: replace(view.members[NORTH], seen_at=NOW - 12)}
    assert [leave.account for leave in _plan(replace(view, members=silent)).leaves] == [accounts[1]]


def test_several_instances_move_one_account_after_the_other_and_then_rest() -> None:
    """All of it played: three who decide by themselves on what they see, the third of them new."""
    names, accounts = (ME, NORTH, SOUTH), _ACCOUNTS[:12]
    holders = {account: names[number % 2] for number, account in enumerate(accounts)}
    seen_at, moves, now = dict.fromkeys(accounts, NOW), [], NOW
    since = {ME: 0.0, NORTH: 0.0, SOUTH: NOW}
    while now < NOW + 600:
        for me in names:
            members = [_member(_beat(n, Fitness.ONLINE, *accounts), now, since=since[n]) for n in names]
            leases = [_known(holders[each], seen_at[each], each) for each in accounts]
            fitness = dict.fromkeys(accounts, Fitness.ONLINE)
            view = _view(*members, leases=leases, spread=True, me=me, fitness=fitness, until=inf)
            for leave in _plan(view, now).leaves:
                holders[leave.account], seen_at[leave.account] = leave.to, now
                moves.append(now)
        now += 0.5
    view = replace(view, me=InstanceId("onlooker"), fitness={})
    assert all(best_other(view, each, now, LIMITS) == holders[each] for each in accounts)
    assert len(moves) == len({each for each in accounts if holders[each]} & set(accounts)) - _stayed(accounts, holders)
    assert all(later - earlier >= LIMITS.pause for earlier, later in pairwise(moves))


def _stayed(accounts: Sequence[AccountId], holders: Mapping[AccountId, InstanceId]) -> int:
    """How many were in their place from the start."""
    return sum(holders[account] == (ME, NORTH)[number % 2] for number, account in enumerate(accounts))
