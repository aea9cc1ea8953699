"""The HTTP API: its routes and the layers around them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

import structlog
from aiohttp import web
from structlog.contextvars import bound_contextvars

from tandem.api import (
    accounts,
    auth,
    cluster,
    dead_letters,
    events,
    health,
    messages,
    openapi,
    outgoing,
    pages,
    qr,
    reports,
)
from tandem.api.context import CLOCK, CONTEXT, RANDOM, REQUEST_ID, Context
from tandem.api.endpoint import Endpoint, Handler
from tandem.api.listener import Listener
from tandem.api.ports import Parts
from tandem.api.problems import problem, refusal
from tandem.api.sessions import Sessions
from tandem.clock import Clock, Random
from tandem.settings import Settings
from tandem.store.port import Store

_log = structlog.get_logger()
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none at all, browsers send no usable Origin with a form
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

ENDPOINTS: tuple[Endpoint, ...] = (
    *health.ENDPOINTS,
    *openapi.ENDPOINTS,
    *accounts.ENDPOINTS,
    *qr.ENDPOINTS,
    *messages.ENDPOINTS,
    *outgoing.ENDPOINTS,
    *dead_letters.ENDPOINTS,
    *events.ENDPOINTS,
    *reports.ENDPOINTS,
    *cluster.ENDPOINTS,
    *pages.ENDPOINTS,
)


class ApiServer(Listener):
    """Serves the API and the dashboard from ``start`` to ``stop``."""

    def __init__(
        self, settings: Settings, parts: Parts, store: Store, clock: Clock, random: Random, *, grace: float = 1.0
    ) -> None:
        """``grace``: seconds that open requests have to end at ``stop``."""
        super().__init__(settings, grace)
        self._context = Context(settings, parts, store, clock, random, Sessions(clock, random))

    async def start(self) -> None:
        """Listen. Raises Misconfigured, saying what to do, if that is unsafe or impossible."""
        await self.serve(application(self._context))


def application(context: Context, endpoints: Sequence[Endpoint] = ENDPOINTS) -> web.Application:
    """Return the aiohttp application, ready to be served."""
    app = web.Application(
        middlewares=[envelope, auth.authenticate], client_max_size=context.settings.api.max_body_bytes
    )
    app[CONTEXT] = context
    app[CLOCK], app[RANDOM] = context.clock, context.random
    app[events.STREAMS] = set()
    app[openapi.ENDPOINTS_KEY] = tuple(endpoints)
    app[auth.ENDPOINT] = {(endpoint.method, endpoint.path): endpoint for endpoint in endpoints}
    for endpoint in endpoints:
        _route(app, endpoint)
    app.on_response_prepare.append(harden)
    app.on_shutdown.append(events.end_streams)
    return app


def _route(app: web.Application, endpoint: Endpoint) -> None:
    if endpoint.method == "GET" and endpoint.handler is not events.stream_events:
        app.router.add_get(endpoint.path, endpoint.handler)  # with HEAD
    else:
        app.router.add_route(endpoint.method, endpoint.path, endpoint.handler)


async def harden(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer the headers that all of them have."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-ID"] = request[REQUEST_ID]
    with suppress(KeyError):
        del response.headers["Server"]


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost layer: name the request, turn errors into problems, leave one line in the log."""
    clock = request.app[CLOCK]
    given = request.headers.get("X-Request-ID", "")
    request[REQUEST_ID] = given if _REQUEST_ID.fullmatch(given) else request.app[RANDOM].token()
    started = clock.monotonic()
    status = 499  # the client went away
    try:
        with bound_contextvars(request_id=request[REQUEST_ID]):  # events that the request causes carry its id
            response = await handler(request)
        status = response.status
    except Exception as error:  # noqa: BLE001 - the outermost layer answers everything
        response = _answer_error(request, error)
        status = response.status
    finally:
        _log_request(request, status, clock.monotonic() - started)
    return response


def _answer_error(request: web.Request, error: Exception) -> web.StreamResponse:
    return problem(request, refusal(error, request))


def _log_request(request: web.Request, status: int, seconds: float) -> None:
    """The canonical line: route, not path, since a path may hold a number."""
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "unmatched"
    endpoint = auth.endpoint_of(request)
    level = "warning" if status >= 500 else "debug" if endpoint and endpoint.quiet else "info"  # noqa: PLR2004
    getattr(_log, level)(
        "http_request",
        message=f"{request.method} {route} {status}",
        method=request.method,
        route=route,
        status=status,
        duration_ms=round(seconds * 1000, 1),
        request_id=request[REQUEST_ID],
    )
