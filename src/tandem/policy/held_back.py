"""What to do with a message that this instance received for an account that another one runs.

The holder writes it, so it is held back here. The holder's heartbeat says up to when everything it received is in the
store: its mark. Behind the mark the store is asked. A message that is there is dropped here. One that is still missing
a minute behind the mark never reached the holder, or it could not read it: then this instance writes it. That is
harmless even if it is wrong, since the store creates a message only once; so clocks that differ cost reads, no message.
"""

from __future__ import annotations

from enum import Enum, auto

_BEHIND = 10.0  # seconds behind the mark at which the store is asked: more than the two devices are usually apart
_MISSED = 60.0  # seconds behind the mark at which the holder is believed to have missed the message
_LONGEST = 3600.0  # seconds after which no mark is waited for


class Step(Enum):
    WAIT = auto()
    LOOK = auto()  # ask the store: if it is there, drop it
    SETTLE = auto()  # ask the store: if it is there, drop it, else write it


def step(received_at: float, *, holds: bool, mark: float, now: float, missing: bool = False) -> Step:
    """Return what is to be done with a message now. Times in Unix seconds; the ``mark`` is 0 while there is none.

    ``holds``: this instance runs the account. ``missing``: the store was asked before and did not have it.
    """
    if holds or now - received_at >= _LONGEST:
        return Step.SETTLE
    behind = min(mark, now) - received_at
    if behind >= _MISSED:
        return Step.SETTLE
    return Step.LOOK if behind >= _BEHIND and not missing else Step.WAIT


def due_before(*, holds: bool, mark: float, now: float) -> float:
    """Return the time (Unix seconds) before which messages were received for which ``step`` may not say WAIT."""
    if holds:
        return float("inf")
    return max(min(mark, now) - _BEHIND, now - _LONGEST)


def told_before(mark: float) -> float:
    """Return the time (Unix seconds) before which the holder has told the store what this instance was told, too."""
    return mark - _MISSED
