"""Times in which nothing came in or went out, and times in which somebody was there to notice."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.model.ids import AccountId


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which no slot of an account was online. Times in Unix seconds; ``ended`` is None while it lasts.

    ``recovered`` is how many messages came late because of it; None while that is open, or when it was never learned.
    ``finished`` says that they have all been counted and the gap was published.
    """

    account: AccountId
    began: float
    cause: str
    ended: float | None = None
    recovered: int | None = None
    finished: bool = False

    def seconds(self, now: float) -> float:
        """How long it lasted, or has lasted until now."""
        return max(0.0, (now if self.ended is None else self.ended) - self.began)


@dataclass(frozen=True, slots=True)
class Observation:
    """A time in which an instance was running, in Unix seconds; ``ended`` is its last sign of life.

    ``stopped`` says that it ended because it was told to.
    """

    began: float
    ended: float
    stopped: bool = False
