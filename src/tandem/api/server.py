"""The HTTP server: routes, the layers around them, start and stop."""

from __future__ import annotations

import errno
import logging
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
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
from tandem.api.context import CONTEXT, REQUEST_ID, Context, context_of
from tandem.api.endpoint import Endpoint, Handler
from tandem.api.ports import Parts
from tandem.api.problems import problem, refusal
from tandem.api.sessions import Sessions
from tandem.clock import Clock, Random
from tandem.errors import Misconfigured
from tandem.settings import Settings
from tandem.store.port import Store

_log = structlog.get_logger()
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_SHUTDOWN = 1.0  # seconds open requests have to end
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


class ApiServer:
    """Serves the API and the dashboard from ``start`` to ``stop``."""

    def __init__(self, settings: Settings, parts: Parts, store: Store, clock: Clock, random: Random) -> None:
        self._settings = settings
        self._clock = clock
        self._context = Context(settings, parts, store, clock, random, Sessions(clock, random))
        self._runner: web.AppRunner | None = None
        self._port = settings.port

    @cached_property
    def host(self) -> str:
        """Address listened on: as set, else all interfaces with a token, loopback without one."""
        host = self._settings.api.host
        if host:
            return host
        return _all_interfaces() if self._settings.api_token else "127.0.0.1"

    @property
    def port(self) -> int:
        """Port listened on; the real one after ``start`` when the setting says 0."""
        return self._port

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = "127.0.0.1" if self.host in {"", "::", "0.0.0.0"} else self.host
        return f"http://[{host}]:{self._port}/" if ":" in host else f"http://{host}:{self._port}/"

    async def start(self) -> None:
        """Listen. Raises Misconfigured, saying what to do, if that is unsafe or impossible."""
        if self._settings.api_token is not None and not self._settings.api_token.get_secret_value().strip():
            raise Misconfigured("the api token is empty: set TANDEM_API_TOKEN (openssl rand -hex 32), or leave it out")
        if self._settings.api_token is None and not auth.loopback(self.host):
            raise Misconfigured(
                f"refusing to listen on {self.host} without a token: set TANDEM_API_TOKEN (openssl rand -hex 32), "
                "or listen on 127.0.0.1"
            )
        logging.getLogger("aiohttp.server").addFilter(_no_malformed)
        self._runner = web.AppRunner(application(self._context), access_log=None, shutdown_timeout=_SHUTDOWN)
        await self._runner.setup()
        try:
            listening = _listen(self.host, self._settings.port)
            await web.SockSite(self._runner, listening).start()
        except OSError as error:
            await self.stop()
            raise Misconfigured(self._why_not(error)) from None
        self._port = self._runner.addresses[0][1]
        _log.info("api_listening", message=f"Listening on {self.url}", host=self.host, port=self._port)

    async def stop(self) -> None:
        """Stop listening and let open requests end, event streams first. May be called at any time, repeatedly."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _why_not(self, error: OSError) -> str:
        where = f"{self.host} port {self._settings.port}"
        if error.errno == errno.EADDRINUSE:
            return f"{where} is in use: stop what runs there (another Tandem?), or choose another PORT"
        if error.errno == errno.EACCES:
            return f"{where} may not be used by this user: choose a PORT above 1023"
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            return f"{self.host} is no address of this machine: change TANDEM_API__HOST"
        return f"cannot listen on {where}: {error.strerror or error}"


def application(context: Context, endpoints: Sequence[Endpoint] = ENDPOINTS) -> web.Application:
    """Return the aiohttp application, ready to be served."""
    app = web.Application(
        middlewares=[envelope, auth.authenticate], client_max_size=context.settings.api.max_body_bytes
    )
    app[CONTEXT] = context
    app[events.STREAMS] = set()
    app[openapi.ENDPOINTS_KEY] = tuple(endpoints)
    app[auth.ENDPOINT] = {(endpoint.method, endpoint.path): endpoint for endpoint in endpoints}
    for endpoint in endpoints:
        _route(app, endpoint)
    app.on_response_prepare.append(_harden)
    app.on_shutdown.append(events.end_streams)
    return app


def _route(app: web.Application, endpoint: Endpoint) -> None:
    if endpoint.method == "GET" and endpoint.handler is not events.stream_events:
        app.router.add_get(endpoint.path, endpoint.handler)  # with HEAD
    else:
        app.router.add_route(endpoint.method, endpoint.path, endpoint.handler)


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-ID"] = request[REQUEST_ID]
    with suppress(KeyError):
        del response.headers["Server"]


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost layer: name the request, turn errors into problems, leave one line in the log."""
    context = context_of(request)
    given = request.headers.get("X-Request-ID", "")
    request[REQUEST_ID] = given if _REQUEST_ID.fullmatch(given) else context.random.token()
    started = context.clock.monotonic()
    status = 499  # the client went away
    try:
        with bound_contextvars(request_id=request[REQUEST_ID]):  # events that the request causes carry its id
            response = await handler(request)
        status = response.status
    except Exception as error:  # noqa: BLE001 - the outermost layer answers everything
        response = _answer_error(request, error)
        status = response.status
    finally:
        _log_request(request, status, context.clock.monotonic() - started)
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


def _no_malformed(record: logging.LogRecord) -> bool:
    """Leave malformed HTTP, as scanners send it all day, out of the log: it was answered with 400."""
    kind = record.exc_info[0] if record.exc_info else None
    return not (kind and issubclass(kind, HttpProcessingError))


def _listen(host: str, port: int) -> socket.socket:
    """Open the listening socket; ``::`` serves IPv4 too, which asyncio's own way does not."""
    if host == "::":
        return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address, family=family, backlog=128)


def _all_interfaces() -> str:
    """IPv6 and IPv4 at once where the machine can; Railway's private network needs the first."""
    try:
        _listen("::", 0).close()
    except (OSError, ValueError):
        return "0.0.0.0"
    return "::"
