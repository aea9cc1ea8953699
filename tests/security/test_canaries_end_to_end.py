"""Secrets put through the whole system, real daemon and emulator, then looked for wherever things are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import BasicAuth, ClientError, ClientSession, web

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(120)
ADMIN = "admin-token-canary-31c7aa"
READER = "reader-token-canary-90be12"
TEXT = "canary-message-text-5d20"
ANSWER = "canary-answer-text-77f1"
ALERT_PASSWORD = "alert-password-canary-0c"
ALERT_PATH = "alert-path-canary-4e"
HOOK_PATH = "hook-path-canary-b8"
HOOK_SECRET = "hook-secret-canary-2a9d6f"
_BACKUP = 2


@dataclass
class Services:
    """Take alerts and webhooks. ``alerts`` is what people would read."""

    port: int = 0
    alerts: list[str] = field(default_factory=list)
    hooks: int = 0
    refusals: int = 1

    async def alert(self, request: web.Request) -> web.Response:
        if self.refusals:  # so that the failure is told of as well
            self.refusals -= 1
            return web.Response(status=500)
        assert BasicAuth.decode(request.headers["Authorization"]).password == ALERT_PASSWORD
        self.alerts.append(await request.text())
        return web.Response()

    async def hook(self, _request: web.Request) -> web.Response:
        self.hooks += 1
        return web.Response(status=500 if self.hooks == 1 else 200)

    def environment(self) -> dict[str, str]:
        return {
            "TANDEM_API_TOKEN": ADMIN,
            "TANDEM_READ_TOKEN": READER,
            "TANDEM_LOG__LEVEL": "debug",
            "ALERT_URLS": f"json://operator:{ALERT_PASSWORD}@127.0.0.1:{self.port}/{ALERT_PATH}",
            "TANDEM_WEBHOOK__URLS": f"http://127.0.0.1:{self.port}/{HOOK_PATH}",
            "TANDEM_WEBHOOK__SECRET": HOOK_SECRET,
            "TANDEM_WEBHOOK__ALLOW_PRIVATE": "true",
            "TANDEM_API__HOST": "127.0.0.1",
        }


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    services, app = Services(), web.Application()
    app.router.add_post(f"/{ALERT_PATH}", services.alert)
    app.router.add_post(f"/{HOOK_PATH}", services.hook)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    services.port = runner.addresses[0][1]
    yield services
    await runner.cleanup()


@pytest.fixture
async def scene(services: Services) -> AsyncIterator[Scene]:
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None, services.environment()) as stage:
        yield stage


class Listener:
    """Hears the event stream from the beginning."""

    def __init__(self, scene: Scene) -> None:
        self.heard: list[str] = []
        self._url = f"http://127.0.0.1:{scene.daemon.port}/api/events/stream"

    async def run(self) -> None:
        with contextlib.suppress(ClientError):  # the daemon ends
            async with ClientSession() as http, http.get(self._url, headers=_bearer(ADMIN)) as stream:
                async for line in stream.content:
                    self.heard.append(line.decode())


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _until(condition: object, patience: float = 30.0) -> None:
    async with asyncio.timeout(patience):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.1)


async def _link(scene: Scene) -> tuple[str, list[str]]:
    """Link both slots, then show a pairing code as well. Returns the account and every secret that was shown."""
    actor = scene.actors[0]
    await scene.emulator.add_phone(actor.number, actor.name)
    account = await scene.tandem.add_account(actor.name, actor.number)
    shown = []
    for slot in ("primary", "backup"):
        await scene.tandem.pair(account, slot)
        shown.append(await scene.tandem.qr(account, slot))
        await scene.emulator.scan(actor.number, shown[-1])
        await scene.tandem.wait_for_slot(account, slot, "online", 30)
    await scene.everybody_online()
    return account, shown


async def _lose_the_backup(scene: Scene, account: str, services: Services) -> str:
    """The phone removes the backup, people are told; return the pairing code that is shown for it then."""
    await scene.emulator.fault("device_removed", number=scene.actors[0].number, device=_BACKUP)
    await scene.tandem.wait_for_slot(account, "backup", "logged_out", 30)
    await _until(lambda: any("slot_stopped" in alert for alert in services.alerts))
    await scene.tandem.call("POST", f"/api/whatsapp/account/{account}/pair", {"slot": "backup", "method": "code"})
    return await scene.tandem.qr(account, "backup")


async def _mistakes(scene: Scene, account: str, secrets: list[str]) -> str:
    """Return what every mistake was answered with."""
    told = []
    base, (contact, number) = f"http://127.0.0.1:{scene.daemon.port}", (scene.actors[0].contact, scene.actors[0].number)
    async with ClientSession() as http:
        for method, path, token, body in (
            ("POST", "/api/whatsapp/add-account", ADMIN, f'{{"phone": "{number}", "name": 5}}'),
            ("POST", "/api/whatsapp/add-account", ADMIN, f"{TEXT} {secrets[0]}"),
            ("POST", f"/api/whatsapp/send/{account}/{contact}x", ADMIN, f'{{"message": "{TEXT}"}}'),
            ("POST", f"/api/whatsapp/send/{account}/{contact}", ADMIN, f'{{"massage": "{TEXT}"}}'),
            ("GET", f"/api/whatsapp/{contact}?token={ADMIN}", ADMIN, ""),
            ("GET", f"/api/events?account={number}", ADMIN, ""),
            ("GET", "/api/whatsapp/accounts", f"{ADMIN}x", ""),
            ("DELETE", f"/api/whatsapp/account/{account}", READER, ""),
        ):
            async with http.request(method, base + path, data=body.encode(), headers=_bearer(token)) as answer:
                assert answer.status >= 400
                told.append(await answer.text() + str(answer.headers))
    return "\n".join(told)


async def _figures(scene: Scene) -> dict[str, str]:
    told = {}
    async with ClientSession(headers=_bearer(READER)) as http:
        for path in (
            "/health", "/readyz", "/metrics", "/api/metrics", "/api/alerts", "/api/events?limit=1000",
            "/api/report/daily", "/api/whatsapp/accounts", "/openapi.json",
        ):  # fmt: skip
            async with http.get(f"http://127.0.0.1:{scene.daemon.port}{path}") as answer:
                assert answer.status == 200, path
                told[path] = await answer.text()
    return told


async def test_the_whole_system_tells_no_secret(scene: Scene, services: Services) -> None:
    listener = Listener(scene)
    listening = asyncio.create_task(listener.run())
    try:
        account, shown = await _link(scene)
        actor = scene.actors[0]
        await scene.emulator.write(actor.contact, actor.number, TEXT)
        await scene.tandem.send(account, actor.contact, ANSWER, "canary-key")
        await _until(lambda: services.hooks >= 4)  # the first of them was refused and came again
        shown.append(await _lose_the_backup(scene, account, services))
        told = {"problems": await _mistakes(scene, account, shown), **await _figures(scene)}
        assert await scene.daemon.child.end() == 0
        await asyncio.wait([listening], timeout=5)
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
    told |= {
        "log": "\n".join(scene.daemon.lines),
        "stream": "".join(listener.heard),
        "alerts": "".join(services.alerts),
    }
    assert told["log"].count("\n") > 50
    assert "slot_stopped" in told["stream"]
    numbers = [each.removeprefix("+") for each in (actor.number, actor.contact)]
    codes = [shown[-1], shown[-1].replace("-", "")]
    parts = [part for qr in shown[:2] for part in qr.partition("@")[2].split(",") if len(part) > 20]
    assert len(parts) >= 6
    secrets = [ADMIN, READER, TEXT, ANSWER, ALERT_PASSWORD, ALERT_PATH, HOOK_PATH, HOOK_SECRET, *codes, *parts]
    for where, text in told.items():
        for secret in [*secrets, *numbers, *(each[1:] for each in numbers)]:
            assert secret not in text, f"{where} tells {secret[:8]}…"
