from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from support.virtual_time import SeededRandom, VirtualClock
from tandem.cluster.memory import Act, MemoryGround, MemoryMeeting
from tandem.cluster.port import Put, SeenInstance
from tandem.cluster.sight import Outlook
from tandem.cluster.stream import Stream
from tandem.model.cluster import Instance, InstanceId
from unit.cluster.lease_parts import LIMITS, NORTH, SOUTH, TIMEOUT, Way, meeting_at, now
from unit.cluster.meeting_places import heartbeat
from unit.supervision.test_supervisor import virtual

HOUR = 3600.0
WEST = InstanceId("west")


class Rig:
    """The north watches; whoever beats does it behind its back."""

    def __init__(self, meeting: MemoryMeeting, ground: MemoryGround, way: Way) -> None:
        self.way = way
        self.told: list[float] = []
        self.meeting = meeting
        self.outlook = Outlook(NORTH, VirtualClock(), LIMITS)
        self.stream = Stream(
            meeting, self.outlook, NORTH, lambda: self.told.append(now()), clock=VirtualClock(), random=SeededRandom()
        )
        self._ground = ground

    def beat(self, name: InstanceId, beat: int) -> SeenInstance:
        _, version = self._ground.documents.get((Instance, name), (None, None))
        [version] = self._ground.commit([Put(heartbeat(name, beat), version)])
        return SeenInstance(heartbeat(name, beat), version)

    def seen(self, name: InstanceId) -> int:
        member = self.outlook.members.get(name)
        return member.instance.beat if member else 0


@asynccontextmanager
async def _watching() -> AsyncIterator[Rig]:
    ground, way = MemoryGround(), Way()
    rig = Rig(await meeting_at(ground, NORTH, way), ground, way)
    task = asyncio.create_task(rig.stream.run())
    try:
        await asyncio.sleep(0.01)
        yield rig
        assert not task.done(), "it follows until it is cancelled"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual
async def test_what_changes_is_taken_in_and_told() -> None:
    async with _watching() as rig:
        assert rig.outlook.whole
        rig.beat(SOUTH, 1)
        await asyncio.sleep(1)
        rig.beat(SOUTH, 2)
        await asyncio.sleep(1)
        assert rig.seen(SOUTH) == 2
        assert rig.told == [0.0, 0.01, 1.01]
        assert rig.way.asked[Act.WATCH] == 1


@virtual
async def test_a_stream_that_breaks_is_followed_by_another_that_shows_what_was_missed() -> None:
    async with _watching() as rig:
        rig.way.cut()
        rig.beat(SOUTH, 1)
        await asyncio.sleep(30)
        assert rig.seen(SOUTH) == 0
        tries = rig.way.asked[Act.WATCH]
        assert 15 < tries < 40, "about once a second"
        rig.way.heal()
        await asyncio.sleep(2.0)
        assert rig.seen(SOUTH) == 1


@virtual
async def test_a_break_of_an_hour_is_like_any_other() -> None:
    async with _watching() as rig:
        rig.way.cut()
        rig.beat(SOUTH, 1)
        await asyncio.sleep(HOUR)
        rig.way.heal()
        await asyncio.sleep(2.0)
        assert rig.seen(SOUTH) == 1


@virtual
async def test_after_a_long_break_everybody_has_their_time_again() -> None:
    async with _watching() as rig:
        rig.beat(SOUTH, 1)
        await asyncio.sleep(1)
        rig.way.cut()
        rig.beat(SOUTH, 2)
        await asyncio.sleep(2)
        rig.way.heal()
        await asyncio.sleep(2.5)
        assert rig.outlook.members[SOUTH].seen_at == pytest.approx(4.0, abs=1.5)
        seen_at = rig.outlook.members[SOUTH].seen_at
        rig.way.cut()
        rig.beat(WEST, 1)
        await asyncio.sleep(LIMITS.renew + 1)
        rig.way.heal()
        await asyncio.sleep(2.5)
        assert rig.seen(WEST) == 1
        assert rig.outlook.members[SOUTH].seen_at > seen_at + LIMITS.renew


@virtual
async def test_a_look_that_shows_what_the_stream_did_not_tell_opens_another() -> None:
    async with _watching() as rig:
        rig.beat(SOUTH, 1)
        await asyncio.sleep(0.1)
        rig.stream.look_at(await rig.meeting.read([SOUTH], [], TIMEOUT))
        await asyncio.sleep(1)
        assert rig.way.asked[Act.WATCH] == 1, "nothing new was seen"
        assert rig.outlook.members[SOUTH].looked_at == pytest.approx(0.11)
        rig.way.hangs = {Act.TELL}
        rig.beat(SOUTH, 2)
        await asyncio.sleep(0.1)
        told = len(rig.told)
        rig.stream.look_at(await rig.meeting.read([SOUTH], [], TIMEOUT))
        assert (rig.seen(SOUTH), len(rig.told)) == (2, told + 1)
        rig.way.heal()
        rig.beat(SOUTH, 3)
        await asyncio.sleep(1)
        assert (rig.way.asked[Act.WATCH], rig.seen(SOUTH)) == (2, 3)
