"""Thirty accounts on the virtual clock, with the real supervisor, pairs and sessions."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from support.scripted_devices import accepted, outdated, refused, unreachable
from tandem.model import signals
from tandem.model.event import EventType
from tandem.model.states import SessionState, Slot
from tandem.policy.fleet import FleetLimits
from unit.supervision.stage import Stage
from unit.supervision.test_supervisor import virtual

ACCOUNTS = 30
LIMITS = FleetLimits()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _network_fails(stage: Stage) -> None:
    """Every connection is lost, and the library's own retries do not succeed."""
    stage.devices.answer = unreachable
    for device in stage.devices.alive():
        device.says(signals.Disconnected())


async def _until_online(stage: Stage, patience: float) -> float:
    began = _now()
    while set(stage.states().values()) != {SessionState.ONLINE}:
        assert _now() - began < patience, "not all came back"
        await asyncio.sleep(0.1)
    return _now() - began


@virtual
async def test_sixty_hosts_boot_in_turns_every_account_with_one_slot_first() -> None:
    stage = Stage()
    await stage.link(ACCOUNTS)
    await stage.boot()
    assert await _until_online(stage, 12.0) < 8.0
    assert [spec.slot for _, spec in stage.devices.starts] == [Slot.PRIMARY] * ACCOUNTS + [Slot.BACKUP] * ACCOUNTS
    times = [time for time, _ in stage.devices.starts]
    for first, last in itertools.combinations(range(len(times)), 2):
        assert last - first + 1 <= LIMITS.burst + (times[last] - times[first] + 0.01) * LIMITS.rate
    assert stage.count(EventType.FLEET_HELD) == 0
    await stage.run.stop()


@virtual
async def test_a_session_that_waits_for_its_turn_says_so() -> None:
    stage = Stage()
    await stage.link(ACCOUNTS)
    await stage.boot()
    await asyncio.sleep(1)
    waiting = [pair.sessions[Slot.BACKUP] for pair in stage.pairs()]
    assert {session.state for session in waiting} == {SessionState.WAITING}
    assert all("its turn comes in" in session.reason for session in waiting)
    await stage.run.stop()


@virtual
async def test_a_lone_killed_host_is_never_delayed() -> None:
    stage = Stage()
    await stage.up(ACCOUNTS)
    killed = _now()
    stage.devices.alive()[0].dies()
    await asyncio.sleep(0.001)
    assert stage.devices.started_since(killed) == 1
    await stage.run.stop()


@virtual
async def test_an_outage_of_the_network_makes_one_alert_a_few_canaries_and_no_storm() -> None:
    stage = Stage()
    await stage.up(ACCOUNTS)
    began = _now()
    await _network_fails(stage)
    await asyncio.sleep(1800)
    assert stage.count(EventType.FLEET_HELD) == 1
    [held] = [told for told in stage.told if told.type is EventType.FLEET_HELD]
    assert "of 60 sessions failed within 30 s: WhatsApp cannot be reached" in held.message
    storm, canaries = stage.devices.started_since(began), stage.devices.started_since(began + 60)
    assert storm < 60
    assert canaries < 1800 / LIMITS.canary_longest + 2
    waiting = {pair.sessions[slot].reason for pair in stage.pairs() for slot in Slot}
    assert all("all logins are held" in reason or "WhatsApp could not be reached" in reason for reason in waiting)

    stage.devices.answer = accepted
    back = _now()
    assert await _until_online(stage, 90.0) < LIMITS.canary_longest + 12
    assert stage.count(EventType.FLEET_RELEASED) == 1
    assert stage.devices.started_since(back) == 2 * ACCOUNTS
    await stage.run.stop()


@virtual
async def test_a_short_outage_costs_seconds() -> None:
    stage = Stage()
    await stage.up(ACCOUNTS)
    await _network_fails(stage)
    await asyncio.sleep(8)
    stage.devices.answer = accepted
    assert await _until_online(stage, 30.0) < 20.0
    await stage.run.stop()


@virtual
async def test_a_wave_of_refused_logins_holds_and_an_operator_passes() -> None:
    stage = Stage()
    await stage.link(ACCOUNTS)
    stage.devices.answer = refused
    await stage.boot()
    await asyncio.sleep(60)
    assert stage.count(EventType.FLEET_HELD) == 1
    [held] = [told for told in stage.told if told.type is EventType.FLEET_HELD]
    assert held.data["cause"] == "refused"
    stage.devices.answer = accepted
    before = _now()
    await stage.run.restart(stage.pair.account.id, Slot.PRIMARY)
    await asyncio.sleep(0.01)
    assert stage.devices.started_since(before) == 1
    assert await _until_online(stage, 20.0) < 10.0
    assert stage.count(EventType.FLEET_RELEASED) == 1
    await stage.run.stop()


@virtual
async def test_an_outdated_library_holds_before_every_session_has_asked_and_stays_over_a_restart() -> None:
    stage = Stage()
    await stage.link(ACCOUNTS)
    stage.devices.answer = outdated
    await stage.boot()
    await asyncio.sleep(3600)
    states = list(stage.states().values())
    assert stage.count(EventType.FLEET_HELD) == 1
    assert states.count(SessionState.OUTDATED) <= 34  # a third, who was under way, and four canaries
    asked = len(stage.devices.starts)
    await stage.run.stop()
    outdated_before = states.count(SessionState.OUTDATED)
    await stage.boot()
    await asyncio.sleep(0.1)
    assert list(stage.states().values()).count(SessionState.OUTDATED) >= outdated_before
    await stage.run.stop()
    assert len(stage.devices.starts) - asked <= LIMITS.burst
    stage.devices.release, stage.devices.answer = "2.0", accepted
    await stage.boot()
    await _until_online(stage, 20.0)
    await stage.run.stop()


@virtual
async def test_crashes_of_all_hosts_are_no_matter_of_the_network() -> None:
    stage = Stage()
    await stage.up(ACCOUNTS)
    for device in stage.devices.alive():
        device.dies()
    assert await _until_online(stage, 20.0) < 8.0
    assert stage.count(EventType.FLEET_HELD) == 0
    await stage.run.stop()


@pytest.mark.parametrize("accounts", [1, 3])
def test_one_accounts_trouble_is_not_the_fleets(accounts: int) -> None:
    async def run() -> None:
        stage = Stage()
        await stage.up(accounts)
        stage.devices.answer = unreachable
        for slot in Slot:
            stage.devices.last(slot).says(signals.Disconnected())
        await asyncio.sleep(600)
        assert stage.count(EventType.FLEET_HELD) == 0
        await stage.run.stop()

    virtual(run)()


@virtual
async def test_a_quiet_month_of_thirty_accounts_is_silent() -> None:
    stage = Stage()
    await stage.up(ACCOUNTS)
    told, started = len(stage.told), len(stage.devices.starts)
    await asyncio.sleep(30 * 86400)
    assert (len(stage.told), len(stage.devices.starts)) == (told, started)
    await stage.run.stop()


@virtual
async def test_logins_of_the_last_hour_are_counted_per_slot() -> None:
    stage = Stage()
    await stage.up()
    for _ in range(3):
        stage.devices.last(Slot.PRIMARY).dies()
        await asyncio.sleep(60)
    assert (stage.session(Slot.PRIMARY).logins, stage.session(Slot.BACKUP).logins) == (4, 1)
    await asyncio.sleep(3500)
    assert (stage.session(Slot.PRIMARY).logins, stage.session(Slot.BACKUP).logins) == (1, 0)
    await asyncio.sleep(3600)
    assert stage.session(Slot.PRIMARY).logins == 0
    await stage.run.stop()
