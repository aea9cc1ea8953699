"""Looks at the other regions' ``/health``, for people and for a sooner look at the heartbeats. It decides nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import aiohttp
import structlog

from tandem import __version__
from tandem.clock import Clock
from tandem.model.cluster_view import RegionState, RegionView
from tandem.model.event import EventType, Publish
from tandem.policy.regions import Place, Standing, after_look

_log = structlog.get_logger(__name__)
TIMEOUT = 5.0  # seconds
_MOST_BYTES = 65_536
_STATUSES = frozenset({"healthy", "degraded", "down"})


@dataclass(frozen=True, slots=True)
class _Look:
    """``detail`` in words: why it counts as a failure, or how the region says it is."""

    answered: bool
    detail: str


class Regions:
    """``run`` is its task. ``look`` is called after each failed look; ``every`` in seconds, from look to look."""

    def __init__(
        self,
        places: Sequence[Place],
        *,
        every: float,
        patience: int,
        look: Callable[[], None],
        clock: Clock,
        publish: Publish,
        timeout: float = TIMEOUT,
    ) -> None:
        self._views = {place.name: RegionView(place.name, place.url) for place in places}
        self._every = every
        self._patience = patience
        self._look = look
        self._clock = clock
        self._publish = publish
        self._timeout = timeout

    def views(self) -> tuple[RegionView, ...]:
        """Return how each region looked last."""
        return tuple(self._views.values())

    async def run(self) -> None:
        """Look at every region, then wait; for ever. Without any region: do nothing, for ever."""
        if not self._views:
            await asyncio.Event().wait()
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": f"tandem/{__version__}", "accept": "application/json"},
        )
        async with session:
            while True:
                await asyncio.gather(*(self._visit(session, name) for name in self._views))
                await self._clock.sleep(self._every)

    async def _visit(self, session: aiohttp.ClientSession, name: str) -> None:
        began = self._clock.monotonic()
        look = await _ask(session, self._views[name].url, self._timeout)
        took = (self._clock.monotonic() - began) * 1000 if look.answered else None
        self._note(name, look, took)
        if not look.answered:
            self._look()

    def _note(self, name: str, look: _Look, took: float | None) -> None:
        view = self._views[name]
        before = Standing(view.state, view.failures)
        after = after_look(before, answered=look.answered, patience=self._patience)
        checked = self._clock.now()
        self._views[name] = replace(
            view,
            state=after.state,
            failures=after.failures,
            last_checked=checked,
            latency_ms=took,
            detail=look.detail,
        )
        self._tell(name, before, after, look.detail)

    def _tell(self, name: str, before: Standing, after: Standing, detail: str) -> None:
        if after.state is RegionState.UNHEALTHY and before.state is not RegionState.UNHEALTHY:
            words = (
                f"Region {name} does not answer: {after.failures} looks in a row failed, the last one because {detail}"
            )
            self._publish(EventType.REGION_UNHEALTHY, words, reason=detail, region=name, failures=after.failures)
        if after.state is RegionState.HEALTHY and before.state is RegionState.UNHEALTHY:
            words = f"Region {name} answers again after {before.failures} failed looks"
            self._publish(EventType.REGION_HEALTHY, words, reason=detail, region=name, failures=before.failures)


async def _ask(session: aiohttp.ClientSession, url: str, timeout: float) -> _Look:
    """Return what a look found; whatever goes wrong is an outcome."""
    try:
        async with session.get(f"{url}/health", allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004 - /health always answers 200
                return _Look(False, f"it answered {response.status}")
            return _read(await _body(response))
    except TimeoutError:
        return _Look(False, f"it did not answer within {timeout:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return _Look(False, _words(error))
    except Exception as error:  # noqa: BLE001 - an odd answer must not end the looking
        _log.warning("region_look_failed", message="A region's answer could not be read", reason=type(error).__name__)
        return _Look(False, f"the look failed ({type(error).__name__})")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for part in response.content.iter_any():
        body += part
        if len(body) > _MOST_BYTES:
            break
    return body


def _read(body: bytes) -> _Look:
    try:
        health = json.loads(body)
        status = health["status"]
    except (ValueError, KeyError, TypeError):
        status = None
    if not isinstance(status, str) or status not in _STATUSES:
        return _Look(False, "what answers there is not Tandem")
    return _Look(True, f"it says that it is {status}")


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, aiohttp.ClientSSLError):
        return "its certificate is not to be trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nothing listens there, or it cannot be reached"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "it broke the connection off"
    return f"it answered nothing of use ({type(error).__name__})"
