"""The daily report: what a closed day was like, from the figures kept of it and the outages in it. Pure.

Days are those of the report's time zone, so a day may have 23 or 25 hours. Every figure is of the day alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta, tzinfo

from tandem.model.ids import AccountId
from tandem.model.outage import Observation, Outage
from tandem.policy.outages import uptime

VERSION = 1
LATENCY_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""Upper bounds of the buckets that latencies are counted in, in seconds; one more holds everything beyond."""

DOLLARS_PER_WRITE = 0.18 / 100_000
"""Firestore's list price of a document write in its multi-region locations; other locations cost up to half less."""

_COUNTED = (
    "received",
    "duplicates",
    "stored",
    "sent",
    "dead",
    "send_failed",
    "failovers",
    "disconnects",
    "reconnects",
    "reconnect_failures",
    "proactive_reconnects",
    "host_ends",
    "rate_limits",
)
Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Incident:
    """An outage; ``seconds`` of it lie in the day. Times in Unix seconds; ``recovered`` messages came late by it."""

    began: float
    ended: float | None
    seconds: float
    cause: str
    recovered: int | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Upper bounds in seconds of what half, 90 % and 99 % took; None without any, or when it is more than an hour."""

    count: int
    p50: float | None
    p90: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class AccountDay:
    """``uptime`` is a ratio, None when less than 80 % of the day was observed; ``coverage`` is that share.

    ``detected``: silence before a fault that nothing told of was noticed; ``role_moved``: from the active slot's loss
    to the other one being active; ``recovered``: from a slot's loss to its being online again.
    """

    account: AccountId
    uptime: float | None
    coverage: float
    downtime: float
    incidents: tuple[Incident, ...]
    counts: Mapping[str, int]
    inbound: Latency
    outbound: Latency
    detected: Latency
    role_moved: Latency
    recovered: Latency


@dataclass(frozen=True, slots=True)
class DayReport:
    """``begins`` and ``ends`` in Unix seconds. ``writes`` to the store, ``cost`` their list price in dollars."""

    date: str
    zone: str
    begins: float
    ends: float
    accounts: tuple[AccountDay, ...]
    inbox_high_water: int
    outbox_high_water: int
    writes: int
    cost: float
    alerts: int


def bounds(day: date, zone: tzinfo) -> tuple[float, float]:
    """Return when a day begins and ends in a zone, in Unix seconds."""
    begin = datetime(day.year, day.month, day.day, tzinfo=zone)
    after = day + timedelta(days=1)
    return begin.timestamp(), datetime(after.year, after.month, after.day, tzinfo=zone).timestamp()


def bucket(seconds: float) -> str:
    """Return the name of the bucket that a latency is counted in."""
    return next((f"le_{bound:g}" for bound in LATENCY_BOUNDS if seconds <= bound), "le_inf")


def compose(
    day: date,
    zone: tzinfo,
    figures: Mapping[str, Figures],
    outages: Mapping[AccountId, Sequence[Outage]],
    observations: Sequence[Observation],
    *,
    until: float,
) -> DayReport:
    """Return a day's report, as far as the day has come by ``until`` (Unix seconds).

    ``outages`` holds every account there is; ``figures`` are by account, "" is the instance.
    """
    begins, ends = bounds(day, zone)
    ends = min(ends, until)
    whole = figures.get("", {})
    writes = int(whole.get("writes", 0))
    return DayReport(
        date=day.isoformat(),
        zone=str(zone),
        begins=begins,
        ends=ends,
        accounts=tuple(
            _account(account, figures.get(account, {}), found, observations, (begins, ends))
            for account, found in outages.items()
        ),
        inbox_high_water=int(whole.get("inbox_high_water", 0)),
        outbox_high_water=int(whole.get("outbox_high_water", 0)),
        writes=writes,
        cost=round(writes * DOLLARS_PER_WRITE, 4),
        alerts=int(whole.get("alerts", 0)),
    )


def _account(
    account: AccountId,
    figures: Figures,
    outages: Sequence[Outage],
    observations: Sequence[Observation],
    span: tuple[float, float],
) -> AccountDay:
    found = uptime(outages, observations, *span)
    return AccountDay(
        account=account,
        uptime=found.ratio,
        coverage=found.coverage,
        downtime=found.downtime,
        incidents=tuple(_incident(outage, span) for outage in outages if _within(outage, span)),
        counts={name: int(figures.get(name, 0)) for name in _COUNTED},
        inbound=latency(figures, "inbound"),
        outbound=latency(figures, "outbound"),
        detected=latency(figures, "detected"),
        role_moved=latency(figures, "role_moved"),
        recovered=latency(figures, "recovered"),
    )


def _within(outage: Outage, span: tuple[float, float]) -> bool:
    begins, ends = span
    return outage.began < ends and (outage.ended is None or outage.ended > begins)


def _incident(outage: Outage, span: tuple[float, float]) -> Incident:
    begins, ends = span
    seconds = min(outage.ended or ends, ends) - max(outage.began, begins)
    return Incident(outage.began, outage.ended, seconds, outage.cause, outage.recovered)


def latency(figures: Figures, way: str) -> Latency:
    """Return the percentiles of what is counted in buckets under a name (``inbound``, ``detected`` …)."""
    names = [*(f"le_{bound:g}" for bound in LATENCY_BOUNDS), "le_inf"]
    counts = [int(figures.get(f"{way}_{name}", 0)) for name in names]
    total = sum(counts)

    def percentile(fraction: float) -> float | None:
        reached = 0
        for bound, count in zip((*LATENCY_BOUNDS, None), counts, strict=True):
            reached += count
            if total and reached >= fraction * total:
                return bound
        return None

    return Latency(total, percentile(0.5), percentile(0.9), percentile(0.99))


def document(report: DayReport) -> dict[str, object]:
    """Return a report as a JSON object, as it is stored; ``version`` is its shape's."""
    return {"version": VERSION, **asdict(report)}
