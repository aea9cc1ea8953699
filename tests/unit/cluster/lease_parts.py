"""What the tests of the lease machinery share: an instance's way to the meeting place, with its faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from support.virtual_time import VirtualClock
from tandem.cluster.memory import Act, MemoryGround, MemoryMeeting
from tandem.errors import StoreUnavailable
from tandem.model.cluster import Instance, InstanceId, Lease
from tandem.model.ids import AccountId
from tandem.policy.lease import Limits

SHOP, KIOSK = AccountId("1f0c8a62b7d94e35"), AccountId("77aa01f2c3d4e5f6")
NORTH, SOUTH, WEST = InstanceId("north-4f1c"), InstanceId("south-9b2e"), InstanceId("west-11d0")
LIMITS = Limits()
TIMEOUT = 2.0


@dataclass
class Way:
    """``refuses``: these acts fail; ``hangs``: they never end, with the whole network; ``slow``: seconds each takes."""

    refuses: set[Act] = field(default_factory=set)
    hangs: set[Act] = field(default_factory=set)
    slow: dict[Act, float] = field(default_factory=dict)
    asked: Counter[Act] = field(default_factory=Counter)

    async def __call__(self, _instance: InstanceId, act: Act) -> None:
        self.asked[act] += 1
        if act in self.slow:
            await asyncio.sleep(self.slow[act])
        if act in self.hangs:
            await asyncio.Event().wait()
        if act in self.refuses:
            raise StoreUnavailable("the network is away")

    def cut(self) -> None:
        self.refuses = set(Act)

    def hang(self) -> None:
        self.hangs = set(Act)

    def heal(self) -> None:
        self.refuses, self.hangs, self.slow = set(), set(), {}


class JumpingClock(VirtualClock):
    """Its wall clock can be set."""

    jumped = 0.0

    def now(self) -> float:
        return super().now() + self.jumped


async def meeting_at(ground: MemoryGround, instance: InstanceId, way: Way | None = None) -> MemoryMeeting:
    meeting = MemoryMeeting(ground, instance, way or Way())
    await meeting.open()
    return meeting


def beat_at(ground: MemoryGround, instance: InstanceId) -> Instance:
    document, _ = ground.documents[Instance, instance]
    assert isinstance(document, Instance)
    return document


def lease_at(ground: MemoryGround, account: AccountId = SHOP) -> Lease:
    document, _ = ground.documents[Lease, account]
    assert isinstance(document, Lease)
    return document


def now() -> float:
    return asyncio.get_running_loop().time()
