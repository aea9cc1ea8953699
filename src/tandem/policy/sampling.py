"""Which events are worth keeping in the store, so that a bad day costs a bounded number of writes.

Each kind of event of each account has a bucket of its own: ``burst`` at once, ``per_hour`` in the long run. What does
not fit is not kept; the next one that is kept carries how many were left out. Nothing else reads events by sample:
counters, alerts and logs see them all.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` events at once, ``per_hour`` in the long run; a ``burst`` of 0 keeps none."""

    burst: int
    per_hour: float


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    omitted: int = 0


@dataclass(slots=True)
class Sampler:
    """Keeps a bucket for each key it has been asked about; ``now`` is in monotonic seconds."""

    _buckets: dict[Hashable, _Bucket] = field(default_factory=dict)

    def admit(self, key: Hashable, rate: Rate, now: float) -> int | None:
        """Return None if this one is to be left out, else how many were left out before it."""
        bucket = self._buckets.setdefault(key, _Bucket(float(rate.burst), now))
        bucket.left = min(float(rate.burst), bucket.left + (now - bucket.at) * rate.per_hour / _HOUR)
        bucket.at = now
        if bucket.left < 1.0:
            bucket.omitted += 1
            return None
        bucket.left -= 1.0
        omitted, bucket.omitted = bucket.omitted, 0
        return omitted
