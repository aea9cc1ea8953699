"""One contract for both meeting places: Firestore, as its official emulator does it, and the twin in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tandem.cluster.port import LostRace, Meeting, Put, Sight
from tandem.errors import StoreUnavailable
from tandem.model.cluster import InstanceId
from unit.cluster.meeting_places import (
    ACCOUNT,
    NORTH,
    OTHER,
    SOUTH,
    TIMEOUT,
    FirestorePlace,
    MemoryPlace,
    Place,
    heartbeat,
    lease,
    put,
    watching,
)

TAKERS = 8


@pytest.fixture(params=["memory", "firestore"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    place: Place = MemoryPlace()
    if request.param == "firestore":
        emulator = request.getfixturevalue("emulator")
        place = FirestorePlace(emulator.address, emulator.fresh_project())
    yield place
    await place.close()


async def _read(meeting: Meeting) -> Sight:
    return await meeting.read([NORTH, SOUTH], [ACCOUNT, OTHER], TIMEOUT)


async def test_what_was_committed_is_read_with_its_version_and_what_is_not_there_as_none(place: Place) -> None:
    meeting = await place.meeting()
    versions = await meeting.commit([Put(heartbeat(), None), Put(lease(), None)], TIMEOUT)
    seen = await _read(await place.meeting(SOUTH))
    instance, held = seen.instances[NORTH], seen.leases[ACCOUNT]
    assert instance is not None
    assert held is not None
    assert (instance.instance, held.lease) == (heartbeat(), lease())
    assert [instance.version, held.version] == list(versions)
    assert (seen.instances[SOUTH], seen.leases[OTHER]) == (None, None)
    assert not seen.whole


async def test_reading_nothing_is_nothing(place: Place) -> None:
    seen = await (await place.meeting()).read([], [], TIMEOUT)
    assert (seen.instances, seen.leases) == ({}, {})


async def test_a_document_is_written_whole(place: Place) -> None:
    meeting = await place.meeting()
    version = await put(meeting, heartbeat())
    bare = replace(heartbeat(beat=2), accounts={}, region="", url="")
    later = await put(meeting, bare, version)
    assert later > version
    seen = (await _read(meeting)).instances[NORTH]
    assert seen is not None
    assert (seen.instance, seen.version) == (bare, later)


async def test_writing_what_is_there_already_leaves_its_version(place: Place) -> None:
    meeting = await place.meeting()
    version = await put(meeting, lease())
    assert await put(meeting, lease(), version) == version


async def test_whoever_saw_an_older_state_has_lost(place: Place) -> None:
    meeting = await place.meeting()
    old = await put(meeting, lease())
    await put(meeting, lease(generation=2), old)
    with pytest.raises(LostRace):
        await put(await place.meeting(SOUTH), lease(holder=SOUTH, generation=3), old)
    seen = (await _read(meeting)).leases[ACCOUNT]
    assert seen is not None
    assert seen.lease == lease(generation=2)


async def test_what_exists_is_not_created_and_what_is_missing_not_changed(place: Place) -> None:
    meeting = await place.meeting()
    version = await put(meeting, lease())
    with pytest.raises(LostRace):
        await put(meeting, lease(generation=2))
    with pytest.raises(LostRace):
        await put(meeting, lease(OTHER), version)
    assert (await _read(meeting)).leases[OTHER] is None


async def test_a_lost_race_over_one_document_leaves_the_others_as_they_were(place: Place) -> None:
    meeting = await place.meeting()
    beat = await put(meeting, heartbeat())
    await put(meeting, heartbeat(beat=2), beat)
    mine = await put(meeting, heartbeat(SOUTH))
    puts = [
        Put(heartbeat(SOUTH, 2), mine),
        Put(lease(holder=SOUTH), None),
        Put(heartbeat(beat=1, deposed=True), beat),
    ]
    with pytest.raises(LostRace):
        await meeting.commit(puts, TIMEOUT)
    seen = await _read(meeting)
    assert seen.leases[ACCOUNT] is None
    assert [each.instance.beat for each in seen.instances.values() if each] == [2, 1]


async def test_of_many_takers_of_one_lease_exactly_one_wins(place: Place) -> None:
    meetings = [await place.meeting(InstanceId(f"taker-{number}")) for number in range(TAKERS)]
    free = await put(meetings[0], lease(holder=InstanceId("")))
    silent = await put(meetings[0], heartbeat())

    async def take(number: int, meeting: Meeting) -> int | None:
        taken = lease(holder=InstanceId(f"taker-{number}"), generation=2)
        try:
            await meeting.commit([Put(heartbeat(deposed=True), silent), Put(taken, free)], TIMEOUT)
        except LostRace:
            return None
        return number

    results = await asyncio.gather(*(take(*each) for each in enumerate(meetings)))
    [winner] = [number for number in results if number is not None]
    seen = (await _read(meetings[0])).leases[ACCOUNT]
    assert seen is not None
    assert (seen.lease.holder, seen.lease.generation) == (f"taker-{winner}", 2)


async def test_who_watches_an_empty_place_is_told_so(place: Place) -> None:
    async with watching(await place.meeting()) as watcher:
        [sight] = watcher.sights
        assert (sight.whole, sight.instances, sight.leases) == (True, {}, {})


async def test_who_watches_sees_everything_first_and_then_only_what_changes(place: Place) -> None:
    meeting = await place.meeting()
    versions = await meeting.commit([Put(heartbeat(), None), Put(heartbeat(SOUTH), None), Put(lease(), None)], TIMEOUT)
    async with watching(await place.meeting(SOUTH)) as watcher:
        [first] = watcher.sights
        assert first.whole
        assert [set(first.instances), set(first.leases)] == [{NORTH, SOUTH}, {ACCOUNT}]
        later = await put(meeting, heartbeat(beat=2), versions[0])
        await watcher.until(lambda each: each.beat() == 2)
        [_, change] = watcher.sights
        assert not change.whole
        assert (set(change.instances), change.leases) == ({NORTH}, {})
        seen = change.instances[NORTH]
        assert seen is not None
        assert (seen.instance, seen.version) == (heartbeat(beat=2), later)
        await put(meeting, lease(OTHER))
        await watcher.until(lambda each: OTHER in each.leases)
        assert (watcher.sights[-1].instances, set(watcher.sights[-1].leases)) == ({}, {OTHER})


async def test_who_watches_sees_a_commit_over_several_documents_as_one(place: Place) -> None:
    meeting = await place.meeting()
    beat, held = await meeting.commit([Put(heartbeat(), None), Put(lease(), None)], TIMEOUT)
    async with watching(meeting) as watcher:
        takeover = [Put(heartbeat(deposed=True), beat), Put(lease(holder=SOUTH, generation=2), held)]
        await meeting.commit([*takeover, Put(heartbeat(SOUTH), None)], TIMEOUT)
        await watcher.until(lambda each: each.holder() == SOUTH)
        [_, change] = watcher.sights
        assert (set(change.instances), set(change.leases)) == ({NORTH, SOUTH}, {ACCOUNT})


async def test_who_watches_sees_a_deletion(place: Place) -> None:
    meeting = await place.meeting()
    await meeting.commit([Put(heartbeat(), None), Put(heartbeat(SOUTH), None), Put(lease(), None)], TIMEOUT)
    async with watching(meeting) as watcher:
        await place.remove(heartbeat(SOUTH))
        await watcher.until(lambda each: each.instances[SOUTH] is None)
        await place.remove(lease())
        await watcher.until(lambda each: each.leases[ACCOUNT] is None)
        assert watcher.beat() == 1
        assert [set(sight.instances) | set(sight.leases) for sight in watcher.sights[1:]] == [{SOUTH}, {ACCOUNT}]


async def test_two_who_watch_see_every_heartbeat_of_a_row(place: Place) -> None:
    meeting = await place.meeting()
    async with watching(meeting) as one, watching(await place.meeting(SOUTH)) as other:
        version = await put(meeting, heartbeat())
        for beat in range(2, 12):
            version = await put(meeting, heartbeat(beat=beat), version)
        for watcher in (one, other):
            await watcher.until(lambda each: each.beat() == 11)
            beats = [seen.instance.beat for sight in watcher.sights for seen in sight.instances.values() if seen]
            assert beats == sorted(set(beats)), "each state once, and never back"


async def test_who_watches_without_an_instance_is_told_of_all_others_and_of_leases(place: Place) -> None:
    meeting, other = await place.meeting(), await place.meeting(SOUTH)
    version = await put(meeting, heartbeat())
    theirs = await put(other, heartbeat(SOUTH))
    async with watching(meeting, without=NORTH) as watcher:
        assert (watcher.sights[0].whole, set(watcher.sights[0].instances)) == (True, {SOUTH})
        for beat in (2, 3):
            version = await put(meeting, heartbeat(beat=beat), version)
        await meeting.commit([Put(heartbeat(beat=4), version), Put(lease(), None)], TIMEOUT)
        await watcher.until(lambda each: ACCOUNT in each.leases)
        await put(other, heartbeat(SOUTH, 2), theirs)
        await watcher.until(lambda each: each.beat(SOUTH) == 2)
        third = InstanceId("third-0a1b")
        await put(await place.meeting(third), heartbeat(third))
        await watcher.until(lambda each: third in each.instances)
        told = [set(sight.instances) | set(sight.leases) for sight in watcher.sights[1:]]
        assert told == [{ACCOUNT}, {SOUTH}, {third}]


async def test_who_watches_is_told_when_the_meeting_is_closed(place: Place) -> None:
    meeting = await place.meeting()
    async with watching(meeting) as watcher:
        await meeting.close()
        await watcher.until(lambda each: each.error)
        assert isinstance(watcher.error, StoreUnavailable)


async def test_nothing_can_be_done_at_a_closed_meeting_until_it_is_open_again(place: Place) -> None:
    meeting = await place.meeting()
    await meeting.close()
    with pytest.raises(StoreUnavailable):
        await put(meeting, lease())
    with pytest.raises(StoreUnavailable):
        await _read(meeting)
    with pytest.raises(StoreUnavailable):
        await anext(aiter(meeting.watch()))
    await meeting.open()
    await put(meeting, lease())
