"""Two instances that share accounts and have nothing to do: everything real that asks something of Firestore.

Only the sessions are made up: every account is online on both. The clock runs faster than the world; calls to Firestore
do not, so a time to live must not become shorter than some of those.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from support.virtual_time import SeededRandom
from tandem.clock import Clock
from tandem.inbound.held import HeldBack
from tandem.inbound.marks import Marks
from tandem.model.account import Account
from tandem.model.cluster import Fitness
from tandem.model.ids import AccountId, Number, account_id
from tandem.model.states import Slot
from tandem.queue.queue import Queue
from tandem.settings import load
from tandem.sharing import Sharing
from tandem.store.firestore.credentials import Target
from tandem.store.firestore.store import FirestoreStore
from tandem.store.port import Costs
from tandem.supervision.supervisor import Supervisor
from unit.queue.parts import Told

DAY = 86_400.0
FREE_WRITES, FREE_READS = 20_000, 50_000
_READY = 60.0


class QuickClock:
    """Every second of ``Clock`` takes 1/``pace`` of a real one."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._began = asyncio.get_running_loop().time()

    def now(self) -> float:
        return 1_795_000_000.0 + self.monotonic()

    def monotonic(self) -> float:
        return (asyncio.get_running_loop().time() - self._began) * self._pace

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._pace)


@dataclass
class Sessions:
    """Stands for the supervisor: every account is online, and stays so."""

    accounts: Sequence[AccountId]
    standings: Mapping[Slot, Any] = field(default_factory=dict)

    def fitness(self) -> Mapping[AccountId, Fitness]:
        return dict.fromkeys(self.accounts, Fitness.ONLINE)

    def pair_of(self, _account: AccountId) -> Sessions:
        return self

    def take_up(self, account: AccountId) -> None:
        """Nothing is sent."""

    async def lay_down(self, account: AccountId) -> None:
        """Nothing was."""


class AllWritten:
    """Stands for the marks: whatever was received is in the store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def of(self, accounts: Sequence[AccountId]) -> Mapping[AccountId, float]:
        return dict.fromkeys(accounts, self._clock.now())


@dataclass(frozen=True, slots=True)
class Idler:
    """One instance. ``told`` are the events of its leases."""

    sharing: Sharing
    store: FirestoreStore
    told: Told

    def costs(self) -> dict[str, Costs]:
        return {part: replace(each) for part, each in {"store": self.store.costs, **self.sharing.costs()}.items()}


@asynccontextmanager
async def idle_pair(
    folder: Path, target: Target, accounts: int, pace: float
) -> AsyncIterator[tuple[Clock, list[Idler]]]:
    """Yield two instances of which the first runs all accounts, at rest."""
    clock = QuickClock(pace)
    numbers = [Number(f"+1202555{number:04d}") for number in range(100, 100 + accounts)]
    async with AsyncExitStack() as stack:
        first = await _start(stack, folder / "primary", target, numbers, clock)
        async with asyncio.timeout(_READY):
            while len(first.sharing.keeper.held) < accounts:
                await asyncio.sleep(0.05)
        second = await _start(stack, folder / "backup", target, numbers, clock)
        async with asyncio.timeout(_READY):
            while len(second.sharing.keeper.outlook.leases) < accounts:
                await asyncio.sleep(0.05)
        yield clock, [first, second]


async def _start(stack: AsyncExitStack, folder: Path, target: Target, numbers: Sequence[Number], clock: Clock) -> Idler:
    folder.mkdir(parents=True)
    name = folder.name
    settings = load(
        {
            "data_dir": folder, "store": "firestore", "firestore_emulator_host": target.emulator,
            "firestore": {"project": target.project}, "cluster": {"mode": "on", "region": name},
        }
    )  # fmt: skip
    told = Told()
    random, sessions = SeededRandom(len(name)), Sessions([account_id(number) for number in numbers])
    queue = Queue(folder, settings.queue, clock, random, told)
    await queue.open()
    stack.push_async_callback(queue.close)
    store = FirestoreStore(target, clock)
    await store.open()
    stack.push_async_callback(store.close)
    for number in numbers:
        await queue.registry.save_account(Account(account_id(number), number, "Desk", clock.now()))
    sharing = await Sharing.of(settings, queue, store, name, clock=clock, random=random, publish=told)
    await sharing.open()
    stack.push_async_callback(sharing.close)
    held = HeldBack(
        queue,
        store,
        sharing.holds,
        sharing.durable_through,
        deadline=settings.writer.deadline,
        clock=clock,
        random=random,
    )
    sharing.attach(cast("Supervisor", sessions), held, cast("Marks", AllWritten(clock)))
    jobs = [asyncio.create_task(job) for job in (*sharing.jobs(), held.run())]

    async def end() -> None:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    stack.push_async_callback(end)
    return Idler(sharing, store, told)
