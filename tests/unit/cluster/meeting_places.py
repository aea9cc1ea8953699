"""Meeting places to test against, what is written there, and one who watches and remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, Self

from tandem.cluster.documents import instance_name, lease_name
from tandem.cluster.firestore import FirestoreMeeting
from tandem.cluster.memory import MemoryGround, MemoryMeeting
from tandem.cluster.port import Meeting, Put, SeenInstance, SeenLease, Sight, Version
from tandem.model.cluster import NOBODY, AccountStanding, Fitness, Instance, InstanceId, Lease, SlotStanding
from tandem.model.ids import AccountId
from tandem.model.states import SessionState, Slot
from tandem.store.firestore.client import Client
from tandem.store.firestore.credentials import Target
from tandem.store.firestore.documents import Names
from tandem.store.firestore.values import Write

ACCOUNT = AccountId("1f0c8a62b7d94e35")
OTHER = AccountId("77aa01f2c3d4e5f6")
NORTH, SOUTH = InstanceId("north-4f1c"), InstanceId("south-9b2e")
TIMEOUT = 10.0


def heartbeat(instance: InstanceId = NORTH, beat: int = 1, *, deposed: bool = False) -> Instance:
    slot = SlotStanding(SessionState.ONLINE, "online", "12025550101:3@s.whatsapp.net", 1_795_000_000.25)
    standing = AccountStanding(Fitness.ONLINE, {Slot.PRIMARY: slot}, 1_795_000_100.5)
    return Instance(
        instance, "a name", 1, beat, 5.0, "north", "https://north.example", "0.1.0", "origin", deposed, False,
        1_795_000_123.0, {ACCOUNT: standing},
    )  # fmt: skip


def lease(account: AccountId = ACCOUNT, holder: InstanceId = NORTH, generation: int = 1) -> Lease:
    return Lease(account, holder, 1, generation, reason="nobody held it", since=1_795_000_000.0)


class Place(Protocol):
    """Where instances can meet."""

    async def meeting(self, instance: InstanceId = NORTH) -> Meeting: ...

    async def remove(self, document: Instance | Lease) -> None: ...

    async def close(self) -> None: ...


class MemoryPlace:
    def __init__(self) -> None:
        self._ground = MemoryGround()

    async def meeting(self, instance: InstanceId = NORTH) -> Meeting:
        meeting = MemoryMeeting(self._ground, instance)
        await meeting.open()
        return meeting

    async def remove(self, document: Instance | Lease) -> None:
        self._ground.remove(document)

    async def close(self) -> None:
        pass


class FirestorePlace:
    def __init__(self, address: str, project: str) -> None:
        self.target = Target(project, emulator=address)
        self.names = Names(self.target.path)
        self.client = Client(self.target)
        self.client.connect()
        self._opened: list[FirestoreMeeting] = []

    async def meeting(self, instance: InstanceId = NORTH, address: str | None = None) -> FirestoreMeeting:
        """Return another way to this place, through ``address`` if it is given."""
        del instance
        meeting = FirestoreMeeting(Target(self.target.project, emulator=address or self.target.emulator))
        self._opened.append(meeting)
        await meeting.open()
        return meeting

    async def remove(self, document: Instance | Lease) -> None:
        name = (
            instance_name(self.names, document.id)
            if isinstance(document, Instance)
            else lease_name(self.names, document.account)
        )
        await self.client.commit([Write(delete=name)], TIMEOUT)

    async def close(self) -> None:
        for meeting in self._opened:
            await meeting.close()
        await self.client.close()


class Watcher:
    """Watches until the stream ends and keeps what it saw, each sight and all of it together."""

    def __init__(self, meeting: Meeting, without: InstanceId = NOBODY) -> None:
        self.sights: list[Sight] = []
        self.instances: dict[InstanceId, SeenInstance | None] = {}
        self.leases: dict[AccountId, SeenLease | None] = {}
        self.error: BaseException | None = None
        self._meeting = meeting
        self._without = without
        self._news = asyncio.Event()

    async def run(self) -> None:
        try:
            async for sight in self._meeting.watch(self._without):
                self.sights.append(sight)
                self.instances.update(sight.instances)
                self.leases.update(sight.leases)
                self._news.set()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error
            self._news.set()

    async def until(self, reached: Callable[[Self], object], seconds: float = 1.0) -> None:
        async with asyncio.timeout(seconds):
            while not reached(self):
                await self._news.wait()
                self._news.clear()

    def beat(self, instance: InstanceId = NORTH) -> int:
        seen = self.instances.get(instance)
        return seen.instance.beat if seen else 0

    def holder(self, account: AccountId = ACCOUNT) -> InstanceId | None:
        seen = self.leases.get(account)
        return seen.lease.holder if seen else None


@asynccontextmanager
async def watching(meeting: Meeting, patience: float = 10.0, without: InstanceId = NOBODY) -> AsyncIterator[Watcher]:
    """Yield one who watches and has seen what there is."""
    watcher = Watcher(meeting, without)
    task = asyncio.create_task(watcher.run())
    try:
        await watcher.until(lambda each: each.sights, patience)
        yield watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def put(meeting: Meeting, document: Instance | Lease, expected: Version | None = None) -> Version:
    [version] = await meeting.commit([Put(document, expected)], TIMEOUT)
    return version
