from __future__ import annotations

import heapq
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.policy import fleet as policy
from tandem.policy.fleet import Cause, Fleet, FleetLimits

LIMITS = FleetLimits()


def _failing(count: int, linked: int, cause: Cause = Cause.NETWORK, now: float = 100.0) -> Fleet:
    fleet = Fleet()
    for number in range(count):
        fleet = policy.failed(fleet, f"session {number}", cause, now, linked=linked, limits=LIMITS)
    return fleet


def _held(cause: Cause = Cause.NETWORK) -> Fleet:
    fleet = _failing(20, 60, cause)
    assert fleet.hold is not None
    return fleet


def test_a_lone_login_is_never_delayed() -> None:
    fleet, now = Fleet(), 100.0
    for turn in range(100):
        fleet, admission = policy.admit(fleet, f"session {turn % 2}", now, LIMITS)
        assert admission == policy.FREE
        now += 1 / LIMITS.rate


def test_sixty_logins_at_once_take_turns_and_are_through_within_seven_seconds() -> None:
    fleet = Fleet()
    waits = []
    for number in range(60):
        fleet, admission = policy.admit(fleet, f"session {number}", 100.0, LIMITS)
        waits.append(admission.wait)
    assert waits[: LIMITS.burst] == [0.0] * LIMITS.burst
    assert waits == sorted(waits)
    assert 6.0 < waits[-1] < 7.0


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=120))
def test_the_budget_holds_whoever_asks_whenever(times: list[float]) -> None:
    """In any stretch of time no more logins than the burst and what the rate gives for it; nobody waits twice."""
    fleet, admitted = Fleet(), []
    asks = [(100.0 + time, number, False) for number, time in enumerate(times)]
    heapq.heapify(asks)
    while asks:
        now, number, waited = heapq.heappop(asks)
        fleet, admission = policy.admit(fleet, f"session {number}", now, LIMITS)
        if admission.wait:
            assert admission.reason
            assert not waited
            heapq.heappush(asks, (now + admission.wait, number, True))
        else:
            admitted.append(now)
    assert len(admitted) == len(times)
    for first, last in itertools.combinations(range(len(admitted)), 2):
        assert last - first + 1 <= LIMITS.burst + (admitted[last] - admitted[first] + 0.001) * LIMITS.rate


def test_a_third_of_all_sessions_failing_holds_and_fewer_do_not() -> None:
    assert _failing(19, 60).hold is None
    hold = _failing(20, 60).hold
    assert hold is not None
    assert hold.reason == "20 of 60 sessions failed within 30 s: WhatsApp cannot be reached"


def test_fewer_than_four_sessions_never_hold() -> None:
    assert _failing(3, 3).hold is None
    assert _failing(4, 4).hold is not None


def test_failures_that_lie_far_apart_or_were_mended_do_not_add_up() -> None:
    fleet = Fleet()
    for number in range(60):
        now = 100.0 + number * LIMITS.window / 18
        fleet = policy.failed(fleet, f"session {number}", Cause.NETWORK, now, linked=60, limits=LIMITS)
    assert fleet.hold is None
    for number in range(60):
        fleet = policy.failed(fleet, f"session {number}", Cause.NETWORK, 300.0, linked=60, limits=LIMITS)
        fleet = policy.online(fleet, f"session {number}", 300.0)
    assert fleet.hold is None


def test_while_held_one_canary_at_a_time_tries_with_growing_wait() -> None:
    fleet, now, tries = _held(), 100.0, list[tuple[float, int]]()
    while len(tries) < 8:
        for number in range(60):
            fleet, admission = policy.admit(fleet, f"session {number}", now, LIMITS)
            if not admission.wait:
                tries.append((now, number))
                for other in range(60):
                    fleet, refused = policy.admit(fleet, f"session {other}", now, LIMITS)
                    assert refused.held == (other != number) or refused == policy.FREE
                fleet = policy.failed(fleet, f"session {number}", Cause.NETWORK, now + 0.3, linked=60, limits=LIMITS)
            else:
                assert admission.held
                assert "held" in admission.reason
        now += 0.5
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(tries)]
    assert gaps == sorted(gaps)
    assert tries[0][0] - 100.0 >= LIMITS.canary_first
    assert gaps[-1] == pytest.approx(LIMITS.canary_longest, abs=1.5)
    assert all(one != next_one for (_, one), (_, next_one) in itertools.pairwise(tries))


def test_a_canary_that_comes_online_ends_the_hold() -> None:
    fleet, admission = policy.admit(_held(), "session 7", 102.0, LIMITS)
    assert not admission.wait
    fleet = policy.online(fleet, "session 7", 102.2)
    assert fleet.hold is None
    assert not fleet.failing


def test_a_canary_that_tells_nothing_is_given_up() -> None:
    fleet, _ = policy.admit(_held(), "session 7", 102.0, LIMITS)
    later = 102.0 + LIMITS.canary_patience + LIMITS.canary_longest
    fleet, _ = policy.admit(fleet, "session 8", later, LIMITS)
    fleet, admission = policy.admit(fleet, "session 8", later + LIMITS.canary_longest, LIMITS)
    assert not admission.wait


def test_an_outage_that_comes_back_at_once_goes_on_with_its_long_waits() -> None:
    fleet = _held()
    for turn in range(4):
        fleet, _ = policy.admit(fleet, f"session {turn}", 1000.0 * (turn + 1), LIMITS)
        fleet = policy.left(fleet, f"session {turn}", 1000.0 * (turn + 1), LIMITS)
    fleet = policy.online(fleet, "session 9", 5000.0)
    for number in range(20):
        fleet = policy.failed(fleet, f"session {number}", Cause.NETWORK, 5003.0, linked=60, limits=LIMITS)
    assert fleet.hold is not None
    assert fleet.hold.next_try - 5003.0 == LIMITS.canary_first * 2**4


def test_an_outdated_library_costs_at_most_four_sessions_an_hour() -> None:
    hold = _held(Cause.OUTDATED).hold
    assert hold is not None
    assert hold.next_try - 100.0 == LIMITS.canary_outdated


def test_a_session_that_is_removed_leaves_nothing_behind() -> None:
    fleet = _failing(3, 60)
    for number in range(20):
        fleet, _ = policy.admit(fleet, f"session {number}", 100.0, LIMITS)
    for number in range(20):
        fleet = policy.forget(fleet, f"session {number}", 100.0, LIMITS)
    assert (dict(fleet.turns), dict(fleet.failing)) == ({}, {})
