"""Brings in what others do to the outgoing messages of the accounts that this instance runs: above all, accept some."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

import structlog

from tandem.clock import Clock, Random, until_told
from tandem.cluster.outbox_port import Change, SeenRow, SharedRows
from tandem.cluster.outbox_rows import HeldRows
from tandem.errors import TandemError, Transient
from tandem.model.ids import AccountId
from tandem.policy.backoff import full_jitter
from tandem.policy.shared_outbox import OPEN
from tandem.queue.working_copy import WorkingCopy

_log = structlog.get_logger(__name__)
_TIMEOUT = 5.0
_GATHER = 0.05  # seconds in which accounts that come or go together cost one beginning
_SECOND_LOOK = 1.0
"""Seconds after which a stream that has begun is not trusted: the emulator loses what changes as one begins (2 %)."""
_AFRESH = 300.0
"""Seconds after which a stream is begun anew: one that has died silently is noticed by nobody else."""
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0


class Watch:
    """One stream for all accounts that are held. ``wake`` it when they have changed."""

    def __init__(
        self,
        shared: SharedRows,
        rows: HeldRows,
        copy: WorkingCopy,
        absorb: Callable[[Sequence[SeenRow]], Awaitable[None]],
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self._shared = shared
        self._rows = rows
        self._copy = copy
        self._absorb = absorb
        self._clock = clock
        self._random = random
        self._news = asyncio.Event()
        self._failures = 0

    def wake(self) -> None:
        self._news.set()

    async def run(self) -> None:
        """Watch, for ever. What a broken stream did not tell, the next one tells."""
        while True:
            accounts = self._rows.accounts
            if not accounts:
                await self._news.wait()
                await self._clock.sleep(_GATHER)
                self._news.clear()
                continue
            task = asyncio.create_task(self._follow(accounts))
            try:
                await self._stay(accounts, task)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await self._clock.sleep(self._wait())

    async def _stay(self, accounts: Sequence[AccountId], task: asyncio.Task[None]) -> None:
        """Return when the stream has ended, or another one is better."""
        await until_told(self._news, self._clock, _SECOND_LOOK)
        if accounts == self._rows.accounts and not task.done():
            await self._look(accounts)
            await until_told(self._news, self._clock, _AFRESH)

    async def _follow(self, accounts: Sequence[AccountId]) -> None:
        try:
            async with aclosing(self._shared.watch(accounts)) as changes:
                async for change in changes:
                    await self._take(change)
                    self._failures = 0
        except TandemError as error:
            self._failures += 1
            if self._failures == 1:
                _log.warning("outbox_not_watched", reason=str(error))
        finally:
            self._news.set()

    async def _look(self, accounts: Sequence[AccountId]) -> None:
        try:
            for account in accounts:
                await self._absorb(await self._shared.open_rows(account, _TIMEOUT))
        except Transient as error:
            _log.warning("outbox_not_looked_at", reason=str(error))

    async def _take(self, change: Change) -> None:
        await self._absorb(change.rows)
        doubtful = []
        for name in change.gone:
            kept = await self._copy.row(name)
            if kept is not None and kept.row.state in OPEN:
                doubtful.append((change.account, name))
        if doubtful:
            await self._absorb(list((await self._shared.get(doubtful, _TIMEOUT)).values()))

    def _wait(self) -> float:
        if not self._failures:
            return _GATHER
        return full_jitter(self._failures, self._random.uniform(0.0, 1.0), _FIRST_WAIT, _LONGEST_WAIT)
