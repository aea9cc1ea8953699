"""The only doors to time and chance. Everything else is given a Clock and a Random."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from typing import Protocol


class Clock(Protocol):
    """``now`` is wall time in Unix seconds, for people; ``monotonic`` in seconds, for every duration."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


async def until_told(news: asyncio.Event, clock: Clock, longest: float) -> None:
    """Wait for news, at most ``longest`` seconds, and take notice of it: it is cleared."""
    timer = asyncio.create_task(clock.sleep(longest))
    told = asyncio.create_task(news.wait())
    try:
        await asyncio.wait({timer, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        told.cancel()
    news.clear()


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Random(Protocol):
    def uniform(self, low: float, high: float) -> float: ...

    def token(self) -> str:
        """A new identifier, unique for ever: 26 characters, ordered by nothing."""
        ...


class SystemRandom:
    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def token(self) -> str:
        return secrets.token_hex(13)
