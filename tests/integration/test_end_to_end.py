"""The whole of it: real processes, the real library, the real wire; the emulator's ledger against the store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Actor, Scene

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """One account, both devices linked and online."""
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as stage:
        await stage.link_everybody()
        yield stage


def _kill(scene: Scene, *slots: str) -> None:
    for host in scene.daemon.hosts():
        if host.slot in slots:
            os.kill(host.pid, signal.SIGKILL)


async def _write(scene: Scene, count: int, label: str) -> list[str]:
    actor = scene.actors[0]
    written: list[str] = []
    for number in range(count):
        written += await scene.emulator.write(actor.contact, actor.number, f"in {label} {number}")
    return written


async def _send(scene: Scene, count: int, label: str) -> list[str]:
    actor = scene.actors[0]
    texts = [f"out {label} {number}" for number in range(count)]
    for text in texts:
        await scene.tandem.send(actor.account, actor.contact, text, text.replace(" ", "-"))
    return texts


def _stored(scene: Scene) -> Counter[str]:
    """Message ids in the embedded store, as often as they stand there, read behind the daemon's back."""
    with sqlite3.connect(f"file:{scene.data}/store.db?mode=ro", uri=True) as database:
        rows = database.execute("SELECT message_id FROM messages WHERE from_me = 0").fetchall()
    return Counter(message_id for (message_id,) in rows)


async def _until(condition: Any, patience: float = 20.0) -> None:
    ends = time.monotonic() + patience
    while True:
        result = condition()
        if await result if asyncio.iscoroutine(result) else result:
            return
        assert time.monotonic() < ends, "waited in vain"
        await asyncio.sleep(0.05)


async def _shown(scene: Scene, actor: Actor) -> Counter[str]:
    shown: Counter[str] = Counter()
    for message in await scene.emulator.shown_to(actor.contact):
        shown[message["text"]] += message["times"]
    return shown


async def _all_delivered(scene: Scene, texts: list[str]) -> bool:
    return set(texts) <= set(await _shown(scene, scene.actors[0]))


async def test_each_device_is_killed_all_restart_and_the_ledger_equals_the_store(scene: Scene) -> None:
    actor = scene.actors[0]
    ids, texts = await _write(scene, 5, "calm"), await _send(scene, 2, "calm")
    for slot in ("primary", "backup"):
        _kill(scene, slot)
        ids += await _write(scene, 10, slot)
        texts += await _send(scene, 3, slot)
        await scene.everybody_online()
    _kill(scene, "primary", "backup")
    texts += await _send(scene, 2, "nobody")
    await scene.everybody_online()
    await scene.daemon.child.end(signal.SIGKILL)
    ids += await _write(scene, 10, "daemon-down")
    await scene.restart_daemon()
    await scene.everybody_online()
    assert await scene.daemon.child.end() == 0
    ids += await _write(scene, 5, "stopped")
    await scene.restart_daemon()
    await scene.everybody_online()
    await _until(lambda: set(ids) <= set(_stored(scene)))
    await _until(lambda: _all_delivered(scene, texts))

    stored, shown = _stored(scene), await _shown(scene, actor)
    assert {message_id: stored[message_id] for message_id in ids} == dict.fromkeys(ids, 1)
    assert sum(stored.values()) == len(ids)
    assert shown == Counter(texts)
    assert len(scene.log.restored) == 3


async def test_a_killed_active_host_costs_milliseconds(scene: Scene) -> None:
    times = []
    for _ in range(6):
        active = scene.log.active.get(scene.actors[0].account, "primary")
        moves = len(scene.log.moves)
        killed = time.time()
        _kill(scene, active)
        await _until(lambda before=moves: len(scene.log.moves) > before, 5.0)
        times.append((scene.log.moves[-1].at - killed) * 1000)
        await scene.everybody_online()
    print(f"host killed to role moved, ms: {sorted(round(each, 1) for each in times)}")
    assert sorted(times)[len(times) // 2] < 150


async def test_sigterm_ends_within_three_seconds_and_logs_nobody_out(scene: Scene) -> None:
    hosts = [host.pid for host in scene.daemon.hosts()]
    assert len(hosts) == 2
    began = time.monotonic()
    assert await scene.daemon.child.end() == 0
    assert time.monotonic() - began < 3.0
    assert not any(Path(f"/proc/{pid}").exists() for pid in hosts)
    assert any("shutdown_complete" in line for line in scene.daemon.child.last_words)
    phones = (await scene.emulator.call("GET", "/control/phones"))["phones"]
    linked = next(phone["devices"] for phone in phones if scene.actors[0].number.endswith(phone["number"]))
    assert {device["id"] for device in linked} >= {1, 2}


async def test_a_killed_daemon_leaves_no_host_behind(scene: Scene) -> None:
    hosts = [host.pid for host in scene.daemon.hosts()]
    await scene.daemon.child.end(signal.SIGKILL)
    await _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in hosts), 3.0)


async def test_sessions_survive_a_restart_of_the_emulator(scene: Scene) -> None:
    await scene.restart_emulator()
    await scene.everybody_online()
    ids, texts = await _write(scene, 3, "after"), await _send(scene, 2, "after")
    await _until(lambda: set(ids) <= set(_stored(scene)))
    await _until(lambda: _all_delivered(scene, texts))


async def test_a_corrupt_key_store_is_set_aside_and_the_partner_goes_on(scene: Scene) -> None:
    account = scene.actors[0].account
    await scene.stop_daemon()
    store = scene.data / "sessions" / account / "primary.db"
    for file in (store, store.with_name("primary.db-wal")):
        file.write_bytes(b"\xff" * 100 + file.read_bytes()[100:])
    await scene.restart_daemon()
    await scene.tandem.wait_for_slot(account, "backup", "online", 20.0)
    await scene.tandem.wait_for_slot(account, "primary", "logged_out", 5.0)
    assert list((scene.data / "sessions" / account / "quarantine").glob("primary-*/primary.db"))
    texts = await _send(scene, 1, "one-slot")
    await _until(lambda: _all_delivered(scene, texts))


async def test_no_log_line_shows_a_number_a_text_or_a_qr(scene: Scene) -> None:
    texts = await _send(scene, 2, "canary")
    ids = await _write(scene, 2, "canary")
    _kill(scene, "primary")
    await _until(lambda: set(ids) <= set(_stored(scene)))
    await _until(lambda: _all_delivered(scene, texts))
    await scene.everybody_online()
    log = "\n".join(scene.daemon.lines)
    actor = scene.actors[0]
    for secret in (actor.number[1:], actor.contact[1:], "canary", "2@"):
        assert secret not in log


async def test_the_demo_with_chaos_loses_and_doubles_nothing() -> None:
    command = [sys.executable, "-m", "tandem.cli", "demo", "--accounts", "2", "--rate", "20", "--duration", "16"]
    process = await asyncio.create_subprocess_exec(
        *command, "--chaos", "--json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, story = await process.communicate()
    report = json.loads(output)
    print(json.dumps(report))
    assert process.returncode == 0, story.decode()
    assert report["messages"]["lost"] == report["messages"]["duplicated"] == 0
    assert report["outbound"]["lost"] == report["outbound"]["duplicated"] == 0
    assert report["messages"]["sent"] == 320
    assert report["faults"]["daemon_killed"] >= 1
    assert report["failovers"] >= 1


async def test_a_send_cut_off_by_a_dying_host_arrives_once(scene: Scene) -> None:
    """The host dies while sends are under way: what never left goes again, what left does not."""
    texts: list[str] = []
    for turn in range(4):
        sending = asyncio.create_task(_send(scene, 12, f"turn-{turn}"))
        await asyncio.sleep(0.03 + 0.02 * turn)
        _kill(scene, scene.log.active.get(scene.actors[0].account, "primary"))
        texts += await sending
        await scene.everybody_online()
    await _until(lambda: _all_delivered(scene, texts), 40.0)
    assert await _shown(scene, scene.actors[0]) == Counter(texts)


async def test_a_send_that_the_server_swallows_is_settled_and_arrives_once(scene: Scene) -> None:
    """No ack, but delivered: the echo on the partner proves it, and it must not go again."""
    actor = scene.actors[0]
    await scene.emulator.fault("no_send_ack", number=actor.number, device=1, seconds=8)
    texts = await _send(scene, 3, "no-ack")
    await _until(lambda: _all_delivered(scene, texts))
    await asyncio.sleep(12)
    assert await _shown(scene, actor) == Counter(texts)
