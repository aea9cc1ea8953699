"""A rival that always takes a slot's keys back, played by the emulator: few logins, an alert, and the pair goes on."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(180)
DUEL_SECONDS = 120.0


def _events(scene: Scene, name: str, slot: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in scene.daemon.lines if line.startswith("{")]
    return [line for line in lines if line.get("event") == name and line.get("slot") == slot]


async def test_a_duel_for_the_keys_ends_parked_after_three_logins_while_the_partner_serves() -> None:
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as scene:
        await scene.link_everybody()
        actor = scene.actors[0]
        before = len(_events(scene, "session_online", "primary"))
        began = time.monotonic()
        await scene.emulator.fault("conflict", number=actor.number, device=1, seconds=DUEL_SECONDS)
        await scene.tandem.wait_for_slot(actor.account, "primary", "parked", 60.0)
        assert time.monotonic() - began < 60.0
        await asyncio.sleep(3)
        assert len(_events(scene, "session_online", "primary")) - before <= 3
        [parked] = _events(scene, "session_parked", "primary")
        assert parked["level"] == "error"
        await scene.tandem.send(actor.account, actor.contact, "served", "served")
        ends = time.monotonic() + 10
        while not await scene.emulator.shown_to(actor.contact):
            assert time.monotonic() < ends
            await asyncio.sleep(0.1)


async def test_a_stall_while_the_partner_waits_out_a_conflict_is_mended_within_seconds() -> None:
    """The partner lost its keys' connection a moment ago, and now the active slot stalls under a send."""
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as scene:
        await scene.link_everybody()
        actor = scene.actors[0]
        await scene.emulator.fault("conflict", number=actor.number, device=2)
        await scene.tandem.wait_for_slot(actor.account, "backup", "conflict", 10.0)
        await scene.emulator.fault("no_send_ack", number=actor.number, device=1, seconds=2.5, deliver=False)
        began = time.monotonic()
        await scene.tandem.send(actor.account, actor.contact, "in need", "in-need")
        await _until_shown(scene, 20.0)
        print(f"stalled beside a conflict: sent after {time.monotonic() - began:.1f} s")
        assert [message["times"] for message in await scene.emulator.shown_to(actor.contact)] == [1]
        mended = [line for line in scene.daemon.lines if "the partner is not well" in line]
        assert mended, "the stalled slot was not made anew at once"


async def _until_shown(scene: Scene, patience: float) -> None:
    ends = time.monotonic() + patience
    while not await scene.emulator.shown_to(scene.actors[0].contact):
        assert time.monotonic() < ends, "waited in vain"
        await asyncio.sleep(0.05)
