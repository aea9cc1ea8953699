"""What the real library makes of each fault, row by row.

The keep-alive rows run with timings a hundred times shorter; everything else is the library as it is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from integration.wa_emulator.conftest import PHONE, StartLibrary, connected
from integration.wa_emulator.library import Library
from wa_emulator.server import Emulator

CONTACT = "15550100101"
QUICK_TIMINGS = "0.2,0.3,0.6,2.0"
QUIET = 0.6
"""Seconds in which nothing must happen."""
OFFLINE_SYNC = {"OfflineSyncPreview", "OfflineSyncCompleted"}


async def happens(device: Library, since: int, expected: list[str], within: float = 10.0) -> None:
    """Wait for these events in this order, and demand that there is no other beside the offline sync's."""
    if expected:
        await device.wait(lambda _event: len(telling(device, since)) >= len(expected), within, since)
    assert telling(device, since) == expected


def telling(device: Library, since: int) -> list[str]:
    return [name for name in device.names(since) if name not in OFFLINE_SYNC]


async def stays_quiet(device: Library, since: int, expected: list[str]) -> None:
    await asyncio.sleep(QUIET)
    assert telling(device, since) == expected


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "drop"}, ["Disconnected", "Connected"]),
        ({"kind": "close", "code": 1000}, ["Disconnected", "Connected"]),
        ({"kind": "close", "code": 1011}, ["Disconnected", "Connected"]),
        ({"kind": "stream_error", "code": 503}, ["Disconnected", "Connected"]),
        ({"kind": "stream_error", "code": 515}, ["Connected"]),
        ({"kind": "stream_error", "code": 516}, ["StreamError", "Disconnected", "Connected"]),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
async def test_the_library_comes_back_by_itself(
    emulator: Emulator, device: Library, fault: dict[str, Any], expected: list[str]
) -> None:
    since = len(device.events)
    emulator.clients.begin_fault({**fault, "number": PHONE})
    await happens(device, since, expected)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "stream_error", "code": 503, "close": False}, []),
        ({"kind": "conflict"}, ["StreamReplaced"]),
        ({"kind": "device_removed"}, ["LoggedOut"]),
    ],
    ids=["503-without-close", "conflict", "device-removed"],
)
async def test_the_library_does_not_come_back(
    emulator: Emulator, device: Library, fault: dict[str, Any], expected: list[str]
) -> None:
    since = len(device.events)
    emulator.clients.begin_fault(fault)
    await happens(device, since, expected)
    await stays_quiet(device, since, expected)
    assert emulator.clients.counters["logins"] == 1


async def test_a_second_login_with_the_same_keys_replaces_the_first(device: Library, start: StartLibrary) -> None:
    since = len(device.events)
    twin = await start()
    await twin.wait_for("Connected")
    await happens(device, since, ["StreamReplaced"])


@pytest.mark.parametrize(
    ("failure", "event", "data"),
    [
        ({"reason": 401}, "LoggedOut", {"OnConnect": True, "Reason": "LOGGED_OUT"}),
        ({"reason": 403}, "LoggedOut", {"OnConnect": True, "Reason": "MAIN_DEVICE_GONE"}),
        ({"reason": 406}, "LoggedOut", {"OnConnect": True, "Reason": "UNKNOWN_LOGOUT"}),
        (
            {"reason": 402, "code": 101, "expire": 60},
            "TemporaryBan",
            {"Code": "SEND_TO_TOO_MANY_PEOPLE", "Expire": "60"},
        ),
        ({"reason": 405}, "ClientOutdated", {}),
        ({"reason": 400}, "ConnectFailure", {"Reason": "GENERIC"}),
        ({"reason": 409}, "ConnectFailure", {"Reason": "BAD_USER_AGENT"}),
    ],
    ids=lambda value: str(value["reason"]) if isinstance(value, dict) and "reason" in value else "",
)
async def test_a_login_failure_is_told_and_is_final(
    emulator: Emulator, device: Library, failure: dict[str, int], event: str, data: dict[str, Any]
) -> None:
    since = len(device.events)
    emulator.clients.begin_fault({"kind": "login_failure", **failure})
    emulator.clients.begin_fault({"kind": "drop"})
    await happens(device, since, ["Disconnected", event])
    await stays_quiet(device, since, ["Disconnected", event])
    told = device.named(event, since)[0]
    assert {name: told.get(name) for name in data} == data


@pytest.mark.parametrize(
    "failure", [{"reason": 402, "code": 105}, {"reason": 402}, {"reason": 415}, {"reason": 418}], ids=str
)
async def test_a_login_failure_unknown_to_the_binding_ends_the_event_pump(
    emulator: Emulator, device: Library, failure: dict[str, int]
) -> None:
    since = len(device.events)
    emulator.clients.begin_fault({"kind": "login_failure", **failure})
    emulator.clients.begin_fault({"kind": "drop"})
    end = await device.wait(lambda event: event["kind"] == "end", since=since)
    assert "required field" in end["reason"]
    assert telling(device, since) == ["Disconnected", "end"]


@pytest.mark.parametrize("reason", [413, 414])
async def test_a_login_failure_that_kills_the_process(emulator: Emulator, device: Library, reason: int) -> None:
    since = len(device.events)
    emulator.clients.begin_fault({"kind": "login_failure", "reason": reason})
    emulator.clients.begin_fault({"kind": "drop"})
    ended = await device.wait(lambda event: event["kind"] == "exit", since=since)
    assert ended["code"] != 0


@pytest.mark.parametrize("reason", [500, 503])
async def test_a_temporary_login_failure_is_tried_again(emulator: Emulator, device: Library, reason: int) -> None:
    since = len(device.events)
    fault = emulator.clients.begin_fault({"kind": "login_failure", "reason": reason, "count": 1})
    emulator.clients.begin_fault({"kind": "drop"})
    await happens(device, since, ["Disconnected", "Disconnected", "Connected"])
    assert fault.acted == 1


async def test_a_refused_upgrade_is_tried_again(emulator: Emulator, device: Library) -> None:
    since = len(device.events)
    fault = emulator.clients.begin_fault({"kind": "refuse", "count": 1})
    emulator.clients.begin_fault({"kind": "drop"})
    await happens(device, since, ["Disconnected", "Connected"])
    assert fault.acted == 1


async def test_an_upgrade_that_hangs_goes_on_when_the_fault_is_over(emulator: Emulator, device: Library) -> None:
    since = len(device.events)
    emulator.clients.begin_fault({"kind": "hang_upgrade", "seconds": 0.5})
    emulator.clients.begin_fault({"kind": "drop"})
    await happens(device, since, ["Disconnected", "Connected"])


class TestKeepAlive:
    """Rows of the table that depend on the library's timings."""

    @pytest.fixture
    async def device(self, start: StartLibrary) -> Library:
        return await connected(await start(timings=QUICK_TIMINGS))

    async def test_unanswered_pings_end_in_a_reconnect_without_disconnected(
        self, emulator: Emulator, device: Library
    ) -> None:
        since = len(device.events)
        emulator.clients.begin_fault({"kind": "no_pings", "number": PHONE, "device": 1})
        await device.wait_for("Connected", since=since)
        names = telling(device, since)
        assert set(names[:-1]) == {"KeepAliveTimeout"}
        counts = [int(timeout["ErrorCount"]) for timeout in device.named("KeepAliveTimeout", since)]
        assert counts == list(range(1, len(names)))

    async def test_slow_pings_that_become_quick_again(self, emulator: Emulator, device: Library) -> None:
        since = len(device.events)
        emulator.clients.begin_fault({"kind": "slow_pings", "delay": 0.3, "count": 2})
        await happens(device, since, ["KeepAliveTimeout", "KeepAliveTimeout", "KeepAliveRestored"])

    async def test_a_stalled_connection_answers_nothing_and_delivers_later(
        self, emulator: Emulator, device: Library
    ) -> None:
        since = len(device.events)
        emulator.clients.begin_fault({"kind": "stall", "seconds": 0.9})
        await emulator.send(CONTACT, PHONE, "held back")
        await device.wait_for("KeepAliveTimeout", since=since)
        assert device.named("Message", since) == []
        await device.wait_for("Message", since=since)
        await device.wait_for("KeepAliveRestored", since=since)
        assert "Disconnected" not in device.names(since)


async def test_a_login_that_stalled_is_dialled_again_afterwards(emulator: Emulator, device: Library) -> None:
    since = len(device.events)
    stall = emulator.clients.begin_fault({"kind": "stall", "number": PHONE})
    emulator.clients.begin_fault({"kind": "drop"})
    await device.wait_for("Disconnected", since=since)
    async with asyncio.timeout(5):
        while stall.acted < 2:
            await asyncio.sleep(0.02)
    emulator.faults.clear()
    await device.wait_for("Connected", since=since)


@pytest.mark.parametrize("code", [463, 479])
async def test_a_refused_send_raises_at_once(emulator: Emulator, device: Library, code: int) -> None:
    emulator.clients.begin_fault({"kind": "send_nack", "code": code, "count": 1})
    answer = await device.call("send", to=CONTACT, text="refused")
    assert str(code) in answer["error"]
    assert emulator.ledger.shown(CONTACT) == []
    assert (await device.call("send", to=CONTACT, text="taken"))["error"] == ""


async def test_a_send_without_ack_is_sent_again_after_a_reconnect_and_shown_once(
    emulator: Emulator, device: Library
) -> None:
    emulator.clients.begin_fault({"kind": "no_send_ack", "count": 1})
    sending = asyncio.create_task(device.call("send", to=CONTACT, text="twice on the wire"))
    async with asyncio.timeout(5):
        while not emulator.ledger.shown(CONTACT):
            await asyncio.sleep(0.02)
    emulator.clients.begin_fault({"kind": "drop"})
    assert (await sending)["error"] == ""
    (shown,) = emulator.ledger.shown(CONTACT)
    assert (shown.attempts, shown.times_shown) == (2, 1)
    assert shown.accepted is not None


async def test_junk_is_reported_and_asked_for_again(emulator: Emulator, device: Library) -> None:
    since = len(device.events)
    emulator.clients.begin_fault({"kind": "junk_ciphertext", "count": 1})
    await emulator.send(CONTACT, PHONE, "junk at first")
    await happens(device, since, ["UndecryptableMessage", "Message"])


async def test_a_doubled_delivery_is_one_event(emulator: Emulator, device: Library) -> None:
    since = len(device.events)
    emulator.clients.begin_fault({"kind": "duplicate_delivery", "count": 1})
    await emulator.send(CONTACT, PHONE, "doubled")
    await emulator.send(CONTACT, PHONE, "single")
    await happens(device, since, ["Message", "Message"])
    await stays_quiet(device, since, ["Message", "Message"])


async def test_reordered_messages_all_arrive(emulator: Emulator, device: Library) -> None:
    emulator.clients.begin_fault({"kind": "reorder", "count": 1})
    for text in ("one", "two", "three"):
        await emulator.send(CONTACT, PHONE, text)
    await device.wait_for("Message", 3)
    assert device.texts() == ["two", "one", "three"]


async def test_delayed_messages_arrive_later(emulator: Emulator, device: Library) -> None:
    emulator.clients.begin_fault({"kind": "delay_delivery", "delay": 0.5, "count": 1})
    await emulator.send(CONTACT, PHONE, "late")
    await asyncio.sleep(0.3)
    assert device.texts() == []
    await device.wait_for("Message")


async def test_a_deaf_device_answers_pings_and_hears_of_everything_at_its_next_login(
    emulator: Emulator, device: Library
) -> None:
    emulator.clients.begin_fault({"kind": "deaf"})
    await emulator.send(CONTACT, PHONE, "unheard")
    await asyncio.sleep(QUIET)
    assert device.texts() == []
    assert emulator.clients.counters["logins"] == 1
    emulator.clients.begin_fault({"kind": "drop"})
    await device.wait_for("Message")
    await emulator.send(CONTACT, PHONE, "heard")
    await device.wait_for("Message", 2)
    assert device.texts() == ["unheard", "heard"]


async def test_a_receipt_of_an_unknown_type_ends_the_event_pump(emulator: Emulator, device: Library) -> None:
    since = len(device.events)
    emulator.clients.begin_fault({"kind": "unknown_receipt", "type": "view"})
    end = await device.wait(lambda event: event["kind"] == "end", since=since)
    assert "required field" in end["reason"]


async def test_a_disconnect_of_our_own_gives_no_events(emulator: Emulator, device: Library) -> None:
    since = len(device.events)
    await device.call("disconnect")
    await asyncio.sleep(QUIET)
    assert telling(device, since) == ["answer"]
    assert emulator.clients.counters["logins"] == 1


@pytest.mark.usefixtures("device")
async def test_an_armed_strike_meets_the_next_login(emulator: Emulator) -> None:
    fault = emulator.clients.begin_fault({"kind": "drop", "count": 2, "number": PHONE})
    async with asyncio.timeout(10):
        while emulator.clients.counters["logins"] < 3:
            await asyncio.sleep(0.02)
    assert fault.acted == 2
    assert not fault.active
