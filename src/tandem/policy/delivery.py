"""When to try again to deliver, and when to give up. Time spent waiting is no attempt; only age ends a delivery."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.policy.backoff import full_jitter


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """In seconds: bounds of the first wait and of any, of an endpoint's pause, and the age at which it is given up."""

    first: float = 1.0
    longest: float = 300.0
    pause: float = 30.0
    max_age: float = 86_400.0


def next_wait(attempts: int, age: float, asked: float, chance: float, limits: DeliveryLimits) -> float | None:
    """Return how long to wait after ``attempts`` that failed, None to give up.

    ``asked`` is what the endpoint itself asks for, 0 if nothing; it is granted up to the longest wait.
    """
    if age >= limits.max_age:
        return None
    return max(full_jitter(attempts, chance, limits.first, limits.longest), min(asked, limits.longest))


def pause(failures: int, chance: float, limits: DeliveryLimits) -> float:
    """Return how long an endpoint is left alone after so many failures in a row, of whatever deliveries."""
    return full_jitter(failures, chance, limits.first, limits.pause) if failures else 0.0
