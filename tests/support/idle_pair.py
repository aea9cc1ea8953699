"""Two instances that share accounts and have nothing to do: everything real that asks something of Firestore.

Only the sessions are made up: every account is online on both. The clock may run faster than the world; the calls to
Firestore do not, so its time to live must not become shorter than some of those.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from support.quick_clock import QuickClock
from support.virtual_time import SeededRandom
from tandem.cluster.desk import ClusterRole
from tandem.inbound.held import HeldBack
from tandem.inbound.marks import Marks
from tandem.model.account import Account
from tandem.model.cluster import AccountStanding, Fitness
from tandem.model.ids import AccountId, Number, account_id
from tandem.queue.queue import Queue
from tandem.settings import load
from tandem.sharing import Sharing
from tandem.store.firestore.store import FirestoreStore
from tandem.store.port import Costs
from tandem.supervision.supervisor import Supervisor

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What a pair tells of itself."""

    standings: Mapping[Any, Any]


class Sessions:
    """Stands for the supervisor: every account is online, and stays so."""

    def __init__(self, accounts: Sequence[AccountId]) -> None:
        self._fitness = dict.fromkeys(accounts, Fitness.ONLINE)

    def fitness(self) -> Mapping[AccountId, Fitness]:
        return self._fitness

    def pair_of(self, _account: AccountId) -> Standing:
        return Standing({})

    def take_up(self, account: AccountId) -> None: ...

    async def lay_down(self, account: AccountId) -> None: ...


class NoMarks:
    async def of(self, accounts: Sequence[AccountId]) -> Mapping[AccountId, float]:
        return dict.fromkeys(accounts, 1.0)
