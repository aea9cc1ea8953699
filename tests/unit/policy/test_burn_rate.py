from __future__ import annotations

import pytest

from tandem.policy.burn_rate import DAY, HOUR, MINUTE, Interval, Window, burn_rate, burning

NOW = 10 * DAY
OBJECTIVE = 0.999


def ago(begin: float, end: float = 0.0) -> Interval:
    return (NOW - begin, NOW - end)


def test_an_hour_fully_out_burns_a_thousandfold() -> None:
    assert burn_rate([ago(HOUR)], NOW, HOUR, OBJECTIVE) == pytest.approx(1000)
    assert burn_rate([], NOW, HOUR, OBJECTIVE) == 0


@pytest.mark.parametrize(
    ("outages", "expected"),
    [
        ([], None),
        ([ago(40 * MINUTE, 39.9 * MINUTE)], None),  # six seconds, long over
        ([ago(60.0)], 14.4),  # a minute within the last five, of an hour: 16.7 times the budget
        ([ago(50 * MINUTE, 45 * MINUTE)], 1.0),  # long over: nothing for tonight, but much for a month
        ([ago(150.0, 20.0)], 14.4),
        ([ago(5 * HOUR, 5 * HOUR - 130), ago(20 * MINUTE, 20 * MINUTE - 30)], 6.0),
        ([ago(2 * DAY, 2 * DAY - 260), ago(3 * HOUR, 3 * HOUR - 30)], 1.0),
    ],
)
def test_recorded_outages_give_the_most_urgent_window(outages: list[Interval], expected: float | None) -> None:
    window = burning(outages, NOW, OBJECTIVE)
    assert (window and window.rate) == expected


def test_fast_burns_are_urgent_and_slow_ones_are_not() -> None:
    fast, slow = burning([ago(120.0)], NOW, OBJECTIVE), burning([ago(4 * HOUR, 4 * HOUR - 300)], NOW, OBJECTIVE)
    assert isinstance(fast, Window)
    assert isinstance(slow, Window)
    assert (fast.urgent, slow.urgent) == (True, False)


@pytest.mark.parametrize("objective", [0.0, 1.0, 1.5])
def test_an_objective_without_budget_is_refused(objective: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        burn_rate([], NOW, HOUR, objective)
