"""A clock that runs faster than the world: real processes and servers, hours of timers in minutes."""

from __future__ import annotations

import asyncio
import time


class QuickClock:
    """Every second of ``Clock`` takes 1/``pace`` of a real one."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._began, self._began_at = time.monotonic(), time.time()

    def now(self) -> float:
        return self._began_at + (time.monotonic() - self._began) * self._pace

    def monotonic(self) -> float:
        return self._began + (time.monotonic() - self._began) * self._pace

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._pace)
