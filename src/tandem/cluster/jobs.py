"""What is done for an account because of its lease: one thing after the other, and no failure stops anybody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from tandem.model.ids import AccountId

_log = structlog.get_logger(__name__)


class Jobs:
    def __init__(self) -> None:
        self._tasks: dict[AccountId, list[asyncio.Task[None]]] = {}

    def __contains__(self, account: AccountId) -> bool:
        """Whether something is being done for it."""
        return account in self._tasks

    def add(
        self, account: AccountId, work: Callable[[], Awaitable[None]], *, at_once: bool = False
    ) -> asyncio.Task[None]:
        """Do this after all that is being done for the account, which is cancelled if this is to be ``at_once``."""
        earlier = list(self._tasks.get(account, ()))
        if at_once:
            for each in earlier:
                each.cancel()

        async def job() -> None:
            try:
                if earlier:
                    await asyncio.wait(earlier)
                await work()
            except Exception:  # noqa: BLE001 - whatever it is, the leases go on
                _log.exception("lease_job_failed", account=account)

        task = asyncio.create_task(job(), name=f"lease {account}")
        self._tasks.setdefault(account, []).append(task)
        task.add_done_callback(partial(self._ended, account))
        return task

    async def end(self) -> None:
        """Cancel everything."""
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, account: AccountId, task: asyncio.Task[None]) -> None:
        self._tasks[account].remove(task)
        if not self._tasks[account]:
            del self._tasks[account]
