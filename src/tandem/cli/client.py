"""Talks to a running daemon over HTTP, with nothing but the standard library: these commands have to start fast."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

import typer

from tandem.errors import Misconfigured, TandemError

_TIMEOUT = 10.0  # seconds
_STREAM_TIMEOUT = 60.0  # seconds; the daemon says something every 15
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="TANDEM_URL", help="Where the daemon is.", show_default="http://127.0.0.1:PORT"),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar=["TANDEM_API_TOKEN", "TANDEM_READ_TOKEN"], help="Its token.", show_envvar=True),
]
Json = Annotated[bool, typer.Option("--json", help="The answer as JSON.")]


class Unreachable(TandemError):  # noqa: N818 - the tree is named in the field's words
    """No daemon answers there."""


class Denied(TandemError):  # noqa: N818 - the same
    """The daemon answered with a problem; the text is its detail."""

    def __init__(self, detail: str, status: int, retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Raise Unreachable if this is no JSON object: something else than Tandem answers there."""
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Unreachable("what answers there is not Tandem")
        return value


class Client:
    """Raises Misconfigured for an address that cannot be one."""

    def __init__(self, url: str | None, token: str | None) -> None:
        self.url = (url or f"http://127.0.0.1:{os.environ.get('PORT') or 5002}").rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Misconfigured(f"{self.url} is no address of a daemon: write http://HOST:PORT")
        self._token = token
        self._opener: OpenerDirector = build_opener(*([ProxyHandler({})] if parts.hostname in _LOOPBACK else []))

    @property
    def has_token(self) -> bool:
        return bool(self._token)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        accept: str = "application/json",
        key: str | None = None,
    ) -> Reply:
        """``key``: an Idempotency-Key. Raises Unreachable or Denied."""
        request = self._request(method, path, body, accept)
        if key is not None:
            request.add_header("Idempotency-Key", key)
        response = self._open(request, _TIMEOUT)
        with response:
            return Reply(response.status, dict(response.headers.items()), response.read())

    def get(self, path: str) -> dict[str, Any]:
        return self.call("GET", path).json()

    def stream(self, path: str) -> Iterator[dict[str, Any]]:
        """Return the events of a stream until it ends. Raises Unreachable or Denied."""
        response = self._open(self._request("GET", path, None, "text/event-stream"), _STREAM_TIMEOUT)
        with response:
            try:
                for line in response:
                    if line.startswith(b"data: {"):
                        yield json.loads(line[6:])
            except (OSError, HTTPException) as error:
                raise Unreachable(f"{self.url} went away ({error})") from None

    def _request(self, method: str, path: str, body: Mapping[str, object] | None, accept: str) -> Request:
        headers = {"Accept": accept, "User-Agent": "tandem-cli"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        return Request(self.url + path, data, headers, method=method)  # noqa: S310 - the scheme was checked

    def _open(self, request: Request, timeout: float) -> HTTPResponse:
        try:
            response: HTTPResponse = self._opener.open(request, timeout=timeout)
        except HTTPError as error:
            with error:
                raise Denied(_detail(error), error.code, _seconds(error.headers.get("Retry-After"))) from None
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"nothing answers at {self.url} ({reason}): is the daemon running?") from None
        return response


def _seconds(written: str | None) -> float:
    return float(written) if written and written.isdigit() else 1.0


def _detail(error: HTTPError) -> str:
    try:
        problem = json.loads(error.read())
        detail = str(problem.get("detail") or problem.get("reason") or error.reason)
        return detail + (_elsewhere(problem) if problem.get("error") == "instance_passive" else "")
    except (ValueError, AttributeError, OSError):
        return f"{error.code} {error.reason}"


def _elsewhere(problem: Mapping[str, Any]) -> str:
    """Say how the same command reaches the instance that runs the account."""
    holder, url = problem.get("holder"), problem.get("holderUrl")
    if url:
        return f"\n  the same command there ({holder or 'its instance'}): TANDEM_URL={url} tandem …"
    return f"\n  call it at {holder}, whose address is not known here" if holder else ""
