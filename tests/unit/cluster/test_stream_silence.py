"""A stream that has died without a word is noticed, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.cluster.memory import Act, MemoryGround, MemoryMeeting
from tandem.cluster.sight import Outlook
from tandem.cluster.stream import Stream
from tandem.model.cluster import InstanceId
from tandem.policy.lease import Limits
from unit.cluster.meeting_places import NORTH, SOUTH, heartbeat, put


class Scene:
    """The north follows; the south writes. While ``deaf``, nothing that the north would be told arrives."""

    def __init__(self) -> None:
        self.deaf = False
        self.opened = 0
        ground, clock = MemoryGround(), VirtualClock()
        self.north, self.south = MemoryMeeting(ground, NORTH, self._weather), MemoryMeeting(ground, SOUTH)
        self.outlook = Outlook(NORTH, clock, Limits())
        self.stream = Stream(self.north, self.outlook, NORTH, lambda: None, clock=clock, random=SeededRandom(1))

    async def _weather(self, _instance: InstanceId, act: Act) -> None:
        self.opened += act is Act.WATCH
        if act is Act.TELL and self.deaf:
            await asyncio.Event().wait()

    async def doubt_for(self, seconds: float) -> None:
        """As the keeper does: ask whenever it is time to."""
        ends = asyncio.get_running_loop().time() + seconds
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left, self.stream.doubt()))

    def beat(self, instance: InstanceId = SOUTH) -> int:
        member = self.outlook.members.get(instance)
        return member.instance.beat if member else 0


@asynccontextmanager
async def _followed(scene: Scene) -> AsyncIterator[None]:
    await scene.north.open()
    await scene.south.open()
    task = asyncio.create_task(scene.stream.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _play(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene()
        async with _followed(scene):
            await story(scene)

    run_virtually(run())


def test_one_that_does_not_open_is_replaced_until_one_does() -> None:
    async def story(scene: Scene) -> None:
        scene.deaf = True
        await put(scene.south, heartbeat(SOUTH))
        await scene.doubt_for(20)
        assert scene.opened > 3
        assert scene.beat() == 0
        scene.deaf = False
        await scene.doubt_for(5.1)
        assert scene.beat() == 1

    _play(story)


@pytest.mark.parametrize("beats", [True, False])
def test_one_that_tells_of_something_now_and_then_is_kept(beats: bool) -> None:  # noqa: FBT001 - a parameter
    async def story(scene: Scene) -> None:
        version = await put(scene.south, heartbeat(SOUTH))
        await scene.doubt_for(1)
        for beat in range(2, 31):
            version = await put(scene.south, heartbeat(SOUTH, beat), version) if beats else version
            await scene.doubt_for(60)
        assert scene.opened == (1 if beats else 6)

    _play(story)


def test_what_was_missed_is_known_after_five_minutes_although_nobody_is_overdue() -> None:
    async def story(scene: Scene) -> None:
        await scene.doubt_for(1)
        scene.deaf = True
        await put(scene.south, heartbeat(SOUTH))
        await scene.doubt_for(1)
        scene.deaf = False
        await scene.doubt_for(290)
        assert scene.beat() == 0
        await scene.doubt_for(12)
        assert scene.beat() == 1

    _play(story)


def test_a_look_that_shows_what_was_not_told_opens_another_at_once() -> None:
    async def story(scene: Scene) -> None:
        version = await put(scene.south, heartbeat(SOUTH))
        await scene.doubt_for(1)
        scene.deaf = True
        version = await put(scene.south, heartbeat(SOUTH, 2), version)
        await scene.doubt_for(1)
        scene.deaf = False
        scene.stream.look_at(await scene.north.read([SOUTH], [], 1.0))
        assert scene.beat() == 2
        await scene.doubt_for(2.1)
        assert scene.opened == 2
        await put(scene.south, heartbeat(SOUTH, 3), version)
        await scene.doubt_for(0.1)
        assert scene.beat() == 3

    _play(story)


def test_what_is_written_here_is_not_told_and_not_forgotten() -> None:
    async def story(scene: Scene) -> None:
        await put(scene.north, heartbeat())
        scene.outlook.take_in(await scene.north.read([NORTH], [], 1.0))
        await scene.doubt_for(1)
        assert scene.outlook.whole
        assert scene.beat(NORTH) == 1

    _play(story)
