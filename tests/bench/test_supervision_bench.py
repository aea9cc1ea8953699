"""Thirty accounts, sixty device hosts, real processes against the emulator: how fast they are up, what they weigh, what
a death costs. ``make bench`` prints the figures; the bounds are the issue's, for two cores with nothing else to do.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Actor, Scene

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

ACCOUNTS = int(os.environ.get("BENCH_ACCOUNTS", "30"))
FAULTS = 60
BOOT_SECONDS = 12.0
HOST_MEGABYTES = 20.0
MOVED_P50, MOVED_P99 = 30.0, 150.0
BACK_MEDIAN = 200.0


async def test_thirty_accounts_boot_weigh_and_survive() -> None:
    patient = {"TANDEM_SESSION__RESTART_INTENSITY": "1000"}
    async with Scene(DemoOptions(accounts=ACCOUNTS), lambda _sentence: None, patient) as scene:
        await _link(scene)
        boot = await _boot(scene)
        print(f"\nboot: {2 * ACCOUNTS} hosts online {boot:.1f} s after the daemon's exec", end="")
        await asyncio.sleep(5)
        weights = sorted(_pss(host.pid) for host in scene.daemon.hosts())
        print(
            f"\nhost, connected: {median(weights):.1f} MB PSS each (most {weights[-1]:.1f}), {len(weights)} hosts",
            end="",
        )
        print(f"\ndaemon: {_pss(scene.daemon.child.pid):.0f} MB PSS", end="")
        killed = await _faults(scene, "host killed", _kill)
        cut = await _faults(scene, "socket cut", _cut)
    assert boot <= BOOT_SECONDS
    assert median(weights) <= HOST_MEGABYTES
    for moved, _back in (killed, cut):
        assert _quantile(moved, 0.5) <= MOVED_P50
        assert _quantile(moved, 0.99) <= MOVED_P99
    assert median(killed[1]) <= BACK_MEDIAN


async def _link(scene: Scene) -> None:
    """Link all accounts, three at a time."""
    gate = asyncio.Semaphore(3)

    async def link(actor: Actor) -> Actor:
        async with gate:
            await scene.emulator.add_phone(actor.number, actor.name)
            account = await scene.tandem.add_account(actor.name, actor.number)
            await scene.emulator.scan(actor.number, await scene.tandem.qr(account, "primary"))
            await scene.tandem.wait_for_slot(account, "primary", "online", 60.0)
            await scene.tandem.pair(account, "backup")
            await scene.emulator.scan(actor.number, await scene.tandem.qr(account, "backup"))
            await scene.tandem.wait_for_slot(account, "backup", "online", 60.0)
        return Actor(actor.number, actor.contact, actor.name, account)

    scene.actors = await asyncio.gather(*(link(actor) for actor in scene.actors))


async def _boot(scene: Scene) -> float:
    await scene.stop_daemon()
    scene.log.ups.clear()
    scene.log.active.clear()
    began = time.time()
    await scene.daemon.start()
    await _until(lambda: len({(up.account, up.slot) for up in scene.log.ups}) == 2 * ACCOUNTS, 90.0)
    return max(up.at for up in scene.log.ups) - began


async def _faults(
    scene: Scene, name: str, strike: Callable[[Scene, Actor, str], Awaitable[None]]
) -> tuple[list[float], list[float]]:
    """Hit the active slot of one account after another. Returns how long the role and the slot were away, in ms."""
    chance = random.Random(7)
    moved, back = [], []
    for _ in range(FAULTS):
        actor = chance.choice(scene.actors)
        active = scene.log.active.get(actor.account, "primary")
        moves, ups = len(scene.log.moves), len(scene.log.ups)
        began = time.time()
        await strike(scene, actor, active)
        await _until(lambda before=moves: len(scene.log.moves) > before, 10.0)  # type: ignore[misc]
        await _until(lambda before=ups: len(scene.log.ups) > before, 30.0)  # type: ignore[misc]
        moved.append((scene.log.moves[-1].at - began) * 1000)
        back.append((scene.log.ups[-1].at - began) * 1000)
        await asyncio.sleep(0.2)
    print(
        f"\n{name}, {FAULTS} times: role moved p50 {_quantile(moved, 0.5):.1f} ms, p99 {_quantile(moved, 0.99):.1f} "
        f"ms; slot online again median {median(back):.0f} ms, most {max(back):.0f} ms",
        end="",
    )
    return moved, back


async def _kill(scene: Scene, actor: Actor, slot: str) -> None:
    for host in scene.daemon.hosts():
        if (host.account, host.slot) == (actor.account, slot):
            with suppress(ProcessLookupError):
                os.kill(host.pid, signal.SIGKILL)


async def _cut(scene: Scene, actor: Actor, slot: str) -> None:
    device = {"primary": 1, "backup": 2}[slot]
    await scene.emulator.fault("drop", number=actor.number, device=device)


async def _until(condition: Callable[[], bool], patience: float) -> None:
    ends = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        await asyncio.sleep(0.005)


def _pss(pid: int) -> float:
    """Proportional set size of a process in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
