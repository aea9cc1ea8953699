"""What is answered while another Tandem still runs on the data directory: how it is, and that one has to come again.

Whoever asks is told the same, whatever token he brings: there is nothing here yet to have access to.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from tandem.api import auth, health
from tandem.api.context import CLOCK, RANDOM, Access
from tandem.api.endpoint import Endpoint, Handler
from tandem.api.ports import About
from tandem.api.respond import answer
from tandem.api.server import envelope, harden
from tandem.api.views import Health, Readiness
from tandem.clock import Clock, Random
from tandem.errors import InstancePassive
from tandem.model.cluster_view import ClusterRole
from tandem.settings import Settings

PASSIVE = str(ClusterRole.PASSIVE)
_COME_AGAIN = 2.0
_WORDS = "another Tandem runs on this data directory, and this one takes over when it has ended: ask again in a moment"


class Doorway:
    """``entered``: since the other one has ended, this one starts; it is not ready until then."""

    def __init__(self, settings: Settings, about: About, entered: Callable[[], bool]) -> None:
        self._settings = settings
        self._about = about
        self._entered = entered

    def application(self, clock: Clock, random: Random) -> web.Application:
        """Return the aiohttp application, ready to be served."""
        app = web.Application(middlewares=[envelope, self._admit])
        app[CLOCK], app[RANDOM] = clock, random
        endpoints = (
            Endpoint("GET", "/livez", health.livez, Access.NONE, "Alive.", quiet=True),
            Endpoint("GET", "/readyz", self._readyz, Access.NONE, "Ready to take over, or starting.", quiet=True),
            Endpoint("GET", "/health", self._health, Access.NONE, "How it is.", quiet=True),
        )
        app[auth.ENDPOINT] = {(endpoint.method, endpoint.path): endpoint for endpoint in endpoints}
        for endpoint in endpoints:
            app.router.add_get(endpoint.path, endpoint.handler)
        app.router.add_route("*", "/{path:.*}", _passive)
        app.on_response_prepare.append(harden)
        return app

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._settings.api_token is None:
            auth.only_this_machine(request)
        return await handler(request)

    async def _readyz(self, _request: web.Request) -> web.Response:
        """Ready: a platform that ends the old instance only when the new one is would otherwise wait for ever."""
        if self._entered():
            return answer(Readiness(ready=False, reason="starting"), status=503)
        return answer(Readiness(ready=True, reason=None, role=PASSIVE))

    async def _health(self, _request: web.Request) -> web.Response:
        about = self._about
        return answer(
            Health(
                status="degraded" if self._entered() else health.overall(()),
                version=about.version,
                commit=about.commit,
                instance=about.instance,
                role=PASSIVE,
                accounts=health.counts(()),
                emulator=self._settings.emulator is not None,
            )
        )


async def _passive(_request: web.Request) -> web.StreamResponse:
    raise InstancePassive(_WORDS, _COME_AGAIN)
