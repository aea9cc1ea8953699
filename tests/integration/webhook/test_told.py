"""Receipts and webhooks end to end: real daemon, real library, real receiver, and ``kill -9``."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from integration.webhook.test_webhook_http import SECRET, server, verified
from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(180)


@dataclass
class Receiver:
    """Fails every third time, so that there is always something to repeat."""

    events: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    calls: int = 0
    forged: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.forged += not verified(request, body)
        self.calls += 1
        if self.calls % 3 == 0:
            return web.Response(status=503)
        if request.headers["webhook-id"] not in self.ids:
            self.ids.append(request.headers["webhook-id"])
            self.events.append(await request.json())
        return web.Response()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events if event["type"] == kind]


@pytest.fixture
async def told() -> AsyncIterator[tuple[Scene, Receiver]]:
    receiver = Receiver()
    async with server(receiver.answer) as url:
        environment = {
            "TANDEM_WEBHOOK__URLS": url,
            "TANDEM_WEBHOOK__SECRET": SECRET,
            "TANDEM_WEBHOOK__ALLOW_PRIVATE": "true",
        }
        async with Scene(DemoOptions(accounts=1), lambda _sentence: None, environment) as scene:
            await scene.link_everybody()
            yield scene, receiver


async def until(condition: Any, patience: float = 60.0) -> None:
    ends = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        await asyncio.sleep(0.1)


def stored(scene: Scene) -> dict[str, tuple[int, int | None, int | None]]:
    """Status and times of own messages in the store, by text, read behind the daemon's back."""
    with sqlite3.connect(f"file:{scene.data}/store.db?mode=ro", uri=True) as database:
        rows = database.execute("SELECT text, status, delivered_at, read_at FROM messages WHERE from_me").fetchall()
    return {text: (status, delivered, read) for text, status, delivered, read in rows}


async def write(scene: Scene, label: str, count: int) -> list[str]:
    actor = scene.actors[0]
    texts = [f"in {label} {number}" for number in range(count)]
    for text in texts:
        await scene.emulator.write(actor.contact, actor.number, text)
    return texts


async def send(scene: Scene, label: str, count: int) -> list[str]:
    actor = scene.actors[0]
    texts = [f"out {label} {number}" for number in range(count)]
    for text in texts:
        await scene.tandem.send(actor.account, actor.contact, text, text.replace(" ", "-"))
    return texts


async def reads(scene: Scene) -> None:
    """From now on the contact reads what it gets."""
    await scene.emulator.call("POST", "/control/contacts", {"number": scene.actors[0].contact, "reads": True})


async def test_nothing_is_left_untold_though_the_daemon_dies_again_and_again(told: tuple[Scene, Receiver]) -> None:
    scene, receiver = told
    incoming, outgoing = [], []
    for round_ in range(3):
        incoming += await write(scene, f"round {round_}", 8)
        outgoing += await send(scene, f"round {round_}", 3)
        await asyncio.sleep(0.1 * round_)
        await scene.daemon.child.end(signal.SIGKILL)
        await scene.restart_daemon()
        await scene.everybody_online()
    everything = set(incoming) | set(outgoing)
    await until(
        lambda: {each["body"] for kind in ("received", "sent") for each in receiver.of(f"message.{kind}")} >= everything
    )
    assert [each["body"] for each in receiver.of("message.received")] == incoming  # in order, each once by its id
    assert sorted(each["body"] for each in receiver.of("message.sent")) == sorted(outgoing)
    await until(lambda: all(status >= 2 for status, _, _ in stored(scene).values()))
    sent = {each["id"]: each["body"] for each in receiver.of("message.sent") if each["status"] == "sent"}
    await until(lambda: set(sent) <= {each["id"] for each in receiver.of("message.status")})
    assert receiver.forged == 0
    assert {each["status"] for each in receiver.of("account.status")} >= {"online"}
    assert set(stored(scene)) == set(outgoing)


async def test_receipts_bring_the_status_forward_though_the_primary_is_down_when_they_come(
    told: tuple[Scene, Receiver],
) -> None:
    """WhatsApp keeps receipts for the device that is away, as it keeps messages."""
    scene, receiver = told
    await reads(scene)
    for host in scene.daemon.hosts():
        if host.slot == "primary":
            os.kill(host.pid, signal.SIGKILL)
    texts = await send(scene, "without primary", 5)
    await until(lambda: all(stored(scene).get(text, (0,))[0] == 3 for text in texts))
    for _, delivered, read in stored(scene).values():
        assert delivered is not None
        assert read is not None
        assert delivered <= read
    await until(lambda: sum(each["status"] == "read" for each in receiver.of("message.status")) == 5)


async def test_one_poison_receipt_takes_one_slot_and_receipts_go_on(told: tuple[Scene, Receiver]) -> None:
    scene, _ = told
    before = {host.slot: host.pid for host in scene.daemon.hosts()}
    await scene.emulator.fault("unknown_receipt", type="view")
    await until(
        lambda: {host.slot: host.pid for host in scene.daemon.hosts()}.get("primary") not in {None, before["primary"]}
    )
    await scene.everybody_online()
    assert {host.slot: host.pid for host in scene.daemon.hosts()}["backup"] == before["backup"]
    texts = await send(scene, "after poison", 3)
    await until(lambda: all(stored(scene).get(text, (0,))[0] >= 2 for text in texts))
