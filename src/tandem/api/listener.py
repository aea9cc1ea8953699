"""Listening for HTTP: the address, the socket, start and stop of whatever application is served there."""

from __future__ import annotations

import errno
import logging
import socket
from functools import cached_property

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from tandem.api.auth import loopback
from tandem.errors import Misconfigured
from tandem.settings import Settings

_log = structlog.get_logger()
_AT_LEAST = 0.001  # to aiohttp, 0 seconds are for ever


class PortTaken(Misconfigured):
    """Somebody else listens on the port."""


class Listener:
    """Serves one application from ``start`` to ``stop``. ``grace``: seconds that open requests have to end then."""

    def __init__(self, settings: Settings, grace: float) -> None:
        self._settings = settings
        self._grace = max(grace, _AT_LEAST)
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

    async def serve(self, application: web.Application) -> None:
        """Listen. Raises Misconfigured, saying what to do, if that is unsafe or impossible; PortTaken is one."""
        if self._settings.api_token is not None and not self._settings.api_token.get_secret_value().strip():
            raise Misconfigured("the api token is empty: set TANDEM_API_TOKEN (openssl rand -hex 32), or leave it out")
        if self._settings.api_token is None and not loopback(self.host):
            raise Misconfigured(
                f"refusing to listen on {self.host} without a token: set TANDEM_API_TOKEN (openssl rand -hex 32), "
                "or listen on 127.0.0.1"
            )
        logging.getLogger("aiohttp.server").addFilter(_no_malformed)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=self._grace)
        await self._runner.setup()
        try:
            listening = _listen(self.host, self._settings.port)
            await web.SockSite(self._runner, listening).start()
        except OSError as error:
            await self.stop()
            raise self._why_not(error) from None
        self._port = self._runner.addresses[0][1]
        _log.info("api_listening", message=f"Listening on {self.url}", host=self.host, port=self._port)

    async def stop(self) -> None:
        """Stop listening and let open requests end, event streams first. May be called at any time, repeatedly."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _why_not(self, error: OSError) -> Misconfigured:
        where = f"{self.host} port {self._settings.port}"
        if error.errno == errno.EADDRINUSE:
            return PortTaken(f"{where} is in use: stop what runs there (another Tandem?), or choose another PORT")
        if error.errno == errno.EACCES:
            return Misconfigured(f"{where} may not be used by this user: choose a PORT above 1023")
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            return Misconfigured(f"{self.host} is no address of this machine: change TANDEM_API__HOST")
        return Misconfigured(f"cannot listen on {where}: {error.strerror or error}")


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
