"""The meeting place in Firestore on a bad network, and what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import grpc  # type: ignore[import-untyped]
import pytest

from integration.firestore.refusing_server import refusing
from support.babbling_server import babbling
from support.fault_proxy import FaultProxy, Swallow, Toxic
from support.firestore_emulator import FirestoreEmulator
from tandem.cluster.firestore import FirestoreMeeting
from tandem.cluster.port import LostRace, Put
from tandem.errors import Misconfigured, StoreUnavailable
from tandem.settings import load
from tandem.store.firestore import client
from tandem.store.firestore.credentials import Target
from unit.cluster.meeting_places import (
    ACCOUNT,
    NORTH,
    SOUTH,
    TIMEOUT,
    FirestorePlace,
    Watcher,
    heartbeat,
    lease,
    put,
    watching,
)

Code = grpc.StatusCode


@pytest.fixture
async def place(emulator: FirestoreEmulator) -> AsyncIterator[FirestorePlace]:
    place = FirestorePlace(emulator.address, emulator.fresh_project())
    yield place
    await place.close()


async def test_who_watches_is_told_when_the_connection_is_cut_and_misses_nothing_by_watching_again(
    place: FirestorePlace, proxy: FaultProxy
) -> None:
    meeting, other = await place.meeting(NORTH, proxy.address), await place.meeting(SOUTH)
    version = await put(other, heartbeat(SOUTH))
    async with watching(meeting) as watcher:
        await proxy.down()
        await watcher.until(lambda each: each.error)
        assert isinstance(watcher.error, StoreUnavailable)
    await put(other, heartbeat(SOUTH, 2), version)
    await proxy.up()
    again = await _persistent(meeting)
    assert (again.beat(SOUTH), again.sights[0].whole) == (2, True)


async def _persistent(meeting: FirestoreMeeting) -> Watcher:
    """One who watches again and again until something is seen."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                async with watching(meeting, 2.0) as watcher:
                    return watcher
            except TimeoutError:
                await asyncio.sleep(0.1)


async def test_a_commit_of_which_the_answer_is_lost_was_done_and_is_not_said_to_have_failed(
    place: FirestorePlace, proxy: FaultProxy
) -> None:
    meeting = await place.meeting(NORTH, proxy.address)
    version = await put(meeting, heartbeat())
    proxy.add(Swallow(0.2))
    with pytest.raises(StoreUnavailable):
        await put(meeting, heartbeat(beat=2), version)
    proxy.heal()
    there = await (await place.meeting()).read([NORTH], [], TIMEOUT)
    seen = there.instances[NORTH]
    assert seen is not None
    assert seen.instance.beat == 2
    with pytest.raises(LostRace):
        await _despite_outages(meeting, Put(heartbeat(beat=2), version))


async def _despite_outages(meeting: FirestoreMeeting, wanted: Put) -> None:
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                await meeting.commit([wanted], 2.0)
            except StoreUnavailable:
                await asyncio.sleep(0.1)


async def test_a_network_that_swallows_everything_costs_one_timeout_and_ends_the_watch_with_it(
    place: FirestorePlace, proxy: FaultProxy
) -> None:
    meeting = await place.meeting(NORTH, proxy.address)
    version = await put(meeting, heartbeat())
    async with watching(meeting) as watcher:
        proxy.strand()
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await put_within(meeting, 1.0, Put(heartbeat(beat=2), version))
        assert 0.9 < time.monotonic() - began < 1.5
        await watcher.until(lambda each: each.error, 0.5)
        assert isinstance(watcher.error, StoreUnavailable)
    await put_within(meeting, 5.0, Put(heartbeat(beat=2), version))


async def put_within(meeting: FirestoreMeeting, seconds: float, wanted: Put) -> None:
    await meeting.commit([wanted], seconds)


async def test_a_stream_that_does_not_open_is_given_up(
    place: FirestorePlace, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_OPENING", 0.5)
    meeting = await place.meeting(NORTH, proxy.address)
    await put(meeting, heartbeat())
    proxy.strand()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await anext(aiter(meeting.watch()))
    assert 0.4 < time.monotonic() - began < 1.5
    await put_within(meeting, 5.0, Put(lease(), None))  # on another connection


@pytest.mark.parametrize(
    ("code", "said", "error", "words"),
    [
        (Code.ALREADY_EXISTS, "Document already exists", LostRace, "first"),
        (Code.FAILED_PRECONDITION, "the stored version does not match", LostRace, "first"),
        (Code.NOT_FOUND, "No document to update: projects/p/databases/(default)/documents/leases/1", LostRace, "first"),
        (Code.NOT_FOUND, "The database (default) does not exist", StoreUnavailable, "create it in the project"),
        (Code.PERMISSION_DENIED, "no", StoreUnavailable, "Cloud Datastore User"),
        (Code.INVALID_ARGUMENT, "no", StoreUnavailable, "malformed"),
        (Code.ABORTED, "Too much contention", StoreUnavailable, "contention"),
        (Code.RESOURCE_EXHAUSTED, "Quota exceeded.", StoreUnavailable, "midnight"),
    ],
)
async def test_a_refused_commit_is_a_lost_race_or_says_what_to_do(
    code: object, said: str, error: type[Exception], words: str
) -> None:
    async with refusing(code, said) as address, _meeting_at(address) as meeting:
        with pytest.raises(error, match=words):
            await put(meeting, lease())


async def test_reading_and_watching_say_what_to_do_too() -> None:
    async with refusing(Code.PERMISSION_DENIED, "no") as address, _meeting_at(address) as meeting:
        with pytest.raises(StoreUnavailable, match="Cloud Datastore User"):
            await meeting.read([NORTH], [], TIMEOUT)
        with pytest.raises(StoreUnavailable, match="Cloud Datastore User"):
            await anext(aiter(meeting.watch()))


async def test_an_answer_that_cannot_be_read_is_an_outage_and_no_defect() -> None:
    """Google's emulator mixes up the bytes of two messages at times, when something changes as a stream begins."""
    async with babbling() as address, _meeting_at(address) as meeting:
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await put(meeting, lease())
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await meeting.read([NORTH], [], TIMEOUT)
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await anext(aiter(meeting.watch()))


@asynccontextmanager
async def _meeting_at(address: str) -> AsyncIterator[FirestoreMeeting]:
    meeting = FirestoreMeeting(Target("demo-refused", emulator=address))
    await meeting.open()
    try:
        yield meeting
    finally:
        await meeting.close()


async def test_out_of_reach_is_said_at_once(place: FirestorePlace, proxy: FaultProxy) -> None:
    meeting = await place.meeting(NORTH, proxy.address)
    await proxy.down()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await put(meeting, heartbeat())
    with pytest.raises(StoreUnavailable):
        await meeting.read([NORTH], [ACCOUNT], TIMEOUT)
    with pytest.raises(StoreUnavailable):
        await anext(aiter(meeting.watch()))
    assert time.monotonic() - began < 5


class Counted(Toxic):
    def __init__(self) -> None:
        self.bytes = 0

    async def act(self, data: bytes) -> list[bytes]:
        self.bytes += len(data)
        return [data]


async def test_who_no_longer_watches_is_sent_nothing_any_more(place: FirestorePlace, proxy: FaultProxy) -> None:
    meeting, other = await place.meeting(NORTH, proxy.address), await place.meeting(SOUTH)
    counted = Counted()
    proxy.add(counted)
    async with aclosing(meeting.watch()) as sights:
        await anext(sights)
        before = counted.bytes
        version = await put(other, heartbeat(SOUTH))
        await anext(sights)
        assert counted.bytes > before
    await asyncio.sleep(0.3)
    before = counted.bytes
    for beat in range(2, 12):
        version = await put(other, heartbeat(SOUTH, beat), version)
    await asyncio.sleep(0.3)
    assert counted.bytes == before


async def test_a_heartbeat_costs_one_write_and_each_who_watches_one_read(place: FirestorePlace) -> None:
    holder, watcher_s = await place.meeting(), await place.meeting(SOUTH)
    versions = await holder.commit([Put(heartbeat(), None), Put(heartbeat(SOUTH), None), Put(lease(), None)], TIMEOUT)
    async with watching(watcher_s) as watcher:
        opening = watcher_s.costs.reads
        version = versions[0]
        for beat in range(2, 12):
            version = await put(holder, heartbeat(beat=beat), version)
        await watcher.until(lambda each: each.beat() == 11)
        assert opening == 3 + 2, "each document, and each of the two queries at the most"
        assert watcher_s.costs.reads - opening <= 10
    assert (holder.costs.writes, holder.costs.reads, watcher_s.costs.writes) == (13, 0, 0)


async def test_its_own_heartbeats_cost_whoever_watches_without_them_nothing(place: FirestorePlace) -> None:
    meeting, other = await place.meeting(), await place.meeting(SOUTH)
    version = await put(meeting, heartbeat())
    async with watching(meeting, without=NORTH) as watcher:
        opening = meeting.costs.reads
        assert opening == 2, "each of the two queries, although both are empty"
        for beat in range(2, 12):
            version = await put(meeting, heartbeat(beat=beat), version)
        await put(other, heartbeat(SOUTH))
        await watcher.until(lambda each: each.beat(SOUTH))
        assert meeting.costs.reads - opening == 1


def test_the_settings_say_which_database() -> None:
    FirestoreMeeting.of(load({"firestore_emulator_host": "127.0.0.1:8085"}))
    with pytest.raises(Misconfigured, match="production"):
        FirestoreMeeting.of(load({"firestore_emulator_host": "127.0.0.1:8085", "railway_environment": "production"}))
