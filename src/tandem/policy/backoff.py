"""How long to wait before the next try: exponential with full jitter.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter"). Waits of many sessions that
failed at once spread over the whole interval, so that they do not come back as a storm.
"""

from __future__ import annotations

_LARGEST_EXPONENT = 30


def full_jitter(failures: int, chance: float, first: float, longest: float) -> float:
    """Return the wait in seconds after so many failures in a row (at least one).

    ``chance`` in [0, 1) is drawn by the caller; ``first`` and ``longest`` bound the wait after the first failure and
    any wait, in seconds.
    """
    exponent = min(max(failures - 1, 0), _LARGEST_EXPONENT)
    return float(chance * min(longest, first * 2.0**exponent))
