from __future__ import annotations

import asyncio

import pytest
from structlog.contextvars import bound_contextvars

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId
from tandem.monitoring.archive import Archive
from tandem.monitoring.events import EventStream
from tandem.policy.sampling import Rate, Sampler
from tandem.store.memory import MemoryStore

ACCOUNT = AccountId("0123456789abcdef")


async def archived(stream: EventStream, store: MemoryStore, seconds: float) -> Archive:
    archive = Archive(stream, store, VirtualClock(), SeededRandom())
    task = asyncio.create_task(archive.run())
    await asyncio.sleep(seconds)
    task.cancel()
    return archive


async def kept(store: MemoryStore) -> list[Event]:
    return list(reversed(await store.events(10_000)))


def test_events_reach_the_store_with_origin_and_cause() -> None:
    async def scenario() -> None:
        stream, store = EventStream(VirtualClock(), SeededRandom(), instance="here"), MemoryStore(VirtualClock())
        archiving = asyncio.create_task(archived(stream, store, 1.0))
        await asyncio.sleep(0.1)
        with bound_contextvars(request_id="request-1"):
            stream(EventType.SWITCHED_TO_BACKUP, "switched", account=ACCOUNT)
        stream(EventType.SESSION_OFFLINE, "offline", account=ACCOUNT)
        await archiving
        told = [(event.type, event.instance, event.correlation) for event in await kept(store)]
        assert told == [
            (EventType.SWITCHED_TO_BACKUP, "here", "request-1"),
            (EventType.SESSION_OFFLINE, "here", ""),
        ]

    run_virtually(scenario())


def test_a_store_that_is_away_delays_nobody_and_gets_everything_later() -> None:
    async def scenario() -> None:
        stream, store = EventStream(VirtualClock(), SeededRandom()), MemoryStore(VirtualClock())
        store.failing = True
        archiving = asyncio.create_task(archived(stream, store, 600.0))
        await asyncio.sleep(0.1)
        for _ in range(5):
            stream(EventType.SESSION_OFFLINE, "offline", account=ACCOUNT)
        await asyncio.sleep(60)
        assert stream.recent(10)
        store.failing = False
        archive = await archiving
        assert (archive.kept, archive.lost, len(await kept(store))) == (5, 0, 5)

    run_virtually(scenario())


def test_a_storm_costs_a_bounded_number_of_writes_and_says_what_it_left_out() -> None:
    async def scenario() -> None:
        stream, store = EventStream(VirtualClock(), SeededRandom()), MemoryStore(VirtualClock())
        archiving = asyncio.create_task(archived(stream, store, 86_400.0))
        await asyncio.sleep(0.1)
        for _ in range(8640):  # every 10 s for a day, as the system before this one did
            stream(EventType.SESSION_OFFLINE, "offline", account=ACCOUNT)
            stream(EventType.MESSAGE_SENT, "sent", account=ACCOUNT)
            await asyncio.sleep(9.9)
        archive = await archiving
        assert archive.kept <= 20 + 24 * 20 + 1
        assert archive.lost == 0
        told = await kept(store)
        assert {event.type for event in told} == {EventType.SESSION_OFFLINE}
        assert sum(int(str(event.data.get("omitted_before", 0))) for event in told) + len(told) >= 8600

    run_virtually(scenario())


def test_what_happened_before_this_start_is_shown_but_not_told_again() -> None:
    async def scenario() -> None:
        store = MemoryStore(VirtualClock())
        for number in range(3):
            await store.save_event(Event(f"old-{number}", EventType.ALERT, "old", 1_700_000_000.0 + number))
        stream = EventStream(VirtualClock(), SeededRandom())
        stream(EventType.DAEMON_STARTED, "up")
        await archived(stream, store, 1.0)
        assert [event.id for event in stream.recent(10)][1:] == ["old-2", "old-1", "old-0"]
        assert stream.counts() == {EventType.DAEMON_STARTED: 1}
        assert len(await kept(store)) == 3

    run_virtually(scenario())


@pytest.mark.parametrize("burst", [1, 5])
def test_a_bucket_refills_and_reports_omissions(burst: int) -> None:
    sampler, rate = Sampler(), Rate(burst, per_hour=60)
    assert [sampler.admit("key", rate, 0.0) for _ in range(burst + 3)] == [0] * burst + [None] * 3
    assert sampler.admit("key", rate, 60.0) == 3
    assert sampler.admit("other", rate, 60.0) == 0
