"""Which slot of a pair is active.

The active slot sends; the other receives all the same. The role moves at once when the active slot is worse than the
standby, and stays where it went: no fail-back by itself. With both bad the better one keeps it; with both equally bad
nothing moves. Invariant: exactly one slot is active, always.
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
    """Who is active from now on, and why; ``moved`` tells whether that is a change."""

    active: Slot
    moved: bool
    reason: str


def choose(pair: Pair, now: float, dwell: float) -> Verdict:
    """Return who is to be active. ``dwell`` seconds must lie between moves away from a slot that still can send."""
    active, standby = pair.states[pair.active], pair.states[pair.active.partner]
    if fitness(standby) <= fitness(active):
        return Verdict(pair.active, moved=False, reason="the standby is no better")
    if active.connected and now - pair.switched_at < dwell:
        return Verdict(pair.active, moved=False, reason="the role moved a moment ago")
    return Verdict(pair.active.partner, moved=True, reason=_sentence(pair))


def manual(pair: Pair) -> Verdict:
    """Move the role because an operator asked; refused unless the standby can take it."""
    standby = pair.states[pair.active.partner]
    if not standby.connected:
        reason = f"{pair.active.partner} cannot take over: it is {standby}"
        return Verdict(pair.active, moved=False, reason=reason)
    return Verdict(pair.active.partner, moved=True, reason="an operator asked for it")


def fitness(state: SessionState) -> int:
    """How well a session in this state can send; 0: not at all."""
    return _FITNESS.get(state, 0)


def _sentence(pair: Pair) -> str:
    state, reason = pair.states[pair.active], pair.reasons[pair.active]
    because = f" ({reason})" if reason else ""
    return f"{pair.active} is {state}{because}, {pair.active.partner} is {pair.states[pair.active.partner]}"
