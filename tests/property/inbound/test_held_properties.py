"""Two instances receive, the lease goes to and fro, marks say anything: all is stored once, and told of."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.errors import StoreUnavailable
from tandem.inbound.held import HeldBack
from tandem.model.account import Account
from tandem.model.ids import AccountId
from tandem.model.message import Message
from tandem.queue.announcements import WEBHOOK
from tandem.queue.queue import Queue
from tandem.store.memory import MemoryStore
from unit.queue.parts import ACCOUNT, ANN, BOB, NUMBER, arrival, everything, make_queue, message
from unit.queue.test_standings import own

HOOK = "hooks.example-1"
NAMES = ("east", "west")
NOBODY = ""

arrivals = st.tuples(st.just("arrive"), st.sampled_from(NAMES), st.integers(0, 15))
writes = st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from(["done", "refused", "done, answer lost"]))
looks = st.tuples(st.just("look"), st.sampled_from(NAMES), st.sampled_from(["done", "refused", "killed after it"]))
leases = st.tuples(st.just("lease"), st.sampled_from([*NAMES, NOBODY]), st.just(0))
marks = st.tuples(st.just("mark"), st.just(""), st.sampled_from([-10_000, -70, -61, -30, -5, 0, 500]))
pauses = st.tuples(st.just("pause"), st.just(""), st.sampled_from([1, 11, 65, 3_700]))
kills = st.tuples(st.just("kill"), st.sampled_from(NAMES), st.just(0))
steps = st.lists(arrivals | arrivals | writes | looks | leases | marks | pauses | kills, max_size=40)


@dataclass
class Place:
    """An instance: what is on its disk, and the parts that run on it until it is killed."""

    folder: Path
    queue: Queue
    held: HeldBack
    received: set[int] = field(default_factory=set)


@dataclass
class World:
    folder: Path
    store: MemoryStore = field(default_factory=lambda: MemoryStore(VirtualClock()))
    holder: str = NOBODY
    mark: float = 0.0
    places: dict[str, Place] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        folder = self.folder / name
        queue = make_queue(folder)
        await queue.open()
        await queue.registry.save_account(Account(ACCOUNT, NUMBER, "Office", 1.0))
        await queue.deliveries.configure(WEBHOOK, [HOOK])

        def holds(_account: AccountId) -> bool:
            return self.holder == name

        def durable_through(_account: AccountId) -> float:
            return self.mark if self.holder else 0.0

        held = HeldBack(
            queue, self.store, holds, durable_through, deadline=9.0, clock=VirtualClock(), random=SeededRandom(1)
        )
        received = self.places[name].received if name in self.places else set()
        self.places[name] = Place(folder, queue, held, received)

    async def kill(self, name: str) -> None:
        """What was not settled on the disk is as if it had not been done."""
        await self.places[name].queue.close()
        await self.start(name)

    async def arrive(self, name: str, number: int) -> None:
        await asyncio.sleep(1)
        at = int(VirtualClock().now() * 1000)
        held = self.holder != name
        content = _message(number, at)
        await self.places[name].queue.inbox.put([arrival(content, held=held)])
        self.places[name].received.add(number)

    async def write(self, name: str, how: str) -> int:
        inbox = self.places[name].queue.inbox
        pending = await inbox.pending(5, everything)
        if how != "refused":
            await self.store.write([each.message for each in pending])
        if how == "done":
            await inbox.settle(pending)
        return len(pending)

    async def look(self, name: str, how: str) -> None:
        held = self.places[name].held
        self.store.failing = how == "refused"
        try:
            await held._look()
        except StoreUnavailable:
            assert how == "refused"
        self.store.failing = False
        if how == "killed after it":
            await self.kill(name)

    async def stored(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for chat in (ANN, BOB):
            for each in await self.store.messages(ACCOUNT, chat, 1_000):
                found[each.message.message_id] = found.get(each.message.message_id, 0) + 1
        return found

    async def announced(self) -> set[str]:
        told: set[str] = set()
        for place in self.places.values():
            rows = await place.queue.database.read(
                lambda connection: connection.execute("SELECT id FROM deliveries").fetchall()
            )
            told |= {str(row[0]) for row in rows}
        return told


def _message(number: int, at: int) -> Message:
    if number % 5 == 0:
        return own(number)
    return message(number, BOB if number % 3 else ANN, received_at=at)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.sampled_from(NAMES))
def test_everything_that_anybody_received_is_stored_once_and_told_of(
    taken: list[tuple[str, str, object]], last: str
) -> None:
    run_virtually(_play(taken, last))


async def _play(taken: list[tuple[str, str, object]], last: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory))
        for name in NAMES:
            await world.start(name)
        for what, name, how in taken:
            await _step(world, what, name, how)
            await _nothing_is_lost(world)
        world.holder = last
        for _ in range(2):
            await asyncio.sleep(120)
            world.mark = VirtualClock().now()
            for name in NAMES:
                await world.look(name, "done")
                while await world.write(name, "done"):
                    pass
        received = set().union(*(place.received for place in world.places.values()))
        assert await world.stored() == {_message(number, 0).message_id: 1 for number in received}
        assert len(await world.announced()) == len(received)
        for place in world.places.values():
            assert (place.queue.inbox.depth, place.queue.inbox.held) == (0, 0)
            await place.queue.close()


async def _step(world: World, what: str, name: str, how: object) -> None:
    match what:
        case "arrive":
            await world.arrive(name, int(str(how)))
        case "write":
            await world.write(name, str(how))
        case "look":
            await world.look(name, str(how))
        case "lease":
            world.holder = name
        case "mark":
            world.mark = VirtualClock().now() + float(str(how))
        case "pause":
            await asyncio.sleep(float(str(how)))
        case "kill":
            await world.kill(name)


async def _nothing_is_lost(world: World) -> None:
    """At any time: what an instance received is on its disk or in the store, and its figures fit its disk."""
    stored = set(await world.stored())
    for place in world.places.values():
        rows = await place.queue.database.read(
            lambda connection: connection.execute("SELECT message_id, held FROM inbox").fetchall()
        )
        kept = {str(row[0]) for row in rows}
        assert {_message(number, 0).message_id for number in place.received} <= kept | stored
        assert (place.queue.inbox.depth, place.queue.inbox.held) == (len(rows), sum(row[1] for row in rows))
