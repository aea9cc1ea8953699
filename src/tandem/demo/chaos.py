"""What goes wrong in a demo: every kind at least once if there is time, then at random, on a fixed seed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tandem.demo.scene import Scene, Tell
from tandem.demo.verdict import Fault

_SEED = 20
_PAUSE = (1.0, 2.5)
_STALL_SECONDS = 6.0
_QUIET_END = 2.0
_SLOTS = ("primary", "backup")


class Chaos:
    """One fault after another until the time is up."""

    def __init__(self, scene: Scene, tell: Tell) -> None:
        self._scene = scene
        self._tell = tell
        self._random = random.Random(_SEED)  # noqa: S311 - it needs to be repeatable, not secret
        self.restarts_ms: list[float] = []

    async def run(self, duration: float) -> None:
        """Break something every second or two for ``duration`` seconds; the last moments stay quiet."""
        ends = asyncio.get_running_loop().time() + duration - _QUIET_END
        kinds = self._kinds()
        program = list(kinds)
        await asyncio.sleep(_PAUSE[0])
        while asyncio.get_running_loop().time() < ends:
            name = program.pop(0) if program else self._random.choice(list(kinds))
            await kinds[name]()
            await asyncio.sleep(self._random.uniform(*_PAUSE))

    def _kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "host_killed": self._kill_host,
            "socket_dropped": lambda: self._emulated("socket_dropped", "drop"),
            "daemon_killed": self._kill_daemon,
            "conflict": lambda: self._emulated("conflict", "conflict"),
            "stream_error": lambda: self._emulated("stream_error", "stream_error", code=503, close=True),
            "socket_stalled": lambda: self._emulated("socket_stalled", "stall", seconds=_STALL_SECONDS),
            "both_hosts_killed": self._kill_both,
        }

    async def _kill_host(self) -> None:
        """SIGKILL the host of a slot, mostly of the active one."""
        actor = self._random.choice(self._scene.actors)
        active = self._scene.log.active.get(actor.account, "primary")
        slot = active if self._random.random() < 0.7 else _other(active)  # noqa: PLR2004 - mostly the one that hurts
        self._record("host_killed", actor.account, slot, f"kill -9 of the {slot} host of {actor.name}")
        self._kill(actor.account, slot)

    async def _kill_both(self) -> None:
        actor = self._random.choice(self._scene.actors)
        self._record("both_hosts_killed", actor.account, "", f"kill -9 of both hosts of {actor.name}")
        self._kill(actor.account, *_SLOTS)

    def _kill(self, account: str, *slots: str) -> None:
        for host in self._scene.daemon.hosts():
            if host.account == account and host.slot in slots:
                with suppress(ProcessLookupError):
                    os.kill(host.pid, signal.SIGKILL)

    async def _emulated(self, name: str, kind: str, **details: object) -> None:
        """Let the emulator hit one linked device of one number."""
        actor = self._random.choice(self._scene.actors)
        device = self._random.choice((1, 2))
        slot = _SLOTS[device - 1]
        self._record(name, actor.account, slot, f"{name.replace('_', ' ')}: {slot} of {actor.name}")
        await self._scene.emulator.fault(kind, number=actor.number, device=device, **details)

    async def _kill_daemon(self) -> None:
        self._record("daemon_killed", "", "", "kill -9 of the daemon, then a restart on the same data")
        killed = time.monotonic()
        await self._scene.daemon.child.end(signal.SIGKILL)
        await self._scene.restart_daemon()
        await self._scene.everybody_online()
        self.restarts_ms.append((time.monotonic() - killed) * 1000)

    def _record(self, kind: str, account: str, slot: str, sentence: str) -> None:
        self._scene.faults.append(Fault(time.time(), kind, account, slot))
        self._tell(f"chaos: {sentence}")


def _other(slot: str) -> str:
    return _SLOTS[1 - _SLOTS.index(slot)]
