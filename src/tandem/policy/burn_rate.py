"""How fast an account uses up its error budget, over several windows at once.

Burn rate 1 uses exactly the budget of the objective's period (30 days). Source of windows and rates: Google's Site
Reliability Workbook, chapter 5, table 5-8: 14.4 over 1 h and 5 min, 6 over 6 h and 30 min (somebody must look now),
1 over 3 d and 6 h (somebody must look this week). The short window makes an alert end soon after its cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
LONGEST = 3 * DAY

Interval = tuple[float, float]
"""From and to, in seconds of any one clock."""


@dataclass(frozen=True, slots=True)
class Window:
    """Both windows (seconds) must burn at ``rate`` or faster. ``urgent``: somebody must look now."""

    long: float
    short: float
    rate: float
    urgent: bool


WINDOWS = (
    Window(HOUR, 5 * MINUTE, 14.4, urgent=True),
    Window(6 * HOUR, 30 * MINUTE, 6.0, urgent=True),
    Window(3 * DAY, 6 * HOUR, 1.0, urgent=False),
)


def unavailable(outages: Sequence[Interval], begin: float, end: float) -> float:
    """Return how many seconds between two instants lie in outages, which must not overlap each other."""
    return sum(max(0.0, min(stop, end) - max(start, begin)) for start, stop in outages)


def burn_rate(outages: Sequence[Interval], now: float, window: float, objective: float) -> float:
    """Return the burn rate over the window before ``now``; ``objective`` is a ratio such as 0.999.

    Raises ValueError unless 0 < objective < 1: an objective of 1 has no budget.
    """
    if not 0.0 < objective < 1.0:
        raise ValueError("an availability objective lies between 0 and 1")
    return unavailable(outages, now - window, now) / window / (1.0 - objective)


def burning(outages: Sequence[Interval], now: float, objective: float) -> Window | None:
    """Return the most urgent window that burns too fast, or None."""
    for window in WINDOWS:
        lengths = (window.long, window.short)
        if all(burn_rate(outages, now, length, objective) >= window.rate for length in lengths):
            return window
    return None
