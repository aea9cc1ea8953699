"""The durable queue as one part: opened first, closed last, kept tidy in between."""

from __future__ import annotations

from pathlib import Path

import structlog

from tandem.clock import Clock, Random
from tandem.errors import Transient
from tandem.model.event import EventType, Publish
from tandem.queue.database import Database
from tandem.queue.day_figures import DayFigures
from tandem.queue.dead_letters import DeadLetters
from tandem.queue.deliveries import Deliveries
from tandem.queue.inbox import Inbox
from tandem.queue.lock import DirectoryLock
from tandem.queue.outages import Outages
from tandem.queue.outbox import Outbox
from tandem.queue.phones import Phones
from tandem.queue.registry import Registry
from tandem.queue.standings import Standings
from tandem.queue.unread import Unread
from tandem.settings import QueueSettings

_log = structlog.get_logger(__name__)
_TIDY_INTERVAL = 60.0
_EXPIRY_INTERVAL = 1.0
_SEND_FAILED = "a message was not sent before its time was over"


class Queue:
    """``open`` before anything connects, ``keep_tidy`` as a task, ``close`` after everything that writes has ended."""

    def __init__(
        self,
        directory: Path,
        settings: QueueSettings,
        clock: Clock,
        random: Random,
        publish: Publish,
        *,
        lock: DirectoryLock | None = None,
    ) -> None:
        """``lock``: the directory's, if the caller has taken it already."""
        self.database = Database(directory, clock, lock)
        self.outages = Outages(self.database)
        self.phones = Phones(self.database)
        self.unread = Unread(self.database, clock)
        self.dead_letters = DeadLetters(self.database, clock)
        self.deliveries = Deliveries(self.database, clock)
        self.day_figures = DayFigures(self.database)
        self.inbox = Inbox(self.database, clock, max_depth=settings.max_inbox, dedupe_days=settings.dedupe_days)
        self.standings = Standings(self.database, clock, kept_days=settings.dedupe_days)
        self.outbox = Outbox(
            self.database,
            self.inbox,
            clock,
            random,
            max_backlog=settings.max_outbox,
            expiry=settings.outbox_expiry,
        )
        self.registry = Registry(self.database, self.outbox, clock)
        self.inbox.subscribe(self.deliveries.rouse)
        self._clock = clock
        self._publish = publish

    async def open(self) -> None:
        """Take the data directory and restore what waits in it. Raises DataUnusable, saying what to do."""
        await self.database.open()
        try:
            incoming, outgoing = await self.inbox.restore(), await self.outbox.restore()
        except BaseException:
            await self.close()
            raise
        self._publish(
            EventType.QUEUE_RESTORED, f"Restored {incoming} messages from queue", count=incoming, outgoing=outgoing
        )

    async def close(self) -> None:
        await self.database.close()

    async def keep_tidy(self) -> None:
        """Expire on time and prune now and then, for ever."""
        pruned = float("-inf")
        while True:
            now = self._clock.monotonic()
            try:
                if self.outbox.overdue:
                    await self.expire()
                if now - pruned >= _TIDY_INTERVAL:
                    await self.tidy()
                    pruned = now
            except Transient as error:
                _log.warning("queue_not_tidied", reason=str(error))
            await self._clock.sleep(_EXPIRY_INTERVAL)

    async def tidy(self) -> None:
        await self.expire()
        await self.outbox.prune()
        await self.inbox.prune()

    async def expire(self) -> None:
        """Give up on what was not sent in its time, and tell."""
        for move in await self.outbox.expire():
            row = move.after
            self._publish(
                EventType.MESSAGE_SEND_FAILED, _SEND_FAILED, account=row.account, reason=row.reason, outbox_id=row.id
            )
        await self.outbox.prune()
        await self.inbox.prune()
        await self.standings.prune()
