"""Sessions that are connected and bad, with real processes and the real library: found, in time, and nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from integration.test_end_to_end import _send, _shown, _stored, _until
from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene
from tandem.settings import SessionSettings

pytestmark = pytest.mark.timeout(120)
INTERVAL = 2.0
DEVICE = {"primary": 1, "backup": 2}
QUIET_ACCOUNTS = int(os.environ.get("QUIET_ACCOUNTS", "5"))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """One account, both devices linked and online, asked every two seconds."""
    settings = {"TANDEM_SESSION__PING_INTERVAL": f"{INTERVAL:g}"}
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None, settings) as stage:
        await stage.link_everybody()
        yield stage


class Traffic:
    """A contact that writes ten times a second, until told to stop."""

    def __init__(self, scene: Scene) -> None:
        self.ids: list[str] = []
        self._scene = scene

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._write())
        try:
            await _until(lambda: len(self.ids) > 5)
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _write(self) -> None:
        actor = self._scene.actors[0]
        while True:
            self.ids += await self._scene.emulator.write(actor.contact, actor.number, f"in {len(self.ids)}")
            await asyncio.sleep(0.1)

    async def all_stored_once(self) -> None:
        await _until(lambda: set(self.ids) <= set(_stored(self._scene)))
        stored = _stored(self._scene)
        assert {each: stored[each] for each in self.ids} == dict.fromkeys(self.ids, 1)


def _active(scene: Scene) -> str:
    return scene.log.active.get(scene.actors[0].account, "primary")


async def _slot(scene: Scene, slot: str) -> dict[str, Any]:
    (account,) = await scene.tandem.accounts()
    return next(each for each in account["slots"] if each["slot"] == slot)


def _events(scene: Scene, name: str) -> list[str]:
    return [line for line in scene.daemon.lines if name in line]


async def _moved_after(scene: Scene, since: float, moves: int) -> float:
    await _until(lambda: len(scene.log.moves) > moves, 20.0)
    return scene.log.moves[moves].at - since


async def test_healthy_means_silent_and_everything_is_shown(scene: Scene) -> None:
    traffic = Traffic(scene)
    async with traffic.flowing():
        await asyncio.sleep(3 * INTERVAL)
    await asyncio.sleep(3 * INTERVAL)
    assert not scene.log.moves
    assert not _events(scene, "proactive_reconnect")
    for name in DEVICE:
        slot = await _slot(scene, name)
        assert (slot["keepAliveSeconds"], slot["quality"], slot["qualityDetail"]) == (INTERVAL, 1.0, "")
        assert slot["pingMs"] > 0
    await traffic.all_stored_once()


@pytest.mark.parametrize("role", ["active", "standby"])
async def test_a_deaf_slot_is_found_by_its_partner_and_started_afresh(scene: Scene, role: str) -> None:
    active = _active(scene)
    deaf = active if role == "active" else {"primary": "backup", "backup": "primary"}[active]
    generation = (await _slot(scene, deaf))["generation"]
    traffic = Traffic(scene)
    async with traffic.flowing():
        await scene.emulator.fault("deaf", number=scene.actors[0].number, device=DEVICE[deaf])
        began = time.time()
        if role == "active":
            found = await _moved_after(scene, began, 0)
        else:
            await _until(lambda: bool(_events(scene, "proactive_reconnect")))
            found = time.time() - began
        print(f"deaf {role} found after {found:.2f} s")
        assert found < 3.0
        await _until(lambda: len(scene.log.ups) > 2)
        await scene.everybody_online()
        await asyncio.sleep(3.0)
    texts = await _send(scene, 3, "after")
    await traffic.all_stored_once()
    await _until(lambda: _delivered(scene, texts))
    assert await _shown(scene, scene.actors[0]) == Counter(texts)
    (event,) = _events(scene, "proactive_reconnect")
    assert "its partner has received" in event
    assert (await _slot(scene, deaf))["generation"] > generation
    assert len(scene.log.moves) == (role == "active")


async def _delivered(scene: Scene, texts: list[str]) -> bool:
    return set(texts) <= set(await _shown(scene, scene.actors[0]))


async def test_a_silent_stall_of_the_active_is_found_without_any_traffic(scene: Scene) -> None:
    await asyncio.sleep(0.7 * INTERVAL)
    await scene.emulator.fault("stall", number=scene.actors[0].number, device=DEVICE[_active(scene)], seconds=20)
    found = await _moved_after(scene, time.time(), 0)
    print(f"stall without traffic: role moved after {found:.2f} s")
    assert found < INTERVAL + 2.5


async def test_a_silent_stall_is_found_at_the_usual_interval_whenever_it_begins() -> None:
    """Several accounts that nobody writes to, each struck at another moment between two pings."""
    usual = SessionSettings().ping_interval
    async with Scene(DemoOptions(accounts=QUIET_ACCOUNTS), lambda _sentence: None) as scene:
        await scene.link_everybody()
        struck: dict[str, float] = {}
        for actor in reversed(scene.actors):  # their pings follow one another as they were linked
            await asyncio.sleep(usual / QUIET_ACCOUNTS)
            await scene.emulator.fault("stall", number=actor.number, device=DEVICE["primary"], seconds=60)
            struck[actor.account] = time.time()
        await _until(lambda: struck.keys() <= {move.account for move in scene.log.moves}, usual + 10)
        found = sorted(move.at - struck[move.account] for move in scene.log.moves)
        print(f"stall without traffic, pinged every {usual:g} s: role moved after", *(f"{each:.2f}" for each in found))
        assert len(found) == QUIET_ACCOUNTS
        assert found[-1] <= usual + 2.5


async def test_a_silent_stall_of_the_active_is_found_sooner_with_traffic() -> None:
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as scene:  # pinged every 10 s
        await scene.link_everybody()
        traffic = Traffic(scene)
        async with traffic.flowing():
            await scene.emulator.fault("stall", number=scene.actors[0].number, device=DEVICE[_active(scene)], seconds=8)
            found = await _moved_after(scene, time.time(), 0)
            print(f"stall with traffic: role moved after {found:.2f} s")
            assert found < 2.7
            await asyncio.sleep(1.0)
        await traffic.all_stored_once()


async def test_a_server_that_answers_everything_but_pings_is_found_by_quality(scene: Scene) -> None:
    await asyncio.sleep(INTERVAL + 0.5)
    await scene.emulator.fault("no_pings", number=scene.actors[0].number, device=DEVICE[_active(scene)], seconds=40)
    found = await _moved_after(scene, time.time(), 0)
    print(f"no pings: role moved after {found:.2f} s")
    assert found < 6 * (INTERVAL + 1.5)
    (event,) = _events(scene, "proactive_reconnect")
    assert "pings unanswered" in event
