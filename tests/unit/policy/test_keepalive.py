from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem.policy import keepalive
from tandem.policy.keepalive import KeepAlive, Limits

LIMITS = Limits()


def _after(words: int, *, apart: float = 5.0, now: float = 0.0) -> tuple[KeepAlive, float]:
    state = keepalive.start(LIMITS)
    for _ in range(words):
        now += apart
        state = keepalive.rate_limited(state, now, LIMITS)
    return state, now


def test_the_interval_starts_at_its_floor_and_doubles_up_to_a_minute() -> None:
    assert [_after(words)[0].interval for words in range(5)] == [10.0, 20.0, 40.0, 60.0, 60.0]


def test_every_answer_takes_a_second_off_down_to_the_floor() -> None:
    state, now = _after(1)
    intervals = []
    for _ in range(12):
        state = keepalive.answered(state, now, LIMITS)
        intervals.append(state.interval)
    assert intervals == [19.0, 18.0, 17.0, 16.0, 15.0, 14.0, 13.0, 12.0, 11.0, 10.0, 10.0, 10.0]


def test_the_cool_down_is_one_deadline_that_each_word_moves() -> None:
    state, now = _after(3, apart=200.0)
    assert (state.interval, state.cool_at) == (60.0, now + 300.0)
    assert keepalive.cooled(state, now + 299.0, LIMITS) == state
    assert keepalive.cooled(state, now + 300.0, LIMITS) == keepalive.start(LIMITS)
    assert keepalive.answered(state, now + 300.0, LIMITS) == keepalive.start(LIMITS)


def test_the_same_word_heard_twice_counts_once() -> None:
    state, now = _after(1)
    assert keepalive.rate_limited(state, now + 0.2, LIMITS) == state


@given(
    st.floats(1.0, 60.0),
    st.lists(st.tuples(st.sampled_from(["answered", "rate_limited", "cooled"]), st.floats(0.0, 400.0)), max_size=40),
)
def test_whatever_comes_the_interval_stays_between_floor_and_ceiling(
    floor: float, steps: list[tuple[str, float]]
) -> None:
    limits = Limits(floor=floor)
    state, now = keepalive.start(limits), 0.0
    for step, passed in steps:
        now += passed
        state = getattr(keepalive, step)(state, now, limits)
        assert floor <= state.interval <= 60.0
        answer, shortest, longest, forced = keepalive.timings(state.interval, limits)
        assert shortest < longest == state.interval  # every wait is below the interval
        assert 0.0 < answer < forced
