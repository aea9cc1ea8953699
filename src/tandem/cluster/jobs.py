"""What is done for an account because of its lease: one thing after the other, and no failure stops anybody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from tandem.model.ids import AccountId

_log = structlog.get_logger(__name__)


class Jobs:
    def __init__(self) -> None:
        self._last: dict[AccountId, asyncio.Task[None]] = {}

    def __contains__(self, account: AccountId) -> bool:
        """Whether something is being done for it."""
        return account in self._last

    def add(
        self, account: AccountId, work: Callable[[], Awaitable[None]], *, at_once: bool = False
    ) -> asyncio.Task[None]:
        """Do this after what is being done for the account, which is cancelled if this is to be ``at_once``."""
        earlier = self._last.get(account)
        if earlier is not None and at_once:
            earlier.cancel()

        async def job() -> None:
            try:
                if earlier is not None:
                    await asyncio.wait([earlier])
                await work()
            except Exception:  # noqa: BLE001 - whatever it is, the leases go on
                _log.exception("lease_job_failed", account=account)
            finally:
                if self._last.get(account) is task:
                    del self._last[account]

        task = self._last[account] = asyncio.create_task(job(), name=f"lease {account}")
        return task

    async def end(self) -> None:
        """Cancel everything."""
        tasks = list(self._last.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
