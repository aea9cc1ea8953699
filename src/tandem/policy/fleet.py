"""The fleet: every session of this instance seen together, so that many failures are treated as the one they are.

Two things are decided here, both pure. A *budget* of logins: a few at once are free, more take turns, so that neither
a boot nor the end of an outage becomes a storm. And the *hold*: when a third of all linked sessions fail within a
short window for a reason that none of them has to itself (the network, refused logins, an outdated library), nobody
logs in but one canary at a time, with a growing wait, until one comes online. Crashes of hosts never count.

Source of the budget: the generic cell rate algorithm (ITU-T I.371), a token bucket that needs one number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

_INSTANT = 0.001
_LARGEST_EXPONENT = 30


class Cause(Enum):
    """Why a session failed, if it may have failed for all. The value is in words."""

    NETWORK = "WhatsApp cannot be reached"
    REFUSED = "WhatsApp refuses logins"
    OUTDATED = "WhatsApp refuses this release of the library"


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a session may log in: ``wait`` seconds (0: now), ``reason`` in words, ``held`` by the fleet's hold."""

    wait: float = 0.0
    reason: str = ""
    held: bool = False


FREE = Admission()


@dataclass(frozen=True, slots=True)
class FleetLimits:
    """``rate`` in logins a second after a burst of ``burst``; ``share`` of the sessions; the rest in seconds."""

    rate: float = 8.0
    burst: int = 8
    share: float = 1 / 3
    least: int = 4
    window: float = 30.0
    canary_first: float = 2.0
    canary_longest: float = 60.0
    canary_outdated: float = 900.0  # each canary of an outdated release ends its own session: it is worth waiting
    canary_patience: float = 45.0
    look_again: float = 5.0


@dataclass(frozen=True, slots=True)
class Hold:
    """Nobody logs in but a canary. ``tries`` is how many have failed; ``canary`` the session that tries now, or ""."""

    since: float
    cause: Cause
    reason: str
    next_try: float
    tries: int = 0
    canary: str = ""
    canary_until: float = 0.0
    last_canary: str = ""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Times in monotonic seconds. ``paid_until``: when the budget is whole again; ``turns``: promised logins."""

    paid_until: float = float("-inf")
    turns: Mapping[str, float] = field(default_factory=dict)
    failing: Mapping[str, tuple[float, Cause]] = field(default_factory=dict)
    hold: Hold | None = None
    tries: int = 0
    released_at: float = float("-inf")


def admit(fleet: Fleet, session: str, now: float, limits: FleetLimits) -> tuple[Fleet, Admission]:
    """Return whether ``session`` may log in now. A yes is spent with this call, a turn is kept for it."""
    if fleet.hold is not None:
        return _admit_canary(fleet, fleet.hold, session, now, limits)
    turn = fleet.turns.get(session)
    if turn is None:
        fleet, turn = _spend(fleet, now, limits)
    others = {name: at for name, at in fleet.turns.items() if name != session}
    wait = turn - now
    if wait <= _INSTANT:
        return replace(fleet, turns=others), FREE
    reason = f"many sessions log in at the same time, its turn comes in {wait:.1f} s"
    return replace(fleet, turns={**others, session: turn}), Admission(wait, reason)


def charge(fleet: Fleet, session: str, now: float, limits: FleetLimits) -> Fleet:
    """Count a login that nobody may delay, an operator's, against the budget."""
    turns = {name: at for name, at in fleet.turns.items() if name != session}
    return replace(_spend(fleet, now, limits)[0], turns=turns)


def failed(fleet: Fleet, session: str, cause: Cause, now: float, *, linked: int, limits: FleetLimits) -> Fleet:
    """Take note of a failure; hold when so many of the ``linked`` sessions failed that it is no matter of each."""
    recent = {name: entry for name, entry in fleet.failing.items() if now - entry[0] < limits.window}
    fleet = replace(fleet, failing={**recent, session: (now, cause)})
    if fleet.hold is not None:
        return left(fleet, session, now, limits)
    if len(fleet.failing) < max(limits.least, limits.share * linked):
        return fleet
    return _held(fleet, now, linked, limits)


def left(fleet: Fleet, session: str, now: float, limits: FleetLimits) -> Fleet:
    """Take note that ``session`` is not logging in any more and did not come online."""
    if fleet.hold is None or fleet.hold.canary != session:
        return fleet
    return replace(fleet, hold=_tried(fleet.hold, now, limits))


def online(fleet: Fleet, session: str, now: float) -> Fleet:
    """Take note that ``session`` came online: what kept the others out is over."""
    failing = {name: entry for name, entry in fleet.failing.items() if name != session}
    if fleet.hold is None:
        return replace(fleet, failing=failing)
    return replace(fleet, failing={}, hold=None, tries=fleet.hold.tries, released_at=now)


def forget(fleet: Fleet, session: str, now: float, limits: FleetLimits) -> Fleet:
    """Drop a session that is no more."""
    fleet = left(fleet, session, now, limits)
    return replace(
        fleet,
        turns={name: at for name, at in fleet.turns.items() if name != session},
        failing={name: entry for name, entry in fleet.failing.items() if name != session},
    )


def _spend(fleet: Fleet, now: float, limits: FleetLimits) -> tuple[Fleet, float]:
    """Spend one login of the budget; return also when it may be made."""
    paid = max(fleet.paid_until, now)
    turn = max(now, paid - (limits.burst - 1) / limits.rate)
    return replace(fleet, paid_until=paid + 1 / limits.rate), turn


def _held(fleet: Fleet, now: float, linked: int, limits: FleetLimits) -> Fleet:
    causes = [cause for _, cause in fleet.failing.values()]
    cause = max(Cause, key=causes.count)
    reason = f"{len(causes)} of {linked} sessions failed within {limits.window:g} s: {cause.value}"
    again = now - fleet.released_at < limits.canary_longest  # it is still the same outage: go on where it stopped
    tries = fleet.tries if again else 0
    hold = Hold(now, cause, reason, now + _pause(cause, tries, limits), tries)
    return replace(fleet, hold=hold, turns={})


def _admit_canary(fleet: Fleet, hold: Hold, session: str, now: float, limits: FleetLimits) -> tuple[Fleet, Admission]:
    if hold.canary and now >= hold.canary_until:
        hold = _tried(hold, now, limits)
    if hold.canary and hold.canary != session:
        wait, tells = limits.look_again, "one of them tries to log in now"
    else:
        wait = hold.next_try - now + (1.0 if hold.last_canary == session else 0.0)  # let another one try, if any
        tells = f"one of them tries again in {max(0.0, hold.next_try - now):.0f} s"
    if wait > _INSTANT:
        return replace(fleet, hold=hold), Admission(wait, f"all logins are held, {hold.reason}; {tells}", held=True)
    hold = replace(hold, canary=session, canary_until=now + limits.canary_patience)
    return replace(_spend(fleet, now, limits)[0], hold=hold), FREE


def _tried(hold: Hold, now: float, limits: FleetLimits) -> Hold:
    tries = hold.tries + 1
    return replace(
        hold, tries=tries, canary="", last_canary=hold.canary, next_try=now + _pause(hold.cause, tries, limits)
    )


def _pause(cause: Cause, tries: int, limits: FleetLimits) -> float:
    longest = limits.canary_outdated if cause is Cause.OUTDATED else limits.canary_longest
    first = longest if cause is Cause.OUTDATED else limits.canary_first
    return float(min(longest, first * 2.0 ** min(tries, _LARGEST_EXPONENT)))
