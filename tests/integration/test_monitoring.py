"""What an operator hears, end to end: the real daemon, the real library, faults, a service that takes the alerts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(120)
_BACKUP = 2  # phones number their devices in the order in which they were linked


@dataclass
class Service:
    """Takes Apprise's JSON notices."""

    port: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(await request.json())
        return web.Response()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/alerts"

    @property
    def titles(self) -> list[str]:
        return [notice["title"].removeprefix("Tandem: ") for notice in self.got]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service, app = Service(), web.Application()
    app.router.add_post("/alerts", service.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.port = runner.addresses[0][1]
    yield service
    await runner.cleanup()


@pytest.fixture
async def scene(service: Service) -> AsyncIterator[Scene]:
    environment = {"ALERT_URLS": service.url, "TANDEM_ALERT__SETTLE": "1"}
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None, environment) as stage:
        await stage.link_everybody()
        yield stage


async def _get(scene: Scene, path: str) -> dict[str, Any]:
    async with ClientSession() as http, http.get(f"http://127.0.0.1:{scene.daemon.port}{path}") as response:
        assert response.status == 200, await response.text()
        return dict(await response.json())


async def _until(condition: Any, patience: float = 30.0) -> None:
    async with asyncio.timeout(patience):
        while not (await result if asyncio.iscoroutine(result := condition()) else result):
            await asyncio.sleep(0.1)


async def _tandem(scene: Scene, *arguments: str, **environment: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tandem.cli", *arguments),
        env={**os.environ, "TANDEM_URL": f"http://127.0.0.1:{scene.daemon.port}", **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_a_device_that_the_phone_removed_is_told_once_and_its_return_too(scene: Scene, service: Service) -> None:
    actor = scene.actors[0]
    assert (await _get(scene, "/api/alerts"))["alerts"] == []
    await scene.emulator.fault("device_removed", number=actor.number, device=_BACKUP)
    await _until(lambda: "slot_stopped" in service.titles, 15)
    (alert,) = (await _get(scene, "/api/alerts"))["alerts"]
    assert (alert["rule"], alert["severity"], alert["slot"]) == ("slot_stopped", "critical", "backup")
    assert "link it again" in alert["todo"]
    assert "What to do" in service.got[0]["message"]
    code, printed = await _tandem(scene, "alerts", "list")
    assert code == 1
    assert "slot_stopped" in printed
    await scene.tandem.pair(actor.account, "backup")
    await scene.emulator.scan(actor.number, await scene.tandem.qr(actor.account, "backup"))
    await scene.everybody_online()
    await _until(lambda: "over: slot_stopped" in service.titles)
    assert service.titles.count("slot_stopped") == service.titles.count("over: slot_stopped") == 1
    assert await _tandem(scene, "alerts", "list") == (0, "Nothing fires.\n")
    types = [event["type"] for event in (await _get(scene, "/api/events?limit=100"))["events"]]
    assert types.count("alert") == types.count("alert_resolved") == 1


async def test_a_failover_is_counted_in_metrics_and_report_and_outlives_the_daemon(scene: Scene) -> None:
    actor = scene.actors[0]
    await scene.emulator.write(actor.contact, actor.number, "hello")
    [host] = [host for host in scene.daemon.hosts() if host.slot == "primary"]
    os.kill(host.pid, signal.SIGKILL)
    await _until(lambda: scene.log.moves)
    await scene.everybody_online()
    total = (await _get(scene, "/api/metrics"))["metrics"]["total"]
    assert (total["disconnects"], total["reconnects"]) == (1, 1)
    await scene.stop_daemon()  # writes the rest of the day down
    await scene.restart_daemon()
    await scene.everybody_online()
    report = (await _get(scene, "/api/report/daily"))["report"]
    (account,) = report["accounts"]
    assert account["counts"]["failovers"] == 1
    assert account["counts"]["received"] == 1
    assert account["counts"]["disconnects"] == 1
    assert account["inbound"]["count"] == 1
    assert account["inbound"]["p99"] is not None
    assert account["roleMoved"]["count"] == 1
    assert account["roleMoved"]["p99"] <= 0.25
    assert account["recovered"]["count"] >= 1
    assert [incident["cause"] for incident in account["incidents"]] == ["the daemon was not running: it was stopped"]
    assert report["writes"] == 2  # the message and its chat
    seen = [event["type"] for event in (await _get(scene, "/api/events?limit=200"))["events"]]
    assert "switched_to_backup" in seen  # told before the restart, shown after it
    code, printed = await _tandem(scene, "report")
    assert code == 0
    assert actor.account in printed


async def test_whoever_sets_a_channel_up_can_try_it(scene: Scene, service: Service) -> None:
    code, printed = await _tandem(scene, "alerts", "test", ALERT_URLS=service.url)
    assert code == 0
    assert "taken" in printed
    assert service.titles == ["test"]
    code, printed = await _tandem(scene, "alerts", "test", ALERT_URLS="json://127.0.0.1:9/away")
    assert code == 1
    assert "REFUSED" in printed
