"""Instances that share accounts, on the virtual clock: real keepers on one ground, all that they do written down.

``Scene.check`` runs beside: at no instant two of them have the right to run one account.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from support.virtual_time import SeededRandom
from tandem.cluster.keeper import Keeper, KeeperPorts, Self
from tandem.cluster.memory import MemoryGround
from tandem.model.cluster import AccountStanding, Fitness, InstanceId
from tandem.model.event import EventType
from tandem.model.ids import AccountId
from tandem.policy.lease import Limits
from unit.cluster.lease_parts import LIMITS, NORTH, SHOP, SOUTH, JumpingClock, Way, meeting_at, now


@dataclass(frozen=True)
class Told:
    at: float
    by: InstanceId
    type: EventType
    message: str
    data: Mapping[str, Any]


@dataclass(eq=False)
class Node:
    """An instance. ``lay_down_takes``: seconds that what is under way needs to end."""

    id: InstanceId
    scene: Scene
    way: Way
    clock: JumpingClock
    fitness: dict[AccountId, Fitness]
    keeper: Keeper = field(init=False)
    task: asyncio.Task[None] = field(init=False)
    acts: list[tuple[float, str]] = field(default_factory=list)
    serving: dict[AccountId, int] = field(default_factory=dict)
    lay_down_takes: float = 0.1
    standings: dict[AccountId, AccountStanding] = field(default_factory=dict)

    def holds(self, account: AccountId = SHOP) -> bool:
        return self.keeper.right(account) is not None

    def generation(self, account: AccountId = SHOP) -> int:
        right = self.keeper.right(account)
        return right.generation if right else 0

    async def crash(self) -> None:
        """Be gone without a word."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.scene.nodes.remove(self)

    async def stop(self) -> None:
        """End as the daemon does."""
        await self.keeper.leave_all("its instance stops")
        await self.crash()

    def ports(self) -> KeeperPorts:
        return KeeperPorts(
            lambda: dict(self.fitness), self._standings, self._take_up, self._lay_down, self._discovered,
            self._removed, self._publish,
        )  # fmt: skip

    async def _standings(self) -> Mapping[AccountId, AccountStanding]:
        return {account: AccountStanding(fitness) for account, fitness in self.fitness.items()} | self.standings

    async def _take_up(self, account: AccountId, generation: int) -> None:
        self.acts.append((now(), "take up"))
        self.serving[account] = generation

    async def _lay_down(self, account: AccountId, lost: bool) -> None:  # noqa: FBT001 - the port's
        await asyncio.sleep(0.0 if lost or account not in self.serving else self.lay_down_takes)
        self.acts.append((now(), "lost" if lost else "lay down"))
        self.serving.pop(account, None)

    async def _discovered(self, account: AccountId) -> None:
        self.acts.append((now(), "discovered"))
        self.fitness[account] = Fitness.UNLINKED

    async def _removed(self, account: AccountId) -> None:
        self.acts.append((now(), "removed"))
        del self.fitness[account]

    def _publish(self, type: EventType, message: str, **data: Any) -> None:  # noqa: A002 - the port's
        self.scene.told.append(Told(now(), self.id, type, message, data))


class Scene:
    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.ground = MemoryGround()
        self.nodes: list[Node] = []
        self.told: list[Told] = []

    async def start(
        self,
        name: InstanceId,
        *accounts: AccountId,
        region: str = "backup",
        origin: str = "origin",
        spread: bool = False,
        fitness: Fitness = Fitness.ONLINE,
    ) -> Node:
        node = Node(name, self, Way(), JumpingClock(), dict.fromkeys(accounts or (SHOP,), fitness))
        meeting = await meeting_at(self.ground, name, node.way)
        me = Self(name, f"the {name}", origin, region, f"https://{name}.example", spread=spread)
        node.keeper = Keeper(me, meeting, self.limits, node.ports(), clock=node.clock, random=SeededRandom())
        node.task = asyncio.create_task(node.keeper.run())
        self.nodes.append(node)
        return node

    def holder(self, account: AccountId = SHOP) -> Node | None:
        """Return who has the right to run an account now, and let nobody else have it."""
        holders = [node for node in self.nodes if node.holds(account)]
        assert len(holders) <= 1, f"{[node.id for node in holders]} run {account} at {now():.3f}"
        return holders[0] if holders else None

    async def until_held(self, account: AccountId = SHOP, patience: float = 60.0) -> Node:
        async with asyncio.timeout(patience):
            while (holder := self.holder(account)) is None:
                await asyncio.sleep(0.01)
        return holder

    def of(self, type: EventType, by: InstanceId | None = None) -> list[Told]:  # noqa: A002 - the event's word
        return [each for each in self.told if each.type is type and by in {None, each.by}]

    async def check(self) -> None:
        """At no instant two have the right."""
        while True:
            for account in {each for node in self.nodes for each in node.fitness}:
                self.holder(account)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def scene(limits: Limits = LIMITS) -> AsyncIterator[Scene]:
    scene = Scene(limits)
    check = asyncio.create_task(scene.check())
    try:
        yield scene
        if check.done():
            check.result()
        for node in scene.nodes:
            assert not node.task.done(), f"the keeper of {node.id} has ended: {node.task.exception()}"
    finally:
        for node in list(scene.nodes):
            await node.crash()
        check.cancel()
        await asyncio.gather(check, return_exceptions=True)


async def two(here: Scene, lead: float = 1.0) -> tuple[Node, Node]:
    """The north holds the account, the south stands by."""
    north = await here.start(NORTH, region="primary")
    await asyncio.sleep(lead)
    south = await here.start(SOUTH)
    await asyncio.sleep(5)
    assert (north.holds(), south.holds()) == (True, False)
    return north, south
