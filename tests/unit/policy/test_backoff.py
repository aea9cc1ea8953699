from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem.policy.backoff import full_jitter
from tandem.policy.intensity import Window


@given(st.integers(1, 10_000), st.floats(0.0, 0.999), st.floats(0.1, 5.0), st.floats(5.0, 600.0))
def test_waits_stay_within_their_bounds(failures: int, chance: float, first: float, longest: float) -> None:
    wait = full_jitter(failures, chance, first, longest)
    assert 0.0 <= wait <= min(longest, first * 2 ** min(failures - 1, 30))


def test_the_bound_doubles() -> None:
    assert [full_jitter(n, 0.5, 1.0, 60.0) for n in range(1, 9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_window_forgets_what_is_older_than_its_period() -> None:
    window = Window().add(0.0, 10.0).add(5.0, 10.0)
    assert window.count == 2
    assert window.add(10.5, 10.0).times == (5.0, 10.5)
