"""Death at every named point of a send, of the active host, the daemon, or both: delivered exactly once, in order.

The daemon is the real one with death built in (support/doomed_daemon.py), the library the real one, the server the
emulator; its ledger says what the contact's phone shows.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from crash.outbox.stage import AFTER_NETWORK, PROVEN, Fate, Stage, link_one
from support.doomed_daemon import ORDER, POINTS, DoomedScene
from tandem.demo.options import DemoOptions

pytestmark = pytest.mark.timeout(600)
EVERY_POINT = (*POINTS[:-2], *AFTER_NETWORK, *POINTS[-2:])


@pytest.mark.parametrize("victim", ["host", "daemon", "both"])
async def test_wherever_it_dies_the_message_arrives_exactly_once_and_in_order(tmp_path: Path, victim: str) -> None:
    fates: list[Fate] = []
    async with DoomedScene(DemoOptions(accounts=1), lambda _line: None, {ORDER: str(tmp_path / "order")}) as scene:
        await scene.link_everybody()
        stage = Stage(scene, tmp_path / "order")
        for point in EVERY_POINT:
            fates.append(await stage.die(point, victim, wait=Stage.proven))
            print(fates[-1])
            await scene.everybody_online()
        shown, order = await stage.shown(), await stage.in_order()

    assert {fate.state for fate in fates} <= set(PROVEN)
    assert shown == Counter(stage.sent)
    assert order == stage.sent


@pytest.mark.parametrize("victim", ["host", "daemon"])
async def test_without_a_witness_it_is_never_sent_twice_and_says_what_is_known(tmp_path: Path, victim: str) -> None:
    """One linked device: no echo. The recipient's receipt settles what arrived; what did not stays honestly unknown."""
    fates: list[Fate] = []
    async with DoomedScene(DemoOptions(accounts=1), lambda _line: None, {ORDER: str(tmp_path / "order")}) as scene:
        await link_one(scene)
        stage = Stage(scene, tmp_path / "order", paired=("primary",))
        for point in ("after sending commit", "after call frame", *AFTER_NETWORK, "after ack"):
            fates.append(await stage.die(point, victim, wait=Stage.at_rest))
            print(fates[-1])
        shown = await stage.shown()

    assert max(shown.values()) == 1
    for fate in fates:
        assert fate.state in ({*PROVEN} if fate.times else {"unknown"}), fate
    assert [fate.times for fate in fates if fate.point != "after network, server lost it"] == [1] * 4
