"""Counting into fixed buckets, cheap enough for every commit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from tandem.model.ids import AccountId

Took = Callable[[AccountId, str, float], None]
"""Told how many seconds a message of an account took on its way, ``inbound`` or ``outbound``. It must not block."""


def nobody(_account: AccountId, _way: str, _seconds: float) -> None:
    """Nobody listens yet."""


class Histogram:
    """Counts of values by upper bound (inclusive), with one more bucket for everything beyond."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0
        self.count = 0
        self.last = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        self.count += 1
        self.last = value

    def quantile(self, fraction: float) -> float:
        """Upper bound of the bucket that holds this fraction of the values; infinity in the last, 0 without values."""
        wanted = fraction * self.count
        reached = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            reached += count
            if count and reached >= wanted:
                return bound
        return 0.0
