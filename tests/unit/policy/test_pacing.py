from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.policy.pacing import EASE, Brake, Bucket, Rate, Refusal, refusal_of

RATE = Rate(per_minute=60, burst=5)


def test_a_burst_goes_at_once_and_what_follows_at_the_rate() -> None:
    bucket, now, at = Bucket(), 100.0, []
    for _ in range(8):
        now += bucket.wait(now, RATE)
        at.append(now - 100.0)
        bucket = bucket.take(now, RATE)
    assert at == [0, 0, 0, 0, 0, 1, 2, 3]


def test_no_rate_is_no_limit() -> None:
    bucket = Bucket(-1000.0, 0.0)
    assert bucket.wait(1.0, Rate(0, 5)) == 0


def test_what_did_not_leave_costs_nothing_and_never_more_than_a_burst_gathers() -> None:
    empty = Bucket(0.0, 10.0)
    assert empty.take(10.0, RATE).give_back(10.0, RATE) == empty
    assert Bucket().give_back(10.0, RATE).level(10.0, RATE) == 5
    assert empty.level(10_000.0, RATE) == 5


@given(st.lists(st.floats(0, 30), max_size=60))
def test_in_no_minute_there_are_more_than_a_burst_and_a_minute_of_messages(gaps: list[float]) -> None:
    bucket, now, sent = Bucket(), 0.0, []
    for gap in gaps:
        now += gap
        now += bucket.wait(now, RATE)
        bucket = bucket.take(now, RATE)
        sent.append(now)
    assert all(sum(start <= each <= start + 60 for each in sent) <= 5 + 60 + 1 for start in sent)


def test_every_refusal_halves_and_time_brings_it_back() -> None:
    brake = Brake().pull(Refusal.INVALID, 0.0).pull(Refusal.INVALID, 1.0)
    assert brake.factor(2.0) == 0.25
    assert brake.factor(2.0 + EASE) == 0.5
    assert brake.factor(2.0 + 2 * EASE) == 1.0
    assert (brake.pause(2.0), brake.strangers(2.0)) == (0, 0)


def test_a_rate_limit_pauses_everything_longer_each_time_but_not_for_ever() -> None:
    brake, pauses = Brake(), []
    for second in range(8):
        brake = brake.pull(Refusal.RATE_LIMIT, float(second))
        pauses.append(brake.pause(second))
    assert pauses == [30, 60, 120, 240, 480, 900, 900, 900]
    assert brake.pause(7 + 901) == 0
    assert brake.factor(7 + 7 * EASE) == 1.0


def test_a_reach_out_restriction_holds_back_strangers_only() -> None:
    brake = Brake().pull(Refusal.REACH_OUT, 0.0)
    assert (brake.pause(1.0), brake.strangers(0.0), brake.factor(1.0)) == (0, 900, 0.5)
    assert "nothing to new contacts for 890 s" in brake.sentence(10.0)


def test_a_restriction_that_is_repeated_lasts_since_it_began() -> None:
    brake = Brake().pull(Refusal.REACH_OUT, 5.0).pull(Refusal.REACH_OUT, 100.0)
    assert (brake.strangers_since, brake.strangers(100.0)) == (5.0, 1800)
    assert brake.pull(Refusal.RATE_LIMIT, 200.0).strangers_since == 5.0
    assert brake.pull(Refusal.REACH_OUT, 5000.0).strangers_since == 5000.0


@pytest.mark.parametrize(("code", "known"), [(429, True), (463, True), (479, True), (0, False), (500, False)])
def test_only_some_codes_concern_the_pace(code: int, known: bool) -> None:  # noqa: FBT001 - the table's
    assert (refusal_of(code) is not None) is known
