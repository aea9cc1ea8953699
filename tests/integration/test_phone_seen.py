"""The number's own phone: the emulator's phone scans, writes and reads; the daemon says when it was last seen."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(120)


async def _survival(scene: Scene) -> dict[str, Any]:
    got = await scene.tandem.call("GET", f"/api/whatsapp/account/{scene.actors[0].account}")
    survival: dict[str, Any] = got["account"]["survival"]
    return survival


async def _seen_after(scene: Scene, instant: float) -> float:
    """Wait until the phone is known to have been there after ``instant``, in Unix seconds; return when."""
    ends = time.monotonic() + 20
    while (at := float((await _survival(scene))["phoneLastSeenAt"]) / 1000) <= instant:
        assert time.monotonic() < ends, "the phone was not noticed"
        await asyncio.sleep(0.1)
    return at


async def test_the_phone_is_seen_when_it_scans_writes_and_reads_and_by_nothing_else() -> None:
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as scene:
        began = time.time()
        await scene.link_everybody()
        actor = scene.actors[0]
        scanned = await _seen_after(scene, began)
        assert (await _survival(scene))["phoneUnseenDays"] == 0

        await asyncio.sleep(2)  # WhatsApp's times are whole seconds
        (message,) = await scene.emulator.write(actor.contact, actor.number, "hello")
        sent = await scene.tandem.send(actor.account, actor.contact, "from a linked device", "key-1")
        async with asyncio.timeout(20):
            while (await scene.tandem.outbox(sent))["status"] != "delivered":
                await asyncio.sleep(0.1)
        assert (await _survival(scene))["phoneLastSeenAt"] / 1000 == scanned, (
            "linked devices and contacts prove nothing"
        )

        await scene.emulator.write(actor.number, actor.contact, "typed on the phone")
        written = await _seen_after(scene, scanned)
        await asyncio.sleep(2)
        await scene.emulator.read(actor.number, actor.contact, message)
        await _seen_after(scene, written)

        await scene.daemon.child.end(signal.SIGKILL)
        await scene.restart_daemon()
        assert (await _survival(scene))["phoneLastSeenAt"] / 1000 > began, "to the hour it is on the disk"
