"""How often a session's connection is asked whether it still lives: the interval of the library's own ping.

It starts at its floor, doubles when WhatsApp says that it is asked too much, and comes down a second with every answer.
Quiet for the whole cool-down after the last such word, it is back at the start: one deadline, never a pile of timers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_SAME_BREATH = 1.0
"""Seconds within which further words of the same kind are the same word, heard twice (a log line and a result)."""
_SPREAD = 0.1
"""The library draws each wait; this part of the interval it may draw from, below the interval, never above."""
_FORCED_RECONNECT = 180.0
"""The library's own last resort, left as it is: the session machine acts long before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds: ``floor`` is where the interval starts and its least; ``answer`` what the library waits for a pong.

    ``library`` is the longest wait of a library whose timings cannot be set.
    """

    floor: float = 10.0
    ceiling: float = 60.0
    step: float = 1.0
    cool_down: float = 300.0
    answer: float = 1.5
    library: float = 30.0


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The interval that is wanted, in seconds. Times are monotonic; ``cool_at`` 0: nothing to cool down from."""

    interval: float
    cool_at: float = 0.0
    limited_at: float = float("-inf")


def start(limits: Limits) -> KeepAlive:
    return KeepAlive(limits.floor)


def answered(state: KeepAlive, now: float, limits: Limits) -> KeepAlive:
    """Return what follows from a ping that was answered."""
    if state.interval == limits.floor:
        return state
    if now >= state.cool_at:
        return start(limits)
    return replace(state, interval=max(limits.floor, state.interval - limits.step))


def rate_limited(state: KeepAlive, now: float, limits: Limits) -> KeepAlive:
    """Return what follows from WhatsApp's word that it is asked too much."""
    if now - state.limited_at < _SAME_BREATH:
        return state
    ceiling = max(limits.ceiling, limits.floor)
    return KeepAlive(min(ceiling, 2 * state.interval), now + limits.cool_down, now)


def cooled(state: KeepAlive, now: float, limits: Limits) -> KeepAlive:
    """Return the state at ``now``, which is the start once the cool-down is over."""
    return start(limits) if state.cool_at and now >= state.cool_at else state


def timings(interval: float, limits: Limits) -> tuple[float, float, float, float]:
    """Return the library's four timings: answer deadline, shortest and longest wait, forced reconnect, in seconds."""
    return limits.answer, interval * (1 - _SPREAD), interval, _FORCED_RECONNECT
