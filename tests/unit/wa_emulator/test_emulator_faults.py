from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wa_emulator.directory import Account, Device, UnknownNumber, canonical
from wa_emulator.faults import KINDS, BadFault, Fault, Faults, parse
from wa_emulator.journal import Forgetful
from wa_emulator.participant import Participant

NUMBER = "15550100100"


def device(number: str = NUMBER, device_id: int = 1) -> Device:
    account = Account(number, "100000000000011", Participant(number, Forgetful()))
    return Device(account, device_id, b"", b"", 1, 1, b"", b"")


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_every_kind_has_usable_defaults(kind: str) -> None:
    fault = parse(1, {"kind": kind})
    assert fault.active
    assert fault.describe()["kind"] == kind


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        ({}, "kind must be one of close, conflict"),
        ({"kind": "explode"}, "stall"),
        ({"kind": "drop", "code": 1}, "does not take code"),
        ({"kind": "close", "code": 7}, "from 1000 to 4999"),
        ({"kind": "close", "code": True}, "whole number"),
        ({"kind": "close", "code": 1000.5}, "whole number"),
        ({"kind": "slow_pings", "delay": "long"}, "a number"),
        ({"kind": "slow_pings", "delay": -1}, "from 0"),
        ({"kind": "stream_error", "close": 1}, "true or false"),
        ({"kind": "unknown_receipt", "type": ""}, "a text"),
        ({"kind": "login_failure", "reason": 404}, "one of 400, 401"),
        ({"kind": "drop", "count": 0}, "count"),
        ({"kind": "drop", "device": 1}, "device needs a number"),
        ({"kind": "drop", "number": "none"}, "7 to 15 digits"),
        ({"kind": "refuse", "number": NUMBER}, "before a client has said who it is"),
    ],
)
async def test_a_bad_wish_is_refused_with_a_reason(wish: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Faults().add(wish)


@pytest.mark.parametrize(
    ("scope", "hits"),
    [
        ({}, [True, True, True, True]),
        ({"number": "+" + NUMBER}, [True, True, False, False]),
        ({"number": NUMBER, "device": 2}, [False, True, False, False]),
    ],
)
async def test_scope(scope: dict[str, Any], hits: list[bool]) -> None:
    faults = Faults()
    faults.add({"kind": "no_pings", **scope})
    met = [device(), device(device_id=2), device("447700900123"), None]
    assert [faults.hit("no_pings", one) is not None for one in met] == hits


async def test_count_limits_and_is_counted() -> None:
    faults = Faults()
    fault = faults.add({"kind": "send_nack", "count": 2, "code": 479})
    assert [faults.hit("send_nack", device()) for _ in range(3)] == [fault, fault, None]
    assert (fault.acted, fault.remaining, fault.active) == (2, 0, False)
    assert fault.parameters == {"code": 479}


async def test_several_of_a_kind_take_turns() -> None:
    faults = Faults()
    first, second = (faults.add({"kind": "send_nack", "count": 1}) for _ in range(2))
    assert [faults.hit("send_nack", device()) for _ in range(3)] == [first, second, None]


async def test_time_limits_and_the_end_is_told() -> None:
    faults, lifted = Faults(), list[Fault]()
    faults.lifted = lifted.append
    fault = faults.add({"kind": "stall", "seconds": 0.05})
    assert faults.hit("stall", device()) is fault
    await asyncio.sleep(0.1)
    assert faults.hit("stall", device()) is None
    assert lifted == [fault]


async def test_a_strike_without_limits_stays_armed_for_nobody() -> None:
    faults = Faults()
    assert not faults.add({"kind": "drop"}).active
    assert faults.add({"kind": "drop", "count": 1}).active
    assert faults.add({"kind": "drop", "seconds": 5}).active


async def test_clearing() -> None:
    faults, lifted = Faults(), list[Fault]()
    faults.lifted = lifted.append
    one, two = faults.add({"kind": "stall"}), faults.add({"kind": "no_pings"})
    assert faults.clear(one.id) == 1
    assert list(faults) == [two]
    assert faults.clear() == 1
    assert faults.clear() == 0
    assert lifted == [one, two]
    assert faults.hit("no_pings", device()) is None


async def test_old_faults_are_forgotten_but_active_ones_stay() -> None:
    faults = Faults()
    lasting = faults.add({"kind": "no_pings"})
    for _ in range(1_200):
        faults.add({"kind": "drop"})
    assert len(list(faults)) <= 1_001
    assert lasting in list(faults)


@pytest.mark.parametrize("number", ["+15550100100", "15550100100", "447700900123"])
def test_numbers(number: str) -> None:
    assert canonical(number) == number.lstrip("+")


@pytest.mark.parametrize("number", ["", "123", "+0123456789", "1555010010x", "1" * 16, " 15550100100"])
def test_what_is_no_number(number: str) -> None:
    with pytest.raises(ValueError, match="7 to 15 digits"):
        canonical(number)


def test_errors_are_told_apart() -> None:
    assert issubclass(BadFault, ValueError)
    assert issubclass(UnknownNumber, LookupError)
