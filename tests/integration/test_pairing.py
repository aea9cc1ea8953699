"""Pairing with the real library, real processes and the emulator's phones: what goes wrong harms nobody."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(120)
PATIENCE = 30.0
STRANGER = "+12025550177"


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """One account on its phone; its primary shows a QR."""
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as stage:
        await stage.emulator.add_phone(stage.actors[0].number, "Shop")
        await stage.tandem.add_account("Shop", stage.actors[0].number)
        yield stage


async def _account(scene: Scene) -> Mapping[str, Any]:
    return (await scene.tandem.accounts())[0]


async def _slot(scene: Scene, slot: str) -> Mapping[str, Any]:
    return next(each for each in (await _account(scene))["slots"] if each["slot"] == slot)


async def _reaches(scene: Scene, slot: str, reached: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while not reached(state := await _slot(scene, slot)):
            await asyncio.sleep(0.05)
    return state


async def _qr(scene: Scene, slot: str, *, not_this: str = "") -> str:
    account = (await _account(scene))["id"]
    async with asyncio.timeout(PATIENCE):
        while (text := await scene.tandem.qr(account, slot)) == not_this:
            await asyncio.sleep(0.05)
    return text


async def _scan(scene: Scene, slot: str, *, phone: str = "") -> None:
    await scene.emulator.scan(phone or scene.actors[0].number, await _qr(scene, slot))


async def _primary_online(scene: Scene) -> int:
    await _scan(scene, "primary")
    await _reaches(scene, "primary", lambda slot: slot["state"] == "online")
    return int((await _slot(scene, "primary"))["generation"])


def _kill_host(scene: Scene, slot: str) -> None:
    for host in scene.daemon.hosts():
        if host.slot == slot:
            os.kill(host.pid, signal.SIGKILL)


async def _names(scene: Scene) -> list[str]:
    phones = (await scene.emulator.call("GET", "/control/phones"))["phones"]
    ours = next(phone for phone in phones if phone["number"] == scene.actors[0].number.removeprefix("+"))
    return [device["name"] for device in ours["devices"]]


async def _events(scene: Scene) -> list[str]:
    return [event["type"] for event in (await scene.tandem.call("GET", "/api/events?limit=200"))["events"]]


async def test_incident_12_the_515_is_no_failure_and_the_second_slot_follows_by_itself(scene: Scene) -> None:
    for slot in ("primary", "backup"):
        await _scan(scene, slot)
    await scene.everybody_online()
    assert await _names(scene) == ["Tandem primary", "Tandem backup"]
    events = await _events(scene)
    assert not {"pairing_failed", "host_ended", "session_offline"} & set(events)
    assert (events.count("pairing_started"), events.count("pairing_succeeded")) == (2, 2)
    assert [slot["generation"] for slot in (await _account(scene))["slots"]] == [1, 1]
    with pytest.raises(aiohttp.ClientResponseError) as refused:
        await scene.tandem.pair((await _account(scene))["id"], "primary")
    assert refused.value.status == 409


async def test_a_pairing_process_killed_at_its_qr_shows_a_fresh_one_and_killed_at_the_scan_is_linked(
    scene: Scene,
) -> None:
    generation = await _primary_online(scene)
    shown = await _qr(scene, "backup")
    _kill_host(scene, "backup")
    await _qr(scene, "backup", not_this=shown)
    await _scan(scene, "backup")
    _kill_host(scene, "backup")
    await scene.everybody_online()
    assert (await _slot(scene, "primary"))["generation"] == generation
    assert await _names(scene) == ["Tandem primary", "Tandem backup"]


async def test_a_daemon_killed_at_the_qr_or_at_the_scan_loses_neither_the_linked_slot_nor_the_link(
    scene: Scene,
) -> None:
    await _primary_online(scene)
    await _qr(scene, "backup")
    await scene.daemon.child.end(signal.SIGKILL)
    await scene.restart_daemon()
    await _reaches(scene, "primary", lambda slot: slot["state"] == "online")
    backup = await _slot(scene, "backup")
    assert (backup["state"], backup["pairing"]) == ("unpaired", None)
    assert backup["nextStep"]
    await scene.tandem.pair((await _account(scene))["id"], "backup")
    await _scan(scene, "backup")
    await scene.daemon.child.end(signal.SIGKILL)
    await scene.restart_daemon()
    await scene.everybody_online()


async def test_a_connection_cut_while_the_qr_shows_is_followed_by_a_fresh_qr(scene: Scene) -> None:
    shown = await _qr(scene, "primary")
    await scene.emulator.fault("drop")
    await _qr(scene, "primary", not_this=shown)
    assert await _primary_online(scene) == 1


async def test_the_phone_of_another_number_is_refused_and_its_keys_are_set_aside(scene: Scene) -> None:
    generation = await _primary_online(scene)
    await scene.emulator.add_phone(STRANGER, "Somebody")
    await _scan(scene, "backup", phone=STRANGER)
    backup = await _reaches(scene, "backup", lambda slot: slot["state"] == "unpaired")
    assert "another number" in backup["reason"]
    assert "remove the device under Linked devices" in backup["nextStep"]
    folder = scene.data / "sessions" / (await _account(scene))["id"]
    assert list(folder.glob("quarantine/backup-*/backup.db"))
    assert not (folder / "backup.db").exists()
    primary = await _slot(scene, "primary")
    assert (primary["state"], primary["generation"]) == ("online", generation)
    await asyncio.sleep(10.0)  # the gap between two starts
    await scene.tandem.pair((await _account(scene))["id"], "backup")
    await _scan(scene, "backup")
    await scene.everybody_online()


async def test_an_account_that_demands_a_passkey_says_so_and_what_to_do(scene: Scene) -> None:
    await scene.emulator.fault("passkey", number=scene.actors[0].number)
    with pytest.raises(aiohttp.ClientResponseError):
        await _scan(scene, "primary")
    primary = await _reaches(scene, "primary", lambda slot: slot["state"] == "unpaired")
    assert "demands a passkey" in primary["reason"]
    assert "remove the passkey" in primary["nextStep"]


async def test_pairing_by_code_links_and_the_phone_lists_the_same_name(scene: Scene) -> None:
    account = (await _account(scene))["id"]
    await scene.tandem.call("POST", f"/api/whatsapp/account/{account}/pair", {"slot": "primary", "method": "code"})
    shown = await _reaches(scene, "primary", lambda slot: bool(slot["pairing"] and slot["pairing"]["expiresAt"]))
    assert shown["pairing"]["method"] == "code"
    code = await scene.tandem.qr(account, "primary")
    await scene.emulator.call("POST", "/control/scan", {"number": scene.actors[0].number, "code": code})
    await _reaches(scene, "primary", lambda slot: slot["state"] == "online")
    assert await _names(scene) == ["Tandem primary"]
