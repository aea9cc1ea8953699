"""One attempt to tell an endpoint. Whatever goes wrong is an outcome; nothing of it names the URL or the content."""

from __future__ import annotations

import asyncio
import ssl
from typing import Self

import aiohttp
import structlog

from tandem import __version__
from tandem.clock import Clock
from tandem.delivery.runner import Outcome
from tandem.queue.delivery_rows import Parcel
from tandem.webhook.address import PrivateAddress, PublicResolver
from tandem.webhook.endpoint import Endpoint
from tandem.webhook.signature import headers

_log = structlog.get_logger(__name__)
_TAKEN, _MOVED = range(200, 300), range(300, 400)


class Sender:
    """Use within ``async with``. ``timeout`` in seconds holds for a whole attempt."""

    def __init__(self, clock: Clock, *, timeout: float, allow_private: bool, most: int) -> None:
        self._clock = clock
        self._timeout = timeout
        self._allow_private = allow_private
        self._most = most
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        resolver = None if self._allow_private else PublicResolver()
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=0, limit_per_host=self._most)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": f"tandem/{__version__}", "content-type": "application/json"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, endpoint: Endpoint, parcel: Parcel) -> Outcome:
        """Post a parcel, signed. Redirects are refused: the address they lead to was never looked at."""
        try:
            return await self._post(endpoint, parcel)
        except TimeoutError:
            return Outcome(False, f"no answer within {self._timeout:g} s")
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            return Outcome(False, _words(error))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - one endpoint's oddity must not end its deliveries
            _log.warning("webhook_failed", endpoint=endpoint.name, reason=type(error).__name__)
            return Outcome(False, f"it failed ({type(error).__name__})")

    async def _post(self, endpoint: Endpoint, parcel: Parcel) -> Outcome:
        if self._session is None:
            raise RuntimeError("use the sender within async with")
        signed = headers(endpoint.key, parcel.id, int(self._clock.now()), parcel.payload)
        call = self._session.post(endpoint.url, data=parcel.payload, headers=signed, allow_redirects=False)
        async with call as response:
            if response.status in _TAKEN:
                return Outcome(True, f"it answered {response.status}")
            if response.status in _MOVED:
                return Outcome(False, f"it answered {response.status}, and redirects are not followed")
            return Outcome(False, f"it answered {response.status}", _asked(response.headers.get("Retry-After", "")))


def _words(error: Exception) -> str:
    """Why, without the address."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, PrivateAddress) or isinstance(cause, PrivateAddress):
        return "its address is not public; TANDEM_WEBHOOK__ALLOW_PRIVATE=true allows it"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "its certificate or TLS is refused"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "it cannot be reached"
    return f"the connection failed ({type(error).__name__})"


def _asked(value: str) -> float:
    return float(value) if value.isascii() and value.isdigit() else 0.0
