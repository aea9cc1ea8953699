"""The way into the data directory, for a daemon that may have to wait for another one to leave it.

A platform starts the new version before it ends the old one, or the other way round: either way one daemon at a time
runs on the directory, and the next goes in the moment it is free. Meanwhile it answers on its port that it is ready, so
that the platform ends the old one, and that everything else has to be asked again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from tandem.api.doorway import Doorway
from tandem.api.listener import Listener, PortTaken
from tandem.api.ports import About
from tandem.clock import Clock, Random
from tandem.queue.lock import DirectoryLock, DirectoryTaken
from tandem.settings import Settings

_log = structlog.get_logger(__name__)
_POLL = 0.05
_SAY_AGAIN = 10.0
_GRACE = 0.1  # seconds: nothing that is asked here takes any time


class Door:
    """``enter`` before anything else is opened, ``close`` before the API listens on the port."""

    def __init__(self, settings: Settings, about: About, clock: Clock, random: Random) -> None:
        self._patience = settings.wait_for_directory
        self._clock = clock
        self._entered = False
        self._listener = Listener(settings, _GRACE)
        self._application = Doorway(settings, about, lambda: self._entered).application(clock, random)
        self._said_at: float | None = None

    async def enter(self, lock: DirectoryLock, stop: asyncio.Event) -> bool:
        """Take the directory, waiting for it as long as the settings say. Returns False if told to stop meanwhile.

        Raises DirectoryTaken when the time is over, DataUnusable, Misconfigured.
        """
        began = self._clock.monotonic()
        while not stop.is_set():
            try:
                await asyncio.to_thread(lock.take)
            except DirectoryTaken as taken:
                waited = self._clock.monotonic() - began
                if waited >= self._patience:
                    raise
                await self._wait(taken, waited, stop)
            else:
                self._entered = True
                return True
        return False

    async def close(self) -> None:
        """Answer no more. May be called at any time, repeatedly."""
        await self._listener.stop()

    async def _wait(self, taken: DirectoryTaken, waited: float, stop: asyncio.Event) -> None:
        if self._said_at is None:
            await self._answer()
        if self._said_at is None or waited - self._said_at >= _SAY_AGAIN:
            self._said_at = waited
            _log.info(
                "directory_taken",
                message=f"Waiting for another Tandem (pid {taken.owner}) to leave the data directory",
                pid=taken.owner,
                waited=round(waited, 1),
                patience=self._patience,
            )
        with suppress(TimeoutError):
            async with asyncio.timeout(min(_POLL, self._patience - waited)):
                await stop.wait()

    async def _answer(self) -> None:
        try:
            await self._listener.serve(self._application)
        except PortTaken as error:
            _log.info("waiting_unseen", message=f"Nothing is answered while waiting: {error}", reason=str(error))
