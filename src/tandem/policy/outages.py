"""When an account is out, why, and what share of a time it was not. Pure; all times in Unix seconds.

An account is out while no slot of it is online, and online means caught up: a slot that still receives what arrived
while it was away does not count, nor does one whose last ping went unanswered. An account that was never online since
it was linked is not out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tandem.model.ids import AccountId
from tandem.model.outage import Observation, Outage
from tandem.model.states import SessionState, Slot

INSUFFICIENT_DATA = "insufficient data"
LEAST_COVERAGE = 0.8
"""Share of a time that has to be observed before anything is said of all of it."""

States = Mapping[Slot, SessionState]
Reasons = Mapping[Slot, str]
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether an account is online, and the outage it is in. Neither: it has not been online yet."""

    online: bool = False
    outage: Outage | None = None


@dataclass(frozen=True, slots=True)
class Uptime:
    """``ratio`` 0 … 1, None when too little was observed; ``downtime`` in seconds; ``coverage`` 0 … 1."""

    ratio: float | None
    downtime: float
    coverage: float
    incidents: int

    @property
    def verdict(self) -> str:
        return INSUFFICIENT_DATA if self.ratio is None else f"{self.ratio:.3%}"


def after(
    standing: Standing, account: AccountId, states: States, reasons: Reasons, now: float
) -> tuple[Standing, Outage | None]:
    """Return how an account stands now, and the outage that has just begun or ended, if one has."""
    online = SessionState.ONLINE in states.values()
    if online == standing.online:
        return standing, None
    if not online:
        began = Outage(account, now, cause(states, reasons))
        return Standing(outage=began), began
    over = standing.outage and replace(standing.outage, ended=max(now, standing.outage.began))
    return Standing(online=True), over


def at_boot(
    account: AccountId, created_at: float, *, linked: bool, lasting: Outage | None, last: Observation | None, now: float
) -> Standing:
    """Return how an account stands when the daemon starts.

    ``lasting`` is the outage that it was in when the daemon ended, ``last`` that run of the daemon. An account that was
    online then has been out since its last sign of life, for nobody kept it online.
    """
    if lasting is not None:
        return Standing(outage=lasting)
    if not linked:
        return Standing()
    if last is None:
        return Standing(outage=Outage(account, now, "the daemon was starting"))
    why = "it was stopped" if last.stopped else "it was killed or crashed"
    began = min(now, max(last.ended, created_at))
    return Standing(outage=Outage(account, began, f"the daemon was not running: {why}"))


def cause(states: States, reasons: Reasons) -> str:
    """Say in words why nobody is online: what each linked slot is doing instead."""
    absent = {SessionState.UNPAIRED, SessionState.PAIRING}
    linked = [slot for slot in Slot if slot in states and states[slot] not in absent] or list(states)
    return ", ".join(
        f"{slot} is {states[slot]}" + (f" ({reasons[slot]})" if reasons.get(slot) else "") for slot in linked
    )


def uptime(outages: Sequence[Outage], observations: Sequence[Observation], since: float, until: float) -> Uptime:
    """Return what share of ``since`` … ``until`` an account was online.

    Downtime counts whether or not the daemon was running. The ratio is one minus downtime over all that is known
    (observed, or known to be out), and None if less than 80 % of the time was observed: then nobody can say.
    """
    window = (since, until)
    length = until - since
    down = _merged((each.began, until if each.ended is None else each.ended) for each in outages)
    seen = _merged((each.began, each.ended) for each in observations)
    downtime, observed = _within(down, window), _within(seen, window)
    known = _within(_merged([*down, *seen]), window)
    coverage = min(1.0, observed / length) if length > 0 else 0.0
    ratio = 1 - downtime / known if coverage >= LEAST_COVERAGE and known > 0 else None
    return Uptime(ratio, downtime, coverage, sum(start < until and end > since for start, end in down))


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _within(spans: Sequence[Span], window: Span) -> float:
    since, until = window
    return sum(max(0.0, min(end, until) - max(start, since)) for start, end in spans)
