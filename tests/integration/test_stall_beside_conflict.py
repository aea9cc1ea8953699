"""A fault at one slot while the other waits out a conflict; the duel itself is faults/test_conflict_duel.py."""

from __future__ import annotations

import asyncio
import time

import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(180)


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
