"""No false alarm on a noisy line, and no blindness: real supervisor, pair, sessions and vitals on the virtual clock."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from simulation.noise import Line
from simulation.noisy import NoisyDevices, Stage, online
from simulation.quiet_years import account_years
from support.virtual_time import run_virtually
from tandem.model import signals
from tandem.model.event import EventType
from tandem.model.states import SessionState, Slot

DAY = 86_400.0
WORSE = Line(loss=0.01, unanswered=1e-3)
"""A line that leaves a hundred times as many questions unanswered as the model's ordinary one."""


def _play(
    scene: Callable[[Stage], Awaitable[None]], devices: NoisyDevices | None = None, self_probe: float = 0.0
) -> None:
    async def whole() -> None:
        async with online(devices, self_probe) as stage:
            await scene(stage)

    run_virtually(whole())


def _devices(seed: int, line: Line) -> NoisyDevices:
    return NoisyDevices(chance=random.Random(seed), lines=dict.fromkeys(Slot, line))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_week_of_pings_with_many_lost_ones_makes_no_alarm(seed: int) -> None:
    async def week(stage: Stage) -> None:
        await asyncio.sleep(7 * DAY)
        missed = sum(stage.devices.running(slot).missed for slot in Slot)
        assert missed > 50  # the line was as bad as it should be
        assert stage.alarms() == []
        assert len(stage.devices.started) == 2

    _play(week, _devices(seed, WORSE))


def test_a_day_of_messages_makes_no_alarm_whoever_hears_them_first() -> None:
    async def day(stage: Stage) -> None:
        for _ in range(4000):
            stage.message_comes(lag=stage.devices.chance.choice([0.01, 0.05, 0.4, 0.7]))
            await asyncio.sleep(stage.devices.chance.expovariate(1 / 20.0))
        assert stage.alarms() == []
        assert all(session.vitals.quality.score == 1.0 for session in stage.pair.sessions.values())

    _play(day, _devices(3, Line()))


def test_an_account_whose_slots_both_hear_nothing_for_a_week_is_left_alone() -> None:
    async def week(stage: Stage) -> None:
        for slot in Slot:
            stage.devices.running(slot).deaf = True
        for _ in range(7):
            stage.message_comes()
            await asyncio.sleep(DAY)
        assert stage.alarms() == []

    _play(week)


def test_a_quiet_account_month_ping_by_ping_makes_no_alarm() -> None:
    counts = account_years(7, 1 / 12)
    assert counts["pings"] > 500_000
    assert counts["messages"] > 1000
    assert counts["proactive reconnects"] == counts["failovers"] == 0


# And each real fault is found on the same noisy line.


def _noisy() -> NoisyDevices:
    return _devices(5, Line(loss=0.01, unanswered=1e-4))


async def _found(stage: Stage, what: EventType, patience: float) -> float:
    """Seconds until an event of this kind."""
    began = stage.now
    async with asyncio.timeout(patience):
        while not any(kind is what for _, kind, _ in stage.events):
            await asyncio.sleep(0.01)
    return next(at for at, kind, _ in stage.events if kind is what) - began


@pytest.mark.parametrize("offset", [0.0, 2.5, 5.0, 7.5, 9.0])
def test_a_stalled_active_is_found_within_interval_and_two_and_a_half_seconds(offset: float) -> None:
    async def scene(stage: Stage) -> None:
        await asyncio.sleep(offset)
        stage.devices.running(stage.pair.active).stalled = True
        assert await _found(stage, EventType.SWITCHED_TO_BACKUP, 60.0) <= 10.0 + 2.5
        await asyncio.sleep(60.0)
        assert {session.state for session in stage.pair.sessions.values()} == {SessionState.ONLINE}

    _play(scene, _noisy())


def test_a_stalled_active_is_found_sooner_with_traffic() -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(20):
            stage.message_comes()
            await asyncio.sleep(1.0)
        stage.devices.running(stage.pair.active).stalled = True
        began = stage.now
        for _ in range(30):
            stage.message_comes()
            await asyncio.sleep(0.1)
        moved = next(at for at, kind, _ in stage.events if kind is EventType.SWITCHED_TO_BACKUP)
        assert moved - began <= 2.5

    _play(scene, _noisy())


@pytest.mark.parametrize("slot", list(Slot))
def test_a_deaf_slot_is_found_with_traffic_and_is_well_afterwards(slot: Slot) -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(20):
            stage.message_comes()
            await asyncio.sleep(1.0)
        stage.devices.running(slot).deaf = True
        began = stage.now
        for _ in range(600):
            stage.message_comes()
            await asyncio.sleep(0.2)
        ((at, _, sentence),) = [event for event in stage.events if event[1] is EventType.PROACTIVE_RECONNECT]
        assert at - began <= 2.5
        assert f"the {slot} is started afresh" in sentence
        kinds = Counter(kind for _, kind, _ in stage.alarms())
        assert kinds[EventType.SWITCHED_TO_BACKUP] == (slot is Slot.PRIMARY)
        assert kinds[EventType.SWITCHED_TO_PRIMARY] == 0
        assert {session.vitals.quality.score for session in stage.pair.sessions.values()} == {1.0}

    _play(scene, _noisy())


def test_a_deaf_slot_with_little_traffic_is_found_by_the_third_message() -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(3):
            stage.message_comes()
            await asyncio.sleep(600.0)
        stage.devices.running(Slot.BACKUP).deaf = True
        for _ in range(3):
            stage.message_comes()
            await asyncio.sleep(600.0)
        assert [kind for _, kind, _ in stage.events].count(EventType.PROACTIVE_RECONNECT) == 1

    _play(scene, _noisy())


@pytest.mark.parametrize("fault", ["slow", "no pings"])
def test_a_session_that_turns_bad_is_found_within_minutes_and_the_role_moves_first(fault: str) -> None:
    async def scene(stage: Stage) -> None:
        await asyncio.sleep(3600.0)
        device = stage.devices.running(Slot.PRIMARY)
        if fault == "slow":
            device.line = Line(median=1.0, sigma=0.1)
        else:
            device.no_pongs = True
        assert await _found(stage, EventType.SWITCHED_TO_BACKUP, 300.0) < 80.0
        (first, second, *_) = [(kind, text) for _, kind, text in stage.events if kind is not EventType.SESSION_STATE]
        assert (first[0], second[0]) == (EventType.PROACTIVE_RECONNECT, EventType.SWITCHED_TO_BACKUP)
        assert ("pings slow" if fault == "slow" else "pings unanswered") in first[1]

    _play(scene, _noisy())


def test_a_line_that_loses_most_answers_costs_the_role() -> None:
    async def scene(stage: Stage) -> None:
        stage.devices.running(Slot.PRIMARY).line = Line(unanswered=0.8)
        await _found(stage, EventType.SWITCHED_TO_BACKUP, 300.0)

    _play(scene, _noisy())


def test_a_bad_session_is_kept_while_its_partner_is_away() -> None:
    async def scene(stage: Stage) -> None:
        await asyncio.sleep(3600.0)
        backup = stage.devices.running(Slot.BACKUP)
        backup.alive = False
        backup.says(signals.LoggedOut("the device was unlinked on the phone", on_connect=False))
        stage.devices.running(Slot.PRIMARY).line = Line(median=1.0, sigma=0.1)
        await asyncio.sleep(600.0)
        slot = stage.pair.view().slot(Slot.PRIMARY)
        assert (slot.state, slot.quality is not None and slot.quality < 0.5) == (SessionState.ONLINE, True)
        assert "pings slow" in slot.quality_detail

    _play(scene, _noisy())


def test_self_probes_of_a_quiet_account_make_no_alarm() -> None:
    async def day(stage: Stage) -> None:
        await asyncio.sleep(DAY)
        assert stage.alarms() == []
        sent = [len(stage.devices.running(slot).sent) for slot in Slot]
        assert sent[0] == sent[1] > 100

    _play(day, _devices(6, WORSE), self_probe=300.0)


def test_self_probes_find_both_slots_deaf_one_after_the_other_and_the_role_moves_first() -> None:
    async def scene(stage: Stage) -> None:
        for slot in Slot:
            stage.devices.running(slot).deaf = True
        await asyncio.sleep(600.0)
        assert [kind for _, kind, _ in stage.events].count(EventType.PROACTIVE_RECONNECT) == 2
        assert "self-probes" in stage.events[0][2]
        assert len(stage.devices.started) == 4
        assert {session.state for session in stage.pair.sessions.values()} == {SessionState.ONLINE}

    _play(scene, _noisy(), self_probe=60.0)
