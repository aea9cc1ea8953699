"""The sender against a real server on loopback that refuses, hangs, redirects and closes; the command beside it."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from tandem.clock import SystemClock
from tandem.delivery.runner import Outcome
from tandem.queue.delivery_rows import Parcel
from tandem.settings import WebhookSettings
from tandem.webhook.endpoint import endpoints_of
from tandem.webhook.sender import Sender

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"type": "webhook.test"}'
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

pytestmark = pytest.mark.timeout(60)


def verified(request: web.Request, body: bytes) -> bool:
    """What a receiver does, written from the specification."""
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()
    return hmac.compare_digest(wanted, request.headers["webhook-signature"])


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/hook", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    await runner.cleanup()


async def attempt(url: str, timeout: float = 5.0) -> Outcome:
    settings = WebhookSettings(urls=SecretStr(url), secret=SecretStr(SECRET), allow_private=True)
    [endpoint] = endpoints_of(settings)
    async with Sender(SystemClock(), timeout=timeout, allow_private=True, most=2) as sender:
        return await sender.send(endpoint, Parcel("msg_1", "", "", BODY))


async def test_a_receiver_can_verify_what_it_gets() -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(verified(request, await request.read()))
        return web.Response(status=204)

    async with server(answer) as url:
        assert await attempt(url) == Outcome(True, "it answered 204")
    assert seen == [True]


@pytest.mark.parametrize(
    ("status", "headers", "reason", "asked"),
    [
        (500, {}, "it answered 500", 0.0),
        (410, {}, "it answered 410", 0.0),
        (429, {"Retry-After": "17"}, "it answered 429", 17.0),
        (503, {"Retry-After": "Fri, 01 Jan 2027 00:00:00 GMT"}, "it answered 503", 0.0),
    ],
)
async def test_a_refusal_is_told_with_what_it_asks(
    status: int, headers: dict[str, str], reason: str, asked: float
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    async with server(answer) as url:
        assert await attempt(url) == Outcome(False, reason, asked)


async def test_a_redirect_is_not_followed() -> None:
    reached = []

    async def target(_: web.Request) -> web.Response:
        reached.append(1)
        return web.Response()

    async with server(target) as inside:

        async def answer(_: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(inside)

        async with server(answer) as url:
            outcome = await attempt(url)
    assert not outcome.taken
    assert "redirects are not followed" in outcome.reason
    assert reached == []


async def test_a_receiver_that_hangs_or_never_ends_its_answer_costs_the_timeout_at_most() -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    async with server(hang) as url:
        assert await attempt(url, 0.3) == Outcome(False, "no answer within 0.3 s")
    async with server(endless) as url:
        assert (await asyncio.wait_for(attempt(url, 0.5), 5)).taken  # what it says beyond 200 is not read


async def test_nobody_there_and_a_connection_that_is_cut() -> None:
    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with server(cut) as url:
        outcome = await attempt(url)
        assert not outcome.taken
    assert (await attempt(url)).reason == "it cannot be reached"
    assert url not in (await attempt(url)).reason


async def test_the_command_says_what_came_back(tmp_path: Path) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        assert verified(request, body)
        seen.append(json.loads(body)["type"])
        return web.Response(status=200 if len(seen) == 1 else 500)

    async with server(answer) as url:
        codes, said = [], []
        for _ in range(2):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tandem.cli", "webhook", "test",
                env={
                    "PATH": os.environ["PATH"],
                    "TANDEM_WEBHOOK__URLS": f"{url}?token=hidden",
                    "TANDEM_WEBHOOK__SECRET": SECRET,
                    "TANDEM_WEBHOOK__ALLOW_PRIVATE": "true",
                },
                cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            out, _ = await process.communicate()
            codes.append(process.returncode)
            said.append(out.decode())
    assert codes == [0, 1]
    assert seen == ["webhook.test", "webhook.test"]
    assert ": taken, it answered 200" in said[0]
    assert ": NOT TAKEN, it answered 500" in said[1]
    assert "hidden" not in "".join(said)
