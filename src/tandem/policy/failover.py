"""Which slot of a pair is active.

The active slot sends; the other receives all the same. The role moves at once when the active slot is worse than the
standby, and stays where it went: no fail-back by itself. Between two moves away from a slot that can still send lies
the dwell. With both bad the better one keeps it; with both equally bad nothing moves.
Invariant: exactly one slot is active, always.
"""

from __future__ import annotations

from dataclasses import dataclass

from tandem.model.states import SessionState, Slot

_FITNESS = {SessionState.ONLINE: 3, SessionState.DEGRADED: 2, SessionState.SYNCING: 1}


@dataclass(frozen=True, slots=True)
class Pair:
    """The two sessions' states and reasons, and who is active. Times in monotonic seconds."""

    active: Slot
    switched_at: float
    states: dict[Slot, SessionState]
    reasons: dict[Slot, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is active from now on, and why; ``moved`` tells whether that is a change.

    ``cause`` is the reason's class, one of few: the state of the slot that loses the role, or ``operator``.
    ``look_again``: seconds after which the pair must be looked at again although nothing may happen; 0: no need.
    """

    active: Slot
    moved: bool
    reason: str
    look_again: float = 0.0
    cause: str = ""


def choose(pair: Pair, now: float, dwell: float) -> Verdict:
    """Return who is to be active. ``dwell`` seconds must lie between moves away from a slot that still can send."""
    active, standby = pair.states[pair.active], pair.states[pair.active.partner]
    if fitness(standby) <= fitness(active):
        return Verdict(pair.active, moved=False, reason="the standby is no better")
    left = pair.switched_at + dwell - now
    if active.connected and left > 0:
        return Verdict(pair.active, moved=False, reason="the role moved a moment ago", look_again=left)
    return Verdict(pair.active.partner, moved=True, reason=_sentence(pair), cause=str(active))


def manual(pair: Pair) -> Verdict:
    """Move the role because an operator asked; refused unless the standby can take it."""
    standby = pair.states[pair.active.partner]
    if not standby.connected:
        reason = f"{pair.active.partner} cannot take over: it is {standby}"
        return Verdict(pair.active, moved=False, reason=reason)
    return Verdict(pair.active.partner, moved=True, reason="an operator asked for it", cause="operator")


def to_hurry(pair: Pair) -> tuple[Slot, ...]:
    """Return the slots that must not wait any longer because nobody of the pair is well.

    The active slot is among them only if it is all there is: while the standby still is connected, that one is made
    anew first, and the active goes on with what it can.
    """
    if SessionState.ONLINE in pair.states.values():
        return ()
    standby = pair.active.partner
    return (standby,) if pair.states[standby].connected else (pair.active, standby)


def fitness(state: SessionState) -> int:
    """How well a session in this state can send; 0: not at all."""
    return _FITNESS.get(state, 0)


def _sentence(pair: Pair) -> str:
    state, reason = pair.states[pair.active], pair.reasons[pair.active]
    because = f" ({reason})" if reason else ""
    return f"{pair.active} is {state}{because}, {pair.active.partner} is {pair.states[pair.active.partner]}"
