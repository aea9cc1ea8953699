"""The table of faults in ARCHITECTURE.md: what the policy itself answers, in its own sentences and with its own bounds.

``python -m support.fault_document`` writes it (``make fault-table``); a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from support.fault_rows import PASSES, ROWS, End, Later, Notice, Row
from tandem.model.states import SessionState, Slot
from tandem.policy import failover
from tandem.policy import session_machine as machine
from tandem.settings import SessionSettings

DOCUMENT = Path(__file__).parents[2] / "ARCHITECTURE.md"
BEGIN, END = "<!-- written by `make fault-table`; a test compares -->", "<!-- end of the fault table -->"

_LIMITS = machine.Limits()
_LONG_AGO, _NOW = 0.0, 10_000.0
_WORST_LUCK = 1.0
_DWELL = 5.0
_TOO_MANY = 6


@dataclass(frozen=True, slots=True)
class Step:
    """One decision on the way, and when it was made: seconds after the first news, with the longest waits."""

    at: float
    decision: machine.Decision
    moved: str
    """Why the role moved here, if the slot was active; else empty."""


def walk(row: Row, limits: machine.Limits = _LIMITS) -> Sequence[Step]:
    """What the policy does about a fault at an active slot that was stable, beside a healthy standby."""
    return tuple(_steps(row, limits))


def _steps(row: Row, limits: machine.Limits) -> Iterator[Step]:
    session = machine.Session(row.begins, since=_LONG_AGO, paired=True)
    if row.begins is not SessionState.ONLINE:
        announced = row.begins is SessionState.SYNCING
        session = replace(session, since=_NOW, deadline=_NOW + limits.connect_timeout, syncing=announced)
    active, now = Slot.PRIMARY, _NOW
    for heard in row.heard:
        news = heard.input if isinstance(heard, Later) else heard
        if isinstance(heard, Later):
            now += heard.seconds
        elif heard is PASSES:
            assert session.deadline, f"{row.name}: {session.state} has no deadline that could pass"
            now = max(now, session.deadline)
        decision = machine.decide(session, news, now, _WORST_LUCK, limits)
        session = decision.session
        states = {Slot.PRIMARY: session.state, Slot.BACKUP: SessionState.ONLINE}
        reasons = {Slot.PRIMARY: session.reason, Slot.BACKUP: ""}
        verdict = failover.choose(failover.Pair(active, float("-inf"), states, reasons), now, _DWELL)
        active = verdict.active
        yield Step(now - _NOW, decision, verdict.reason if verdict.moved else "")


def path(row: Row) -> str:
    """The states that the policy leads the slot through, as ``Row.path`` writes them."""
    states = [row.begins, *(step.decision.session.state for step in walk(row))]
    return " ".join(str(after) for before, after in pairwise(states) if after is not before)


def table() -> str:
    lines = [
        "| fault at a slot | noticed | what the policy says | role, if it was active | over, at most | test |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_line, ROWS)])


def _line(row: Row) -> str:
    steps = walk(row)
    noticed = row.notice.value if steps else "-"
    if row.notice is not Notice.AT_ONCE:
        noticed += f", {_noticed(row):g} s"
    cells = (row.fault, noticed, _said(steps), _role(row, steps), _over(row, steps), _test(row))
    return "| " + " | ".join(cells) + " |"


def _said(steps: Sequence[Step]) -> str:
    """The policy's sentences; of what happens again and again, the first time and the end."""
    said = [step.decision.sentence for step in steps if step.decision.sentence]
    if len(said) > _TOO_MANY:
        said = [*said[:3], "…", said[-1]]
    return " → ".join(said) or "nothing: it harms nobody"


def _noticed(row: Row) -> float:
    return row.notice.seconds(SessionSettings().ping_interval)


def _role(row: Row, steps: Sequence[Step]) -> str:
    moved = next((step for step in steps if step.moved), None)
    if row.begins is not SessionState.ONLINE:
        return "has moved"
    if moved is None:
        return "stays"
    after = _noticed(row) + moved.at
    return f"moves after {after:g} s" if after else "moves at once"


def _over(row: Row, steps: Sequence[Step]) -> str:
    if not any(step.decision.sentence for step in steps):
        return "-"
    if row.ends is not End.ITSELF:
        return str(row.ends.value)
    waited = _noticed(row) + steps[-1].at
    return f"{waited:g} s" if waited else "at once"


def _test(row: Row) -> str:
    name = row.test.rpartition("/")[2].removesuffix(".py")
    return f"`{name}`" if row.strike is None else f"`{row.name}`"


def written(text: str) -> str:
    """Return the document with its table as it has to be. Raises ValueError if the marks are not there."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"ARCHITECTURE.md has no table between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
