"""Durable notes that must not delay a decision: made in the background, at the end waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog

_log = structlog.get_logger(__name__)


class Bookkeeping:
    """``note`` returns at once; a failure is logged, the next note repairs it."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[None]] = set()

    def note(self, work: Awaitable[None]) -> None:
        task = asyncio.create_task(_guarded(work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def end(self, patience: float | None) -> None:
        """Wait for what is under way, at most ``patience`` seconds; then it is as if the disk or store had refused."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=patience)
        for task in self._under_way:
            task.cancel()


async def _guarded(work: Awaitable[None]) -> None:
    try:
        await work
    except Exception:  # noqa: BLE001 - nobody awaits this; the log is where it can be seen
        _log.exception("bookkeeping_failed")
