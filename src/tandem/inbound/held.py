"""Messages held back for accounts that another instance runs: dropped once the store has them, else written here.

Nothing is dropped on anybody's word: the store is asked for every message, once, when the holder's mark says that it
should be there. When an account is taken over, all that is held back for it is looked up at once. What the store lacks
then goes to the writer, and is announced.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from tandem.clock import Clock, Random, until_told
from tandem.errors import StoreUnavailable, Transient
from tandem.model.ids import AccountId
from tandem.policy.backoff import full_jitter
from tandem.policy.held_back import Step, due_before, step, told_before
from tandem.queue.held import Held, HeldRows
from tandem.queue.queue import Queue
from tandem.store.port import Name, Store

_log = structlog.get_logger(__name__)
_EVERY = 5.0  # seconds between two looks
_PORTION = 100
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0
_MISSED = "the instance that runs the account has not written them"


class HeldBack:
    """``run`` is its task; ``wake`` as soon as an account is run here. ``deadline`` in seconds holds for one look.

    ``holds`` says whether this instance runs an account now. ``durable_through`` is the mark of who does: everything
    that it received before then (Unix seconds) it has written; 0 while nothing is known. ``released`` counts what this
    instance had to write itself, ``dropped`` what was in the store, by account.
    """

    def __init__(
        self,
        queue: Queue,
        store: Store,
        holds: Callable[[AccountId], bool],
        durable_through: Callable[[AccountId], float],
        *,
        deadline: float,
        clock: Clock,
        random: Random,
    ) -> None:
        self.released: Counter[AccountId] = Counter()
        self.dropped: Counter[AccountId] = Counter()
        self._inbox = queue.inbox
        self._standings = queue.standings
        self._rows = HeldRows(queue.database, queue.inbox, clock)
        self._store = store
        self._holds = holds
        self._durable_through = durable_through
        self._deadline = deadline
        self._clock = clock
        self._random = random
        self._news = asyncio.Event()
        self._missing: set[int] = set()
        """Rows that the store was asked for in vain and that are not given up yet."""
        queue.inbox.subscribe_held(self._came)

    def wake(self, account: AccountId) -> None:
        """Look now: the account is run here from now on. Returns at once."""
        if self._inbox.held_of[account]:
            self._news.set()
        self._standings.rouse()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        failures = 0
        while True:
            try:
                await self._look()
            except Transient as error:
                failures += 1
                if failures == 1:
                    _log.warning("copies_not_looked_up", reason=str(error))
                chance = self._random.uniform(0.0, 1.0)
                await until_told(self._news, self._clock, full_jitter(failures, chance, _FIRST_WAIT, _LONGEST_WAIT))
            else:
                failures = 0
                await until_told(self._news, self._clock, _EVERY)

    def _came(self, account: AccountId) -> None:
        """A message was held back while its account was being taken over: nobody else would look at it at once."""
        if self._holds(account):
            self._news.set()

    async def _look(self) -> None:
        """Settle what is due, in portions, each account's messages in order. Costs nothing while nothing is due."""
        after = 0
        while latest := self._due():
            rows = await self._rows.due(latest, after, _PORTION)
            wanted = [row for row in rows if self._step(row) is not Step.WAIT]
            if wanted:
                await self._settle(wanted)
            if len(rows) < _PORTION:
                break
            after = rows[-1].sequence
        if not self._inbox.held:
            self._missing.clear()
        await self._forget_standings()

    def _due(self) -> dict[AccountId, float]:
        now = self._clock.now()
        return {
            account: due_before(holds=self._holds(account), mark=self._durable_through(account), now=now)
            for account in self._inbox.held_of
        }

    def _step(self, row: Held) -> Step:
        return step(
            row.received_at,
            holds=self._holds(row.account),
            mark=self._durable_through(row.account),
            now=self._clock.now(),
            missing=row.sequence in self._missing,
        )

    async def _settle(self, rows: Sequence[Held]) -> None:
        present = await self._present(rows)
        missing = [row for row in rows if row.sequence not in present]
        freed = [row for row in missing if self._step(row) is Step.SETTLE]
        gone = [row for row in rows if row.sequence in present]
        if gone or freed:
            await self._rows.settle(gone, freed)
        self._missing.update(row.sequence for row in missing)
        self._missing.difference_update(row.sequence for row in (*gone, *freed))
        self._account_for(gone, freed)

    async def _present(self, rows: Sequence[Held]) -> set[int]:
        """Which of the rows the store has, under any name that their people are known by here."""
        names = {row.name: row for row in rows}
        found = {names[name].sequence for name in await self._ask(list(names))}
        missing = [row for row in rows if row.sequence not in found]
        others = await self._rows.other_names(missing) if missing else {}
        if others:
            found |= {others[name].sequence for name in await self._ask(list(others))}
        return found

    async def _ask(self, names: Sequence[Name]) -> set[Name]:
        try:
            async with asyncio.timeout(self._deadline):
                return await self._store.present(names)
        except Transient:
            raise
        except TimeoutError:
            raise StoreUnavailable(f"the store did not answer within {self._deadline:g} s") from None
        except Exception as error:
            _log.exception("store_failed")
            raise StoreUnavailable(f"the store failed ({type(error).__name__})") from error

    def _account_for(self, gone: Sequence[Held], freed: Sequence[Held]) -> None:
        self.dropped.update(row.account for row in gone)
        self._standings.came_in(0, {row.account for row in gone})  # their receipts can be told from now on
        for account, count in Counter(row.account for row in freed).items():
            self.released[account] += count
            if self._holds(account):
                _log.info("copies_taken_over", account=account, count=count)
            else:
                _log.warning("copies_released", account=account, count=count, reason=_MISSED)

    async def _forget_standings(self) -> None:
        """What the holder was told as well, it has told the store; what is left at a takeover is told by the writer."""
        for account in sorted(self._standings.elsewhere):
            mark = self._durable_through(account)
            if self._holds(account):
                self._standings.rouse()
            elif mark:
                await self._standings.forget_told_elsewhere(account, told_before(mark))
