"""The weather between an instance and the meeting place in memory, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from support.virtual_time import run_virtually
from tandem.cluster.memory import Act, MemoryGround, MemoryMeeting
from tandem.cluster.port import LostRace, Put
from tandem.errors import StoreUnavailable
from tandem.model.cluster import InstanceId
from unit.cluster.meeting_places import NORTH, SOUTH, heartbeat, put, watching

Story = Callable[[MemoryMeeting, MemoryMeeting], Awaitable[None]]


class Sky:
    """What happens to each act of the north: seconds of delay, below 0 an outage. The south has fair weather."""

    def __init__(self) -> None:
        self.acts: dict[Act, float] = {}

    async def __call__(self, instance: InstanceId, act: Act) -> None:
        seconds = self.acts.get(act, 0.0) if instance == NORTH else 0.0
        if seconds < 0:
            raise StoreUnavailable("a storm")
        await asyncio.sleep(seconds)


def told(acts: dict[Act, float], story: Story) -> None:
    """Run a story of two instances; from its beginning on the north has this weather."""

    async def run() -> None:
        ground, sky = MemoryGround(), Sky()
        north, south = MemoryMeeting(ground, NORTH, sky), MemoryMeeting(ground, SOUTH, sky)
        await north.open()
        await south.open()
        sky.acts = acts
        await story(north, south)

    run_virtually(run())


async def _beat(south: MemoryMeeting) -> int:
    seen = (await south.read([NORTH], [], 1.0)).instances[NORTH]
    return seen.instance.beat if seen else 0


def test_a_request_that_is_lost_was_not_done() -> None:
    async def story(north: MemoryMeeting, south: MemoryMeeting) -> None:
        with pytest.raises(StoreUnavailable):
            await put(north, heartbeat())
        assert await _beat(south) == 0

    told({Act.COMMIT: -1}, story)


def test_an_answer_that_is_lost_was_done() -> None:
    async def story(north: MemoryMeeting, south: MemoryMeeting) -> None:
        with pytest.raises(StoreUnavailable):
            await put(north, heartbeat())
        assert await _beat(south) == 1

    told({Act.COMMITTED: -1}, story)


def test_a_request_may_arrive_after_its_sender_has_given_up() -> None:
    async def story(north: MemoryMeeting, south: MemoryMeeting) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(StoreUnavailable):
            await north.commit([Put(heartbeat(), None)], 2.0)
        assert loop.time() == pytest.approx(2.0)
        assert await _beat(south) == 0
        await asyncio.sleep(3.1)
        assert await _beat(south) == 1

    told({Act.COMMIT: 5}, story)


def test_a_request_of_one_who_died_arrives_and_loses_if_it_is_late() -> None:
    async def story(north: MemoryMeeting, south: MemoryMeeting) -> None:
        dying = asyncio.create_task(put(north, heartbeat()))
        await asyncio.sleep(1)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        await put(south, heartbeat(beat=7))
        await asyncio.sleep(5)
        assert await _beat(south) == 7

    told({Act.COMMIT: 5}, story)


def test_to_have_lost_is_an_answer_that_can_be_lost_too() -> None:
    async def story(north: MemoryMeeting, south: MemoryMeeting) -> None:
        await put(south, heartbeat(beat=7))
        with pytest.raises(StoreUnavailable):
            await put(north, heartbeat())
        assert await _beat(south) == 7

    told({Act.COMMITTED: -1}, story)


def test_fair_weather_lets_everything_pass() -> None:
    async def story(north: MemoryMeeting, south: MemoryMeeting) -> None:
        await put(north, heartbeat())
        with pytest.raises(LostRace):
            await put(south, heartbeat())

    told({}, story)


@pytest.mark.parametrize(("acts", "seconds"), [({Act.READ: -1}, 0), ({Act.HAVE_READ: -1}, 0), ({Act.READ: 9}, 1)])
def test_a_read_fails_or_ends_in_time(acts: dict[Act, float], seconds: float) -> None:
    async def story(north: MemoryMeeting, south: MemoryMeeting) -> None:
        del south
        with pytest.raises(StoreUnavailable):
            await north.read([NORTH], [], 1.0)
        assert asyncio.get_running_loop().time() == pytest.approx(seconds)

    told(acts, story)


def test_what_is_told_comes_late_but_in_order() -> None:
    async def story(north: MemoryMeeting, south: MemoryMeeting) -> None:
        async with watching(north) as watcher:
            version = await put(south, heartbeat())
            for beat in (2, 3):
                version = await put(south, heartbeat(beat=beat), version)
            assert watcher.beat() == 0
            await watcher.until(lambda each: each.beat() == 3, 2.1)
            beats = [seen.instance.beat for sight in watcher.sights for seen in sight.instances.values() if seen]
            assert beats == [1, 2, 3]

    told({Act.TELL: 2}, story)


def test_a_stream_on_which_nothing_arrives_ends_when_the_meeting_is_closed() -> None:
    async def story(north: MemoryMeeting, south: MemoryMeeting) -> None:
        del south
        first = asyncio.ensure_future(anext(aiter(north.watch())))
        await asyncio.sleep(100)
        assert not first.done()
        await north.close()
        with pytest.raises(StoreUnavailable):
            await first
        assert asyncio.get_running_loop().time() == pytest.approx(100)

    told({Act.TELL: 10_000}, story)


@pytest.mark.parametrize("act", [Act.WATCH, Act.TELL])
def test_a_stream_that_breaks_says_so(act: Act) -> None:
    async def story(north: MemoryMeeting, south: MemoryMeeting) -> None:
        del south
        with pytest.raises(StoreUnavailable):
            await anext(aiter(north.watch()))

    told({act: -1}, story)


def test_who_no_longer_watches_is_told_nothing_any_more() -> None:
    async def story(north: MemoryMeeting, south: MemoryMeeting) -> None:
        async with watching(north):
            assert len(north._ground.watchers) == 1
        assert len(south._ground.watchers) == 0

    told({}, story)
