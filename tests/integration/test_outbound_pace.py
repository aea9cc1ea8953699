"""The pace against the emulator: what a ban and a refusal do to real devices, judged from its ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """One account, both devices linked and online."""
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as stage:
        await stage.link_everybody()
        yield stage


async def _until(condition: Callable[[], Coroutine[Any, Any, bool]], patience: float = 30.0) -> None:
    ends = time.monotonic() + patience
    while not await condition():
        assert time.monotonic() < ends, "waited in vain"
        await asyncio.sleep(0.05)


async def _sending(scene: Scene) -> Mapping[str, Any]:
    [account] = await scene.tandem.accounts()
    sending: Mapping[str, Any] = account["sending"]
    return sending


async def _attempts(scene: Scene) -> int:
    ledger = await scene.emulator.call("GET", "/control/ledger")
    return sum(entry["attempts"] for entry in ledger["messages"])


async def _state(scene: Scene, row: str) -> str:
    return str((await scene.tandem.outbox(row))["status"])


async def test_a_ban_of_one_device_stops_both_until_its_end_and_then_all_goes(scene: Scene) -> None:
    actor = scene.actors[0]
    await scene.emulator.fault("login_failure", number=actor.number, device=1, reason=402, code=101, expire=12, count=1)
    await scene.emulator.fault("drop", number=actor.number, device=1)
    await _until(lambda: _is_sending(scene, "banned"))
    rows = [await scene.tandem.send(actor.account, actor.contact, f"out {n}", f"ban-{n}") for n in range(3)]
    until = (await _sending(scene))["pausedUntil"] / 1000
    while time.time() < until - 1:
        assert await _attempts(scene) == 0, "something was sent during a ban"
        await asyncio.sleep(0.2)
    assert {await _state(scene, row) for row in rows} == {"queued"}
    await _until(lambda: _all_sent(scene, rows), 60)
    shown = await scene.emulator.shown_to(actor.contact)
    assert [(each["text"], each["times"]) for each in shown] == [(f"out {n}", 1) for n in range(3)]


async def test_a_restriction_of_new_contacts_is_told_and_lets_conversations_go_on(scene: Scene) -> None:
    actor, cold, other = scene.actors[0], "+13035550198", "+13035550199"
    friend = await scene.tandem.send(actor.account, actor.contact, "we talk", "k1")
    await _until(lambda: _all_sent(scene, [friend]))
    await scene.emulator.fault("send_nack", number=actor.number, code=463, count=1)
    refused = await scene.tandem.send(actor.account, cold, "hello", "k2")
    await _until(lambda: _is_state(scene, refused, "failed"))
    stranger = await scene.tandem.send(actor.account, other, "hello", "k3")
    again = await scene.tandem.send(actor.account, actor.contact, "still here", "k4")
    await _until(lambda: _all_sent(scene, [again]))
    assert await _state(scene, stranger) == "queued"
    sending = await _sending(scene)
    assert (sending["state"], sending["perMinute"]) == ("slowed", 60)
    assert "new contacts" in sending["reason"]
    assert any('"rate_limit_detected"' in line for line in scene.daemon.lines)


async def _is_sending(scene: Scene, state: str) -> bool:
    return bool((await _sending(scene))["state"] == state)


async def _is_state(scene: Scene, row: str, state: str) -> bool:
    return await _state(scene, row) == state


async def _all_sent(scene: Scene, rows: list[str]) -> bool:
    return {await _state(scene, row) for row in rows} <= {"sent", "delivered", "read"}
