"""Follows what changes at the meeting place, and does not believe a stream that has gone silent.

Whose heartbeat is overdue is looked at (``policy.lease``), and a look that shows what the stream has not told proves it
dead. Where there is nobody to be overdue, a stream is opened anew now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import inf

from tandem.clock import Clock, Random
from tandem.cluster.port import Meeting, Sight
from tandem.cluster.sight import Outlook
from tandem.errors import StoreUnavailable
from tandem.model.cluster import InstanceId

_OPENING = 3.0  # seconds in which a stream has to tell what there is
_SILENT = 300.0  # seconds after which a stream that tells of nothing is opened anew
_FIRST_WAIT, _LONGEST_WAIT, _MOST_DOUBLINGS = 0.1, 2.0, 10


class Stream:
    """``told`` is called after every sight that was taken in. It must not block."""

    def __init__(
        self,
        meeting: Meeting,
        outlook: Outlook,
        me: InstanceId,
        told: Callable[[], None],
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self._meeting = meeting
        self._outlook = outlook
        self._me = me
        self._told = told
        self._clock = clock
        self._random = random
        self._sights = 0
        self._tells = False
        self._heard_at = clock.monotonic()
        self._away_since = -inf
        self._open: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Follow one stream after the other, until cancelled."""
        failures = 0
        while True:
            sights = self._sights
            self._open = asyncio.create_task(self._follow())
            try:
                with suppress(StoreUnavailable):
                    await self._open
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    self._open.cancel()
                    raise
            failures = 0 if self._sights > sights else failures + 1
            longest = min(_LONGEST_WAIT, 2 * _FIRST_WAIT * 2.0 ** min(failures, _MOST_DOUBLINGS))
            await self._clock.sleep(self._random.uniform(_FIRST_WAIT, longest))

    def look_at(self, sight: Sight) -> None:
        """Take in what was read. If the stream has not told of it, it is dead: open another."""
        if self._outlook.newer_than_known(sight):
            self._reopen()
        self._outlook.take_in(sight, looked=True)
        self._told()

    def doubt(self) -> float:
        """Open another stream if this one has told of nothing for too long. Returns seconds until to ask again."""
        left = self._heard_at + (_SILENT if self._tells else _OPENING) - self._clock.monotonic()
        if left > 0:
            return left
        self._reopen()
        return _OPENING

    def _reopen(self) -> None:
        self._broke()
        if self._open is not None:
            self._open.cancel()

    def _broke(self) -> None:
        """No stream tells anything now: since when counts from the last that did, however often one was tried."""
        self._heard_at = self._clock.monotonic()
        if self._tells:
            self._tells, self._away_since = False, self._heard_at

    async def _follow(self) -> None:
        try:
            async for sight in self._meeting.watch(self._me):
                now = self._clock.monotonic()
                self._outlook.take_in(sight, after_break=now - self._away_since if sight.whole else 0.0)
                self._sights += 1
                self._tells, self._heard_at = True, now
                self._told()
        finally:
            self._broke()
