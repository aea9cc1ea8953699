"""The judge: the emulator's ledger against the store. Pure.

Inbound: a message counts as sent when the ledger has it queued for a linked device of an account. It is lost when the
store does not have it, duplicated when the store has it more than once. Outbound: a message counts as accepted when the
daemon answered 202. It is lost when its contact's phone never shows it, duplicated when it is shown more than once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil


@dataclass(frozen=True, slots=True)
class Flow:
    """Counts of one direction. ``arrived`` is stored for inbound, delivered for outbound."""

    started: int
    arrived: int
    lost: int
    duplicated: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something the demo did. ``at`` in Unix seconds; ``slot`` is empty when the daemon or both slots were hit."""

    at: float
    kind: str
    account: str = ""
    slot: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """A role's move to a slot, or a slot's coming online, as the daemon logged it. ``at`` in Unix seconds."""

    at: float
    account: str
    slot: str


@dataclass(frozen=True, slots=True)
class Report:
    """All of it, in the shape of the public contract."""

    accounts: int
    sessions: int
    inbound: Flow
    outbound: Flow
    failovers: int
    downtimes_ms: Mapping[str, Sequence[float]]
    restarts_ms: Sequence[float]
    faults: Mapping[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        return not any((self.inbound.lost, self.inbound.duplicated, self.outbound.lost, self.outbound.duplicated))

    def as_json(self) -> dict[str, object]:
        return {
            "accounts": self.accounts,
            "sessions": self.sessions,
            "messages": {
                "sent": self.inbound.started,
                "stored": self.inbound.arrived,
                "lost": self.inbound.lost,
                "duplicated": self.inbound.duplicated,
            },
            "outbound": {
                "accepted": self.outbound.started,
                "delivered": self.outbound.arrived,
                "lost": self.outbound.lost,
                "duplicated": self.outbound.duplicated,
            },
            "failovers": self.failovers,
            "downtime_ms": summary([time for times in self.downtimes_ms.values() for time in times]),
            "downtime_ms_by_fault": {kind: summary(times) for kind, times in self.downtimes_ms.items()},
            "daemon_restart_ms": summary(self.restarts_ms),
            "faults": dict(self.faults),
        }


def judge(sent: Iterable[str], found: Iterable[str]) -> Flow:
    """Compare what was started with what was found at the other end, each by its identity."""
    expected, counts = set(sent), Counter(found)
    arrived = sum(1 for identity in expected if counts[identity])
    duplicated = sum(1 for identity in expected if counts[identity] > 1)
    return Flow(len(expected), arrived, len(expected) - arrived, duplicated)


def downtimes(
    faults: Sequence[Fault], moves: Sequence[Move], ups: Sequence[Move], longest: float
) -> dict[str, list[float]]:
    """Milliseconds without a slot that could send, by kind of fault, for each that took one away.

    A fault at the active slot ends with the role's move off it; one that took both slots ends with the first of them
    online again. A fault at a standby takes nothing away. A move is blamed on the latest fault that explains it, and
    after ``longest`` seconds on none.
    """
    ends: dict[Fault, float] = {}
    for end in sorted([*moves, *ups], key=lambda end: end.at):
        cause = _cause(faults, end, longest)
        if cause is not None and (end in ups) == (not cause.slot):
            ends.setdefault(cause, end.at)
    times: dict[str, list[float]] = {}
    for fault, at in ends.items():
        times.setdefault(fault.kind, []).append((at - fault.at) * 1000)
    return times


def _cause(faults: Sequence[Fault], end: Move, longest: float) -> Fault | None:
    """The latest fault that can have led to this: at another slot or both of the account, or at the daemon (None)."""
    before = [fault for fault in faults if 0 <= end.at - fault.at <= longest]
    own = [fault for fault in before if fault.account in {end.account, ""} and fault.slot != end.slot]
    latest = max(own, key=lambda fault: fault.at, default=None)
    return latest if latest is not None and latest.account else None


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """Median, 99th percentile (nearest rank) and maximum; None where there is nothing to summarise."""
    ordered = sorted(values)

    def rank(share: float) -> float | None:
        return round(ordered[max(0, ceil(share * len(ordered)) - 1)], 1) if ordered else None

    return {"p50": rank(0.5), "p99": rank(0.99), "max": rank(1.0)}
