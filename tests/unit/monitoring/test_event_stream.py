from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId
from tandem.model.states import Slot
from tandem.monitoring.events import EventStream
from unit.api.twins import CountingRandom, FakeClock

ACCOUNT = AccountId("0123456789abcdef")


@pytest.fixture
def events() -> EventStream:
    return EventStream(FakeClock(), CountingRandom(), keep=5)


def test_an_event_is_kept_counted_and_logged_once(events: EventStream) -> None:
    with capture_logs() as logs:
        events(
            EventType.SESSION_OFFLINE,
            "Primary went offline",
            account=ACCOUNT,
            slot=Slot.PRIMARY,
            generation=3,
            reason="503",
            after_seconds=1.5,
        )
    (event,) = events.recent(10)
    assert event.id == f"{1:026x}"
    assert event.timestamp == 1_750_000_000.0
    assert event.data == {"after_seconds": 1.5}
    assert events.counts() == {EventType.SESSION_OFFLINE: 1}
    assert logs == [
        {
            "event": "session_offline",
            "log_level": "warning",
            "message": "Primary went offline",
            "account": ACCOUNT,
            "slot": "primary",
            "generation": 3,
            "reason": "503",
            "after_seconds": 1.5,
        }
    ]


def test_the_ring_is_bounded_and_newest_first(events: EventStream) -> None:
    for count in range(9):
        events(EventType.SESSION_STATE, "Connecting", count=count)
    assert [event.data["count"] for event in events.recent(3)] == [8, 7, 6]
    assert len(events.recent(100)) == 5
    assert events.counts()[EventType.SESSION_STATE] == 9
    third = events.recent(100)[2]
    assert [event.data["count"] for event in events.after(third.id)] == [7, 8]
    assert events.after("forgotten") == []


def test_routine_washes_nothing_out(events: EventStream) -> None:
    events(EventType.SESSION_OFFLINE, "Offline")
    for _ in range(50):
        events(EventType.MESSAGE_SENT, "Sent")
        events(EventType.BATCH_SAVED, "Saved")
    assert [event.type for event in events.recent(99)] == [
        EventType.BATCH_SAVED,
        EventType.MESSAGE_SENT,
        EventType.SESSION_OFFLINE,
    ]


def test_a_hosts_own_lines_are_logged_but_wash_nothing_out(events: EventStream) -> None:
    events(EventType.SESSION_ONLINE, "Online")
    for _ in range(10):
        events(EventType.HOST_LOG, "the library says something")
    assert [event.type for event in events.recent(10)] == [EventType.SESSION_ONLINE]
    assert events.counts()[EventType.HOST_LOG] == 10


def test_a_secret_that_a_publisher_let_slip_goes_nowhere(events: EventStream) -> None:
    with capture_logs() as logs:
        events(
            EventType.MESSAGE_SEND_FAILED,
            "no session for +12025550123",
            reason="12025550123@s.whatsapp.net refused",
            text="canary text",
            chat="12025550123@s.whatsapp.net",
        )
    told = f"{events.recent(1)} {logs}"
    assert "2025550123" not in told
    assert "canary text" not in told


def test_it_never_raises(events: EventStream) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    def bad(_event: Event) -> None:
        raise RuntimeError

    heard: list[Event] = []
    events.listen(bad)
    events.listen(heard.append)
    events(EventType.ALERT, "Alert", thing=Broken())
    events("no such type", "Alert")  # type: ignore[arg-type]
    assert events.failures == 2
    events(EventType.ALERT, "Alert")
    assert (len(heard), events.failures) == (1, 3)


def test_reserved_names_in_the_data_do_not_break_the_line(events: EventStream) -> None:
    with capture_logs() as logs:
        events(EventType.ALERT, "Alert", level="critical", event="x", exc_info=True)
    assert logs == [{"event": "alert", "log_level": "error", "message": "Alert"}]


async def test_a_slow_reader_loses_the_oldest_and_is_told(events: EventStream) -> None:
    with events.subscribe(size=3) as subscription:
        for count in range(5):
            events(EventType.BATCH_SAVED, "Saved", count=count)
        assert [event.data["count"] for event in await subscription.next(1)] == [2, 3, 4]
        assert subscription.take_dropped() == 2
        assert subscription.take_dropped() == 0


async def test_a_reader_waits_is_woken_and_sent_home(events: EventStream) -> None:
    with events.subscribe() as subscription:
        assert await subscription.next(0.01) == ()
        asyncio.get_running_loop().call_later(0.01, events, EventType.ALERT, "Alert")
        assert len(await subscription.next(2)) == 1
        asyncio.get_running_loop().call_later(0.01, events.close)
        assert await subscription.next(2) == ()
        assert subscription.closed
    events(EventType.ALERT, "Alert")
    assert not events._subscriptions
