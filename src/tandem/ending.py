"""How the time that the end may take is shared out among what has to be done then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from tandem.clock import Clock


class Step(Enum):
    """What the end does, in this order. The value: the part of the time that is used up when the step must be over.

    What a step does not need is left to the later ones.
    """

    REQUESTS = 0.25
    SENDS = 0.6
    LEASES = 0.75
    COMMITS = 0.9
    WRITES = 1.0


class Ending:
    """The end in order, of ``seconds`` at most. What it does not get done is done at the next start, so 0 is enough."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._began: float | None = None
        self._aside = 0.0

    @property
    def begun(self) -> bool:
        return self._began is not None

    def begin(self) -> None:
        """Count from now on. Again: nothing."""
        if self._began is None:
            self._began = self._clock.monotonic()

    def left(self, step: Step) -> float:
        """Seconds that a step may still take, never below 0; before the end has begun, the most it could ever get."""
        spent = 0.0 if self._began is None else self._clock.monotonic() - self._began - self._aside
        return max(0.0, self._seconds * step.value - spent)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Do not count the time of the block: hosts have a bound of their own to disconnect in."""
        began = self._clock.monotonic()
        try:
            yield
        finally:
            self._aside += self._clock.monotonic() - began
