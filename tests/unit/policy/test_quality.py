from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.policy.quality import Limits, Quality


def _known(pings: int = 20) -> Quality:
    quality = Quality()
    for _ in range(pings):
        quality.pinged(60.0)
    return quality


def test_nothing_is_known_of_a_session_that_has_answered_nothing() -> None:
    assert (Quality().score, Quality().detail, Quality().verdict(0.0)) == (None, "", "")


def test_a_session_that_answers_is_perfect_and_silence_does_not_change_that() -> None:
    quality = _known()
    assert (quality.score, quality.detail, quality.verdict(1e9)) == (1.0, "", "")


def test_lost_pings_cost_and_enough_of_them_are_a_verdict_in_words() -> None:
    quality = _known()
    scores = []
    for _ in range(5):
        assert not quality.verdict(0.0)
        quality.ping_lost()
        scores.append(quality.score)
    assert scores == [0.8, 0.6, 0.4, 0.2, 0.0]
    assert quality.verdict(0.0) == "quality 0.00: 5 of the last 6 pings unanswered (-1.00)"


@pytest.mark.parametrize("lost", [1, 2])
def test_one_or_two_lost_pings_are_no_fault(lost: int) -> None:
    quality = _known()
    for _ in range(100):
        for _ in range(lost):
            quality.ping_lost()
        for _ in range(6):
            quality.pinged(60.0)
            assert not quality.verdict(0.0)


def test_pings_that_become_slow_against_the_usual_are_found() -> None:
    quality = _known()
    for _ in range(6):
        quality.pinged(900.0)
    assert "6 of the last 6 pings slow, usually" in quality.verdict(0.0)


def test_a_slow_line_is_fine_as_long_as_it_is_as_slow_as_ever() -> None:
    quality = Quality()
    for _ in range(500):
        quality.pinged(1200.0)
        quality.acknowledged(2500.0)
    assert quality.score == 1.0


def test_late_acknowledgements_are_found() -> None:
    quality = _known()
    for _ in range(10):
        quality.acknowledged(30.0)
    for _ in range(7):
        quality.acknowledged(1900.0)
    assert "5 of the last 5 sends acknowledged late" in quality.verdict(0.0)


def test_answered_pings_make_up_for_late_acknowledgements_of_the_past() -> None:
    quality = _known()
    quality.acknowledged(30.0)
    quality.acknowledged(1900.0)
    for _ in range(5):
        quality.pinged(60.0)
    assert quality.score == 1.0


def test_unreadable_messages_cost_and_are_never_a_verdict_alone() -> None:
    quality = _known()
    quality.unread(1.0)
    for _ in range(100):
        quality.ping_lost()
        quality.pinged(60.0)
        quality.pinged(60.0)
        quality.pinged(60.0)
        quality.pinged(60.0)
        quality.pinged(60.0)
        assert not quality.verdict(0.0)
    assert "100% of the last messages" in quality.detail


def test_deafness_is_a_verdict_at_once_and_hearing_ends_it() -> None:
    quality = _known()
    quality.deaf("its partner has received 3 messages that it has not")
    assert "3 messages" in quality.verdict(0.0)
    quality.hears()
    assert not quality.verdict(0.0)
    assert quality.score == 1.0


def test_after_a_restart_there_is_a_cool_down_and_a_budget() -> None:
    limits, quality, now, restarts = Limits(), _known(), 0.0, []
    for _ in range(2 * 360):
        now += 10.0
        quality.ping_lost()
        if quality.verdict(now):
            quality.condemned(now)
            quality.restarted()
            restarts.append(now)
    assert all(after - before >= limits.cool_down for before, after in itertools.pairwise(restarts))
    assert len([each for each in restarts if each <= 3600.0]) == limits.budget
    assert len(restarts) == 2 * limits.budget


def test_a_session_that_was_bad_is_so_until_it_is_good_not_just_better() -> None:
    quality = _known()
    for _ in range(5):
        quality.ping_lost()
    bad = []
    for _ in range(9):
        quality.pinged(60.0)
        bad.append((quality.score, quality._samples.bits & 1))
    assert [sample for _, sample in bad[:6]] == [1, 1, 1, 1, 0, 0], bad


@given(st.lists(st.tuples(st.sampled_from(["pinged", "acknowledged", "lost", "unread"]), st.floats(0, 5000))))
def test_the_score_is_what_its_explanation_leaves_of_one(steps: list[tuple[str, float]]) -> None:
    quality = Quality()
    for step, value in steps:
        match step:
            case "pinged":
                quality.pinged(value)
            case "acknowledged":
                quality.acknowledged(value)
            case "lost":
                quality.ping_lost()
            case _:
                quality.unread(value / 5000)
        if quality.score is not None:
            costs = sum(cost.points for cost in quality._costs())
            assert quality.score == pytest.approx(max(0.0, 1.0 - costs), abs=0.001)
            assert bool(quality.detail) == (costs > 0)
