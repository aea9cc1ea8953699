"""How much memory the device hosts take: operators pay for it by the gigabyte."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tandem.clock import Clock
from tandem.model.ids import AccountId
from tandem.model.states import Slot

Hosts = Mapping[tuple[AccountId, Slot], int]
_FRESH = 15.0  # seconds for which a look is good enough: each costs the kernel a walk over the process's pages


class Memory:
    """``refresh`` looks, off the event loop and not too often; ``sizes`` are in bytes, by account and slot."""

    def __init__(self, hosts: Callable[[], Hosts], clock: Clock) -> None:
        self.sizes: Hosts = {}
        self._hosts = hosts
        self._clock = clock
        self._looked_at = float("-inf")

    async def refresh(self) -> None:
        now, hosts = self._clock.monotonic(), self._hosts()
        if now - self._looked_at >= _FRESH:
            self._looked_at = now
            self.sizes = await asyncio.to_thread(_measure, hosts) if hosts else {}


def _measure(hosts: Hosts) -> Hosts:
    return {name: size for name, pid in hosts.items() if (size := size_of(pid)) is not None}


def size_of(pid: int) -> int | None:
    """Return a process's proportional set size (shared pages count in part) in bytes, None if it is gone.

    Where the kernel does not tell that (no Linux, or another user's process): the resident size.
    """
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
