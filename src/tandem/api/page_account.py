"""One account in full: both slots, what they went through, what endangers it, and what an operator can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tandem.api.account_views import SurvivalJson
from tandem.api.context import caller_of, context_of
from tandem.api.inputs import account_of
from tandem.api.masking import mask
from tandem.api.page_charts import timeline
from tandem.api.page_events import latest
from tandem.api.page_frame import page_endpoints
from tandem.api.page_report import recovered
from tandem.api.page_words import ms, span
from tandem.api.pages_view import account_card, alert_rows, names_of
from tandem.model.outage import Outage

_HOURS = (1, 6, 24)
_EVENTS = 12
_HELD = 4000


@dataclass(frozen=True, slots=True)
class OutageRow:
    """``began`` in Unix milliseconds; ``lasts`` while it is not over."""

    began: int
    lasts: bool
    length: str
    cause: str
    recovered: str


async def _values(request: web.Request) -> Mapping[str, Any]:
    context, full = context_of(request), caller_of(request).admin
    parts, now = context.parts, context.clock.now()
    view = parts.accounts.get(account_of(request))
    card = account_card(view, parts, full=full)
    names = names_of([view], full=full)
    wanted = request.query.get("hours", "")
    hours = next((each for each in _HOURS if str(each) == wanted), _HOURS[1])
    events = tuple(reversed(parts.events.recent(_HELD, None, view.account.id)))
    outages = parts.outages(view.account.id)
    alerts = [alert for alert in parts.alerts() if alert.finding.subject.partition("/")[0] == view.account.id]
    return {
        "here": "account",
        "title": card.name,
        "account": card,
        "alerts": alert_rows(alerts, names),
        "timeline": timeline(view, events, now, hours),
        "choices": _HOURS,
        "standing": _standing(outages, now),
        "outages": [_outage(outage, now) for outage in outages],
        "survival": SurvivalJson.of(view, now),
        "events": latest(parts.events, names, _EVENTS, view.account.id),
        "refresh": card.pairing is not None,
    }


def _standing(outages: Sequence[Outage], now: float) -> str:
    """Say since when it is online or out, as far as outages tell."""
    if not outages:
        return ""
    last = outages[0]
    if last.ended is None:
        return f"out for {span(now - last.began)}: {mask(last.cause)}"
    return f"no outage for {span(now - last.ended)}"


def _outage(outage: Outage, now: float) -> OutageRow:
    return OutageRow(
        began=ms(outage.began),
        lasts=outage.ended is None,
        length=span(outage.seconds(now)),
        cause=mask(outage.cause),
        recovered=recovered(outage.recovered),
    )


ENDPOINTS = page_endpoints("/accounts/{account}", "account.html", _values, "One account in full.")
