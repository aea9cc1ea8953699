"""The dashboard: pages rendered here, kept live by fetching their changing part again whenever something happened."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from aiohttp import web

from tandem.api import page_account, page_actions, page_cluster, page_events, page_login, page_report
from tandem.api.context import Access, Context, caller_of, context_of
from tandem.api.endpoint import Answer, Endpoint
from tandem.api.page_events import latest
from tandem.api.page_frame import load, page, page_endpoints, wants_json
from tandem.api.page_words import count
from tandem.api.pages_view import account_card, alert_rows, headline, names_of
from tandem.api.problems import Refused
from tandem.api.respond import answer
from tandem.api.views import ServiceStatus, summary_of

_EVENTS_SHOWN = 25
_STATIC = {
    "/dashboard/app.css": "text/css",
    "/dashboard/app.js": "text/javascript",
    "/dashboard/icon.svg": "image/svg+xml",
}


async def home(request: web.Request) -> web.StreamResponse:
    """The overview; for ``Accept: application/json`` the status that the system before this one gave."""
    if wants_json(request):
        return _status(context_of(request), caller_of(request).access)
    return await _overview(request)


async def static(request: web.Request) -> web.Response:
    """Serve one of our own files, asked for anew each time but sent only when it changed."""
    name = request.path.rpartition("/")[2]
    text, tag = _FILES[name]
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(text=text, content_type=_STATIC[request.path], headers=headers)


_FILES = {
    path.rpartition("/")[2]: (text, hmac.digest(b"", text.encode(), "sha256").hex()[:16])
    for path, text in ((path, load(path.rpartition("/")[2])) for path in _STATIC)
}


async def _values(request: web.Request) -> Mapping[str, Any]:
    parts, full = context_of(request).parts, caller_of(request).admin
    views = parts.accounts.list()
    names = names_of(views, full=full)
    text, tone = headline(views, names)
    paired = [slot for view in views for slot in view.slots if slot.device]
    online = sum(slot.state.connected for slot in paired)
    return {
        "here": "overview",
        "title": "Overview",
        "accounts": [account_card(view, parts, full=full) for view in views],
        "alerts": alert_rows(parts.alerts(), names),
        "headline": text,
        "tone": tone,
        "devices": f"{online} of {count(len(paired), 'linked device')} online" if paired else "",
        "summary": summary_of(parts.figures.summary()),
        "queues": parts.figures.queues(),
        "events": latest(parts.events, names, _EVENTS_SHOWN),
        "not_ready": parts.readiness() or "",
    }


_overview = page("overview.html", _values)


def _status(context: Context, access: Access) -> web.Response:
    if access is Access.NONE:
        raise Refused(401, "unauthorized", "a token is needed: send it as 'Authorization: Bearer …'")
    parts = context.parts
    summary = summary_of(parts.figures.summary())
    return answer(
        ServiceStatus(
            version=parts.about.version,
            accounts=summary.accounts,
            connected=sum(view.status.number > 1 for view in parts.accounts.list()),
            metrics=summary,
            region=parts.about.region,
            timestamp=datetime.fromtimestamp(context.clock.now(), UTC).isoformat(timespec="milliseconds"),
        )
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/",
        home,
        Access.NONE,
        "The dashboard; with ``Accept: application/json`` a short status.",
        {200: Answer("The page, or ServiceStatus in JSON.", ("text/html", "application/json"))},
    ),
    page_endpoints("/", "overview.html", _values, "The overview.")[1],
    *page_login.ENDPOINTS,
    *page_actions.ENDPOINTS,
    *page_account.ENDPOINTS,
    *page_events.ENDPOINTS,
    *page_report.ENDPOINTS,
    *page_cluster.ENDPOINTS,
    *(Endpoint("GET", path, static, Access.NONE, "A file.", page=True, quiet=True) for path in _STATIC),
)
