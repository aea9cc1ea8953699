"""Instances of one seed: real keepers on virtual time, a meeting place with weather, and everything that goes wrong.

What is real: the keeper, its term, its outlook, the policy. What is modelled: the meeting place (``MemoryMeeting``),
the network, and the sending of messages: a call of the library that was begun takes its time, whether or not its daemon
is paused meanwhile. What must hold: no message leaves an instance after another one has taken the account's lease; and
once all is well again, every account runs somewhere, once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from support.virtual_time import SeededRandom
from tandem.cluster.keeper import Keeper, KeeperPorts, Self
from tandem.cluster.memory import Act, MemoryGround, MemoryMeeting
from tandem.errors import StoreUnavailable
from tandem.model.cluster import NOBODY, AccountStanding, Fitness, InstanceId, Lease, Right
from tandem.model.ids import AccountId
from tandem.policy.lease import Limits, Take, View

ACCOUNTS = tuple(AccountId(f"account-{number}") for number in range(3))
STORM, CALM = 120.0, 60.0
_SEND_LONGEST = 1.5


class InstanceClock:
    """An instance's clocks. While it is paused, nothing of it goes on that waits for anything."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.running.set()
        self.jumped = 0.0

    def now(self) -> float:
        return 1_700_000_000.0 + asyncio.get_running_loop().time() + self.jumped

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.running.wait()


class WallClock(InstanceClock):
    """The mistake of taking the time of day for a duration."""

    def monotonic(self) -> float:
        return self.now()


class Unfenced(Keeper):
    """The mistake of believing in a lease for as long as nobody says otherwise."""

    def right(self, account: AccountId) -> Right | None:
        generation = self._held.get(account)
        return None if generation is None else Right(account, generation, inf)

    async def _guard(self) -> None:
        await asyncio.Event().wait()


class Unconditional(Keeper):
    """The mistake of taking a silent holder's lease without ending its term."""

    async def _take(self, view: View, takes: Sequence[Take]) -> None:
        await super()._take(view, [replace(take, depose=NOBODY) for take in takes])


@dataclass
class Network:
    """What an instance's way to the meeting place is like now."""

    cut: bool = False
    swallows: bool = False
    lossy: float = 0.0
    slow: float = 0.0
    deaf: bool = False


@dataclass
class Node:
    """One instance, restarted now and then on the same data directory."""

    id: InstanceId
    keeper: Keeper
    clock: InstanceClock
    tasks: list[asyncio.Task[None]]
    fitness: dict[AccountId, Fitness]
    network: Network
    serving: set[AccountId] = field(default_factory=set)
    calls: dict[asyncio.Task[None], AccountId] = field(default_factory=dict)

    async def take_up(self, account: AccountId, _generation: int) -> None:
        self.serving.add(account)

    async def lay_down(self, account: AccountId, lost: bool) -> None:  # noqa: FBT001 - the port's
        """As the supervisor does it: no new sends, a second for those under way, then their host is ended."""
        self.serving.discard(account)
        calls = [call for call, of in self.calls.items() if of == account]
        if calls and not lost:
            _, late = await asyncio.wait(calls, timeout=1.0)
            for call in late:
                call.cancel()


class World:
    """Plays one seed. ``violations`` says in words what must never happen and did."""

    def __init__(
        self,
        seed: int,
        *,
        keeper: type[Keeper] = Keeper,
        clock: Callable[[], InstanceClock] = InstanceClock,
        instances: int = 3,
    ) -> None:
        self.violations: list[str] = []
        self.sends = 0
        self.takeovers = 0
        self._dice = random.Random(seed)
        self._seed = seed
        self._keeper = keeper
        self._clock = clock
        self._ground = MemoryGround()
        self._networks = {InstanceId(f"i{number}"): Network() for number in range(instances)}
        self._nodes: dict[InstanceId, Node] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._limits = Limits(settle=10.0, pause=5.0, idle=20.0)
        self._spread = self._dice.random() < 0.3

    async def play(self) -> None:
        for name in self._networks:
            await self._start(name, "origin")
        await self._storm()
        await self._heal()
        await asyncio.sleep(CALM)
        self._judge_the_end()
        for node in list(self._nodes.values()):
            await self._stop(node, gently=self._dice.random() < 0.5)
        for call in list(self._calls):
            call.cancel()

    async def _start(self, name: InstanceId, origin: str) -> None:
        clock, network = self._clock(), self._networks[name]
        fitness = dict.fromkeys(ACCOUNTS, Fitness.ONLINE)

        async def weather(_instance: InstanceId, act: Act) -> None:
            await self._weather(network, clock, act)

        async def nothing(_account: AccountId) -> None:
            """Every account is known everywhere."""

        async def standings() -> Mapping[AccountId, AccountStanding]:
            return {account: AccountStanding(each) for account, each in fitness.items()}

        meeting = MemoryMeeting(self._ground, name, weather)
        await meeting.open()

        async def take_up(account: AccountId, generation: int) -> None:
            await node.take_up(account, generation)

        async def lay_down(account: AccountId, lost: bool) -> None:  # noqa: FBT001 - the port's
            await node.lay_down(account, lost)

        ports = KeeperPorts(
            fitness=lambda: dict(fitness), standings=standings, take_up=take_up, lay_down=lay_down,
            discovered=nothing, removed=nothing, publish=lambda *_, **__: None,
        )  # fmt: skip
        me = Self(name, str(name), origin, region="primary" if name == "i0" else "backup", spread=self._spread)
        keeper = self._keeper(
            me, meeting, self._limits, ports, clock=clock, random=SeededRandom(self._dice.getrandbits(32))
        )
        node = Node(name, keeper, clock, [], fitness, network)
        self._nodes[name] = node
        node.tasks = [asyncio.create_task(keeper.run()), asyncio.create_task(self._send_on(node))]

    async def _weather(self, network: Network, clock: InstanceClock, act: Act) -> None:
        answer = act in {Act.COMMITTED, Act.HAVE_READ, Act.TELL}
        await asyncio.sleep(self._dice.uniform(0.001, 0.03))
        if network.slow and self._dice.random() < network.slow and act is not Act.TELL:
            await asyncio.sleep(self._dice.uniform(0.5, 15.0))
        if act is Act.TELL and network.deaf:
            await asyncio.Event().wait()
        if network.cut and network.swallows:
            await asyncio.Event().wait()
        if network.cut or (self._dice.random() < network.lossy and act is not Act.TELL):
            raise StoreUnavailable("the network is away")
        if answer:
            await clock.running.wait()

    async def _send_on(self, node: Node) -> None:
        while True:
            await node.clock.sleep(self._dice.uniform(0.1, 1.0))
            for account in ACCOUNTS:
                right = node.keeper.right(account)
                if right is not None and account in node.serving:
                    call = asyncio.create_task(self._call(node.id, account, right.generation))
                    node.calls[call] = account
                    call.add_done_callback(node.calls.pop)

    async def _call(self, sender: InstanceId, account: AccountId, generation: int) -> None:
        """The library sends, in a process of its own: it takes as long as it takes."""
        rare = self._dice.random() < 0.05
        await asyncio.sleep(self._dice.uniform(0.0, _SEND_LONGEST if rare else 0.1))
        self.sends += 1
        lease = self._lease(account)
        if lease is not None and lease.generation > generation and lease.holder not in {"", sender}:
            at = asyncio.get_running_loop().time()
            self.violations.append(
                f"seed {self._seed}, {at:.2f} s: {sender} sent for {account} under generation {generation}, "
                f"{lease.holder} has generation {lease.generation} since"
            )

    def _lease(self, account: AccountId) -> Lease | None:
        document = self._ground.documents.get((Lease, account), (None,))[0]
        return document if isinstance(document, Lease) else None

    async def _storm(self) -> None:
        end = asyncio.get_running_loop().time() + STORM
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(self._dice.expovariate(1 / 6.0))
            if not self._nodes:
                continue
            node = self._dice.choice(list(self._nodes.values()))
            fault = self._dice.choice(
                [self._pause, self._cut, self._lose, self._slow, self._deafen, self._jump, self._crash, self._redeploy,
                 self._sicken, self._drain]
            )  # fmt: skip
            task = asyncio.create_task(fault(node, self._dice.uniform(1.0, 40.0)))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _pause(self, node: Node, seconds: float) -> None:
        node.clock.running.clear()
        await asyncio.sleep(seconds)
        node.clock.running.set()

    async def _cut(self, node: Node, seconds: float) -> None:
        node.network.cut, node.network.swallows = True, self._dice.random() < 0.5
        await asyncio.sleep(seconds)
        node.network.cut = False

    async def _lose(self, node: Node, seconds: float) -> None:
        node.network.lossy = self._dice.uniform(0.1, 0.7)
        await asyncio.sleep(seconds)
        node.network.lossy = 0.0

    async def _slow(self, node: Node, seconds: float) -> None:
        node.network.slow = self._dice.uniform(0.1, 0.7)
        await asyncio.sleep(seconds)
        node.network.slow = 0.0

    async def _deafen(self, node: Node, seconds: float) -> None:
        node.network.deaf = True
        await asyncio.sleep(seconds)
        node.network.deaf = False

    async def _jump(self, node: Node, seconds: float) -> None:
        node.clock.jumped += self._dice.choice([-86_400.0, -3600.0, -seconds, seconds, 3600.0, 86_400.0])

    async def _crash(self, node: Node, seconds: float) -> None:
        await self._replace(node, gently=False, origin=self._dice.choice(["origin", f"other {seconds}"]))

    async def _redeploy(self, node: Node, seconds: float) -> None:
        await self._replace(node, gently=True, origin=self._dice.choice(["origin", f"other {seconds}"]))

    async def _replace(self, node: Node, *, gently: bool, origin: str) -> None:
        if self._nodes.get(node.id) is not node:
            return
        del self._nodes[node.id]
        await self._stop(node, gently=gently)
        await asyncio.sleep(self._dice.uniform(0.1, 10.0))
        await self._start(node.id, origin)

    async def _stop(self, node: Node, *, gently: bool) -> None:
        """Whatever comes in between, the process is gone afterwards: the next one has its data directory."""
        try:
            if gently:
                leaving = asyncio.create_task(node.keeper.leave_all("the instance stops"))
                node.tasks.append(leaving)
                await asyncio.wait([leaving], timeout=self._dice.uniform(0.0, 5.0))
        finally:
            ended = [*node.tasks, *node.calls]  # a host dies with its daemon, and its calls with it
            for task in ended:
                task.cancel()
            await asyncio.gather(*ended, return_exceptions=True)

    async def _sicken(self, node: Node, seconds: float) -> None:
        account = self._dice.choice(ACCOUNTS)
        node.fitness[account] = self._dice.choice([Fitness.LINKED, Fitness.UNLINKED])
        node.keeper.changed()
        await asyncio.sleep(seconds)
        node.fitness[account] = Fitness.ONLINE
        node.keeper.changed()

    async def _drain(self, node: Node, seconds: float) -> None:
        node.keeper.draining = True
        node.keeper.changed()
        await asyncio.sleep(seconds)
        node.keeper.draining = False
        node.keeper.changed()

    async def _heal(self) -> None:
        for task in list(self._calls):
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        for name, network in self._networks.items():
            network.cut = network.deaf = False
            network.lossy = network.slow = 0.0
            if name not in self._nodes:
                await self._start(name, "origin")
        for node in self._nodes.values():
            node.clock.running.set()
            node.fitness.update(dict.fromkeys(ACCOUNTS, Fitness.ONLINE))
            node.keeper.draining = False
            node.keeper.changed()

    def _judge_the_end(self) -> None:
        for account in ACCOUNTS:
            lease = self._lease(account)
            self.takeovers += lease.generation if lease else 0
            holders = [node.id for node in self._nodes.values() if node.keeper.right(account)]
            if len(holders) != 1:
                self.violations.append(f"seed {self._seed}: {account} runs at {holders} although all is well")
