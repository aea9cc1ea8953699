"""Lists of outgoing messages, newest first, over several accounts, with no index but those that Firestore has anyway.

Firestore is asked by place alone, account by account; what is wanted of it is picked out here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tandem.cluster.outbox_port import SeenRow, SharedRows
from tandem.model.ids import AccountId
from tandem.model.outbox import OutboxRow, Wanted

_MOST = 1_000
"""Documents of an account that are looked through for one page."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was found of an account down to the place ``end``; None: that is all there is."""

    rows: Sequence[SeenRow]
    end: int | None


def merge(stretches: Sequence[Stretch], limit: int) -> tuple[list[OutboxRow], int | None]:
    """Return the newest rows, and where the next page begins. Below the end of any stretch nothing is certain yet."""
    ends = [stretch.end for stretch in stretches if stretch.end is not None]
    certain = max(ends, default=None)
    found = [seen for each in stretches for seen in each.rows if certain is None or seen.place >= certain]
    found.sort(key=lambda seen: -seen.place)
    rows = [seen.row for seen in found[:limit]]
    if len(found) > limit:
        return rows, found[limit - 1].place
    return rows, certain


class Pages:
    """``accounts``: those over which a list goes that names none."""

    def __init__(self, shared: SharedRows, accounts: Callable[[], Sequence[AccountId]]) -> None:
        self._shared = shared
        self._accounts = accounts

    async def page(self, wanted: Wanted, limit: int, timeout: float) -> tuple[Sequence[OutboxRow], int | None]:
        """Return a page, with fewer rows than ``limit`` where few of many are wanted. Raises StoreUnavailable."""
        accounts = self._accounts() if wanted.account is None else [wanted.account]
        stretches = await asyncio.gather(*(self._stretch(each, wanted, limit, timeout) for each in accounts))
        return merge(stretches, limit)

    async def _stretch(self, account: AccountId, wanted: Wanted, limit: int, timeout: float) -> Stretch:
        """The newest ``limit`` rows that are wanted, or those among the newest thousand."""
        rows: list[SeenRow] = []
        before, looked = wanted.before, 0
        while len(rows) < limit and looked < _MOST:
            found = await self._shared.page(account, before, limit, timeout)
            rows += [seen for seen in found if _matches(seen.row, wanted)]
            if len(found) < limit:
                return Stretch(rows, None)
            before, looked = found[-1].place, looked + len(found)
        return Stretch(rows, before)


def _matches(row: OutboxRow, wanted: Wanted) -> bool:
    return wanted.state in {None, row.state} and wanted.chat in {None, row.chat}
