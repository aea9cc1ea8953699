"""Restart intensity: how often something may happen in a period before it is given up.

Source: Erlang/OTP's supervisor, whose ``intensity`` restarts within ``period`` seconds end the supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """Times, in monotonic seconds, of what happened within the period."""

    times: tuple[float, ...] = ()

    def add(self, now: float, period: float) -> Window:
        return Window((*(time for time in self.times if now - time < period), now))

    def since(self, now: float, period: float) -> int:
        """Return how many happened within the period before ``now``."""
        return sum(now - time < period for time in self.times)

    @property
    def count(self) -> int:
        return len(self.times)
