"""What fires now, and what a day was like."""

from __future__ import annotations

from datetime import date

from aiohttp import web

from tandem.api.context import Access, context_of
from tandem.api.endpoint import Answer, Endpoint, Parameter
from tandem.api.report_views import AlertJson, AlertsAnswer, ReportAnswer
from tandem.api.respond import answer
from tandem.errors import Rejected


async def list_alerts(request: web.Request) -> web.Response:
    return answer(AlertsAnswer(alerts=[AlertJson.of(alert) for alert in context_of(request).parts.alerts()]))


async def daily_report(request: web.Request) -> web.Response:
    parts = context_of(request).parts
    return answer(ReportAnswer.model_validate({"report": await parts.report(day_of(request, parts.today()))}))


def day_of(request: web.Request, today: date) -> date:
    """Return the day that is asked for: today unless the query names one. Raises Rejected for what is no date."""
    written = request.query.get("date")
    try:
        return today if written is None else date.fromisoformat(written)
    except ValueError:
        raise Rejected("date: write it as YYYY-MM-DD, such as 2026-01-31") from None


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/alerts",
        list_alerts,
        Access.READ,
        "What fires now, the oldest first, each with what to do.",
        {200: Answer("The alerts.", AlertsAnswer)},
    ),
    Endpoint(
        "GET",
        "/api/report/daily",
        daily_report,
        Access.READ,
        "What a day was like; of today as far as it has come.",
        {200: Answer("The report.", ReportAnswer)},
        parameters=(Parameter("date", "The day, YYYY-MM-DD, in the report's time zone.", {"format": "date"}),),
        errors=(400, 404, 503),
    ),
)
