"""A day's report as a page that reads and prints well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from aiohttp import web

from tandem.api.context import caller_of, context_of
from tandem.api.masking import mask
from tandem.api.page_charts import Stretch, band_stretch
from tandem.api.page_frame import page_endpoints
from tandem.api.page_words import count, percent, span
from tandem.api.pages_view import names_of
from tandem.api.report_views import AccountDayJson, IncidentJson, LatencyJson, ReportJson
from tandem.api.reports import day_of
from tandem.errors import NotFound
from tandem.model.ids import AccountId

_AIM = 0.999
_NARROWEST = 12.0  # the bands in a table are small


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """``began`` in Unix milliseconds, ``ended`` 0 while it lasts."""

    account: str
    began: int
    ended: int
    seconds: float
    cause: str
    recovered: str


@dataclass(frozen=True, slots=True)
class AccountRow:
    id: str
    name: str
    tone: str
    uptime: str
    coverage: str
    downtime: str
    incidents: int
    counts: Mapping[str, int]
    inbound: str
    outbound: str
    band: list[Stretch]
    words: str


async def _values(request: web.Request) -> Mapping[str, Any]:
    parts, full = context_of(request).parts, caller_of(request).admin
    today = parts.today()
    day = day_of(request, today)
    common = {
        "here": "report",
        "title": "Report",
        "day": day.isoformat(),
        "spelled": f"{day:%A}, {day.day} {day:%B %Y}",
        "unfinished": day == today,
        "before": _address(day - timedelta(days=1)) if day > date.min else "",
        "after": _address(day + timedelta(days=1)) if day < today else "",
    }
    try:
        report = ReportJson.model_validate(await parts.report(day))
    except NotFound:
        return {**common, "report": None}
    names = names_of(parts.accounts.list(), full=full)
    rows = [_account(each, names, report) for each in report.accounts]
    return {**common, "report": report, "rows": rows, "incidents": _incidents(report, names), "sums": _sums(report)}


def _address(day: date) -> str:
    return f"/report?date={day.isoformat()}"


def _account(day: AccountDayJson, names: Mapping[AccountId, str], report: ReportJson) -> AccountRow:
    name = names.get(AccountId(day.account), "")
    return AccountRow(
        id=day.account if name else "",
        name=name or f"removed account {day.account[:6]}…",
        tone=_tone(day.uptime),
        uptime="not known" if day.uptime is None else percent(day.uptime),
        coverage="" if day.coverage > _AIM else f"{day.coverage:.0%} of the day observed",
        downtime=span(day.downtime),
        incidents=len(day.incidents),
        counts=Counter(day.counts),
        inbound=_latency(day.inbound),
        outbound=_latency(day.outbound),
        band=[_stretch(incident, report) for incident in day.incidents],
        words=f"{count(len(day.incidents), 'outage')}, {span(day.downtime)} in all" if day.incidents else "no outage",
    )


def _tone(uptime: float | None) -> str:
    if uptime is None:
        return "idle"
    return "good" if uptime >= _AIM else "warn"


def _stretch(incident: IncidentJson, report: ReportJson) -> Stretch:
    begins, ends = report.begins, max(report.ends, report.begins + 1)
    ended = ends if incident.ended is None else incident.ended
    part, words = (max(incident.began, begins), min(ended, ends)), mask(incident.cause)
    return band_stretch(*part, (begins, ends), "bad", words, narrowest=_NARROWEST)


def _latency(latency: LatencyJson) -> str:
    """Return the percentiles, which are upper bounds."""
    if not latency.count:
        return "none"
    return " · ".join(_bound(value) for value in (latency.p50, latency.p90, latency.p99))


def _bound(seconds: float | None) -> str:
    if seconds is None:
        return "> 1 h"
    return f"{seconds * 1000:g} ms" if seconds < 1 else span(seconds)


def _incidents(report: ReportJson, names: Mapping[AccountId, str]) -> list[IncidentRow]:
    rows = [
        IncidentRow(
            account=names.get(AccountId(day.account), f"removed account {day.account[:6]}…"),
            began=incident.began,
            ended=incident.ended or 0,
            seconds=incident.seconds,
            cause=mask(incident.cause),
            recovered=recovered(incident.recovered),
        )
        for day in report.accounts
        for incident in day.incidents
    ]
    return sorted(rows, key=lambda row: row.began)


def recovered(messages: int | None) -> str:
    return "not counted yet" if messages is None else f"{messages:,}"


def _sums(report: ReportJson) -> Mapping[str, int]:
    sums: Counter[str] = Counter()
    for day in report.accounts:
        sums.update(day.counts)
    return sums


ENDPOINTS = page_endpoints("/report", "report.html", _values, "What a day was like.")
