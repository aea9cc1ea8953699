"""Up to when everything that was received is in the store: what this instance tells the others of its accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tandem.clock import Clock
from tandem.inbound.pipeline import Pipeline
from tandem.model.ids import AccountId
from tandem.queue.inbox import Inbox

_ON_THE_WAY = 1.0  # seconds that a running host may take to hand up what it has received
_MOST_LOOKED_THROUGH = 50_000


class Marks:
    """What a host that does not answer has in its journal is not known here: a mark is a reason to look, no proof."""

    def __init__(self, inbox: Inbox, pipeline: Pipeline, clock: Clock) -> None:
        self._inbox = inbox
        self._pipeline = pipeline
        self._clock = clock
        self._last: dict[AccountId, float] = {}

    async def of(self, accounts: Iterable[AccountId]) -> Mapping[AccountId, float]:
        """Return each account's mark in Unix seconds, with one query for all of them. Raises StoreUnavailable.

        While the inbox is so full that looking through it would hold up others, the marks stay where they were; 0 for
        an account that had none.
        """
        if self._inbox.depth > _MOST_LOOKED_THROUGH:
            return {account: self._last.get(account, 0.0) for account in accounts}
        # In this order, and at once: what leaves the lanes meanwhile is found in the inbox.
        latest, lanes = self._clock.now() - _ON_THE_WAY, self._pipeline.oldest_open()
        waiting = await self._inbox.oldest_of_each() if self._inbox.waiting else {}
        self._last = {
            account: min(latest, lanes.get(account, latest), _before(waiting.get(account), latest))
            for account in accounts
        }
        return self._last


def _before(at_ms: int | None, latest: float) -> float:
    return latest if at_ms is None else (at_ms - 1) / 1000
