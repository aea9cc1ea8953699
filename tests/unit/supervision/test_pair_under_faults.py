"""What a pair does when things go wrong: the real supervisor, pair and sessions on the virtual clock."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from support.devices import TwinDevice
from support.scripted_devices import Answer, accepted, hanging, refused, unreachable
from tandem.errors import Conflict
from tandem.model import signals
from tandem.model.event import EventType
from tandem.model.ids import AccountId, ChatId
from tandem.model.outbox import Text
from tandem.model.states import SessionState, Slot
from tandem.policy import session_machine as machine
from unit.supervision.stage import Stage
from unit.supervision.test_supervisor import virtual

CHAT = ChatId("13035550100@s.whatsapp.net")
P, B = Slot.PRIMARY, Slot.BACKUP


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _until(stage: Stage, slot: Slot, state: SessionState, patience: float) -> float:
    began = _now()
    while stage.session(slot).state is not state:
        assert _now() - began < patience, f"the {slot} is {stage.session(slot).state}"
        await asyncio.sleep(0.05)
    return _now() - began


async def _send_unanswered(stage: Stage) -> asyncio.Task[object]:
    """A send through the active slot that the server does not answer."""
    slot = stage.pair.active
    stage.devices.last(slot).stalled_for = 60.0
    return asyncio.create_task(stage.pair.send(slot, CHAT, Text("hello"), b"", 10.0))


# A ban concerns the number


@virtual
async def test_a_ban_of_one_slot_stops_both_until_its_end() -> None:
    stage = Stage()
    await stage.up()
    stage.devices.last(P).says(signals.Banned("101", 3600.0))
    await asyncio.sleep(1)
    assert set(stage.states().values()) == {SessionState.BANNED}
    assert not stage.devices.alive()
    banned = _now()
    await asyncio.sleep(3590)
    assert stage.devices.started_since(banned) == 0
    await asyncio.sleep(20)
    assert set(stage.states().values()) == {SessionState.ONLINE}
    await stage.run.stop()


@virtual
async def test_a_ban_that_only_one_slot_was_told_of_binds_both_after_a_restart_too() -> None:
    stage = Stage()
    await stage.up()
    stage.devices.last(P).says(signals.Banned("101", 3600.0))
    await asyncio.sleep(1)
    await stage.run.stop()
    partner = stage.registry.slots[_account(stage), B]
    stage.registry.slots[_account(stage), B] = replace(partner, state=SessionState.STOPPED, until=0.0)
    await stage.boot()
    restarted = _now()
    await asyncio.sleep(1800)
    assert stage.devices.started_since(restarted) == 0
    assert stage.session(B).state is SessionState.BANNED
    await stage.run.stop()


# Keys used elsewhere


@virtual
async def test_a_rival_that_always_takes_the_keys_back_gets_three_logins_and_then_a_parked_slot() -> None:
    """The duel: whenever this slot logs in, the rival does too."""
    stage = Stage()
    await stage.up()

    def duel(device: TwinDevice) -> Answer:
        rival = [(0.7, signals.Replaced())] if device.spec.slot is P else []
        return [*accepted(device), *rival]

    stage.devices.answer = duel
    began = _now()
    stage.devices.last(P).says(signals.Replaced())
    await asyncio.sleep(86_400)
    takebacks = [time for time, spec in stage.devices.starts if spec.slot is P and time > began]
    assert len(takebacks) == 3
    assert takebacks[-1] - began < 300
    assert all(time - began >= 5 for time in takebacks)
    assert stage.session(P).state is SessionState.PARKED
    assert (stage.session(B).state, stage.pair.active) == (SessionState.ONLINE, B)
    [parked] = [told for told in stage.told if told.type is EventType.SESSION_PARKED]
    assert "somebody else connected" in parked.message
    await stage.run.stop()
    await stage.boot()
    await asyncio.sleep(600)
    assert stage.session(P).state is SessionState.PARKED
    await stage.run.stop()


# Nobody is well


@virtual
async def test_a_stall_while_the_partner_waits_out_a_conflict_costs_less_than_three_seconds() -> None:
    stage = Stage()
    await stage.up()
    stage.devices.last(B).says(signals.Replaced())
    await asyncio.sleep(0.1)
    began = _now()
    sending = await _send_unanswered(stage)
    await asyncio.sleep(2.01)
    await _until(stage, P, SessionState.ONLINE, 1.0)
    assert _now() - began < 3.0
    assert await _until(stage, B, SessionState.ONLINE, 2.0) < 2.0
    sending.cancel()
    await stage.run.stop()


@virtual
async def test_with_one_slot_only_a_stalled_session_is_made_anew_at_once() -> None:
    stage = Stage()
    await stage.up(1, P)
    sending = await _send_unanswered(stage)
    await asyncio.sleep(2.01)
    assert await _until(stage, P, SessionState.ONLINE, 1.0) < 1.0
    sending.cancel()
    await stage.run.stop()


@virtual
async def test_a_server_that_swallows_every_send_does_not_cause_login_after_login() -> None:
    stage = Stage()
    await stage.up(1, P)
    began = _now()
    for _ in range(100):
        if stage.session(P).state is SessionState.ONLINE:
            (await _send_unanswered(stage)).add_done_callback(lambda task: task.exception())
        await asyncio.sleep(3)
    assert stage.devices.started_since(began) <= 3 + 300 / 15 + 1
    await stage.run.stop()


@virtual
async def test_with_both_stalled_the_standby_is_made_anew_first_and_gets_the_role() -> None:
    stage = Stage()
    await stage.up()
    for slot in Slot:
        stage.session(slot).tell(machine.SendUnanswered())
    await asyncio.sleep(0.001)
    assert len(stage.devices.alive()) == 2
    await asyncio.sleep(1)
    online = [slot for slot in Slot if stage.session(slot).state is SessionState.ONLINE]
    assert len(online) == 1
    await asyncio.sleep(5)
    assert stage.pair.active is online[0]
    await stage.run.stop()


@virtual
async def test_two_slots_that_cannot_log_in_do_not_drive_each_other_on() -> None:
    stage = Stage()
    await stage.up()
    stage.devices.answer = refused
    began = _now()
    for slot in Slot:
        stage.devices.last(slot).dies()
    await asyncio.sleep(600)
    assert stage.devices.started_since(began) < 2 * 30
    await stage.run.stop()


# Failover


@virtual
async def test_a_shaky_active_keeps_the_role_for_the_dwell_and_loses_it_then_without_another_event() -> None:
    stage = Stage()
    await stage.up()
    await stage.run.switch(stage.pair.account.id)
    await asyncio.sleep(1)
    stage.session(B).tell(machine.SendUnanswered())
    await asyncio.sleep(3.9)
    assert stage.pair.active is B
    await asyncio.sleep(0.2)
    assert stage.pair.active is P
    await stage.run.stop()


@virtual
async def test_an_operator_cannot_give_the_role_to_a_slot_that_cannot_send() -> None:
    stage = Stage()
    await stage.up()
    stage.devices.answer = unreachable
    stage.devices.last(B).dies()
    await asyncio.sleep(1)
    with pytest.raises(Conflict, match="backup cannot take over"):
        await stage.run.switch(stage.pair.account.id)
    assert stage.pair.active is P
    await stage.run.stop()


@pytest.mark.parametrize("steps", range(0, 60, 3))
@pytest.mark.parametrize("fault", ["partner dies", "partner is logged out", "the pair is stopped", "an operator asks"])
def test_a_failover_interrupted_between_any_two_steps_leaves_one_active_slot_and_heals(steps: int, fault: str) -> None:
    """The active dies; after so many turns of the loop something else happens."""

    async def run() -> None:
        stage = Stage()
        await stage.up()
        stage.devices.last(P).dies()
        for _ in range(steps):
            await asyncio.sleep(0)
        if fault == "partner dies":
            stage.devices.last(B).dies()
        elif fault == "partner is logged out":
            stage.devices.last(B).says(signals.LoggedOut("device removed", on_connect=False))
        elif fault == "the pair is stopped":
            await stage.run.stop()
            assert not stage.devices.alive()
            await stage.boot()
        else:
            stage.pair.restart(P)
            if stage.session(P).state.connected:
                stage.pair.switch()
        await asyncio.sleep(5)
        gone = {B} if fault == "partner is logged out" else set()
        assert {slot: stage.session(slot).state for slot in set(Slot) - gone} == dict.fromkeys(
            set(Slot) - gone, SessionState.ONLINE
        )
        assert stage.session(stage.pair.active).state is SessionState.ONLINE
        assert len(stage.devices.alive()) == 2 - len(gone)
        await stage.run.stop()

    virtual(run)()


# Networks that fail in every way


@pytest.mark.parametrize("answer", [unreachable, hanging, refused], ids=lambda answer: answer.__name__)
def test_whatever_the_network_does_to_a_login_it_is_tried_again_with_backoff_and_comes_back(answer: object) -> None:
    async def run() -> None:
        stage = Stage()
        await stage.link()
        stage.devices.answer = answer  # type: ignore[assignment]
        await stage.boot()
        await asyncio.sleep(3600)
        assert 60 < len(stage.devices.starts) < 2 * 3600 / 15
        stage.devices.answer = accepted
        for slot in Slot:
            await _until(stage, slot, SessionState.ONLINE, 95.0)
        await stage.run.stop()

    virtual(run)()


# A slot that keeps failing


@virtual
async def test_a_host_that_keeps_dying_is_parked_with_its_own_event_and_the_partner_goes_on() -> None:
    stage = Stage()
    await stage.up()
    stage.devices.answer = lambda device: [
        *accepted(device),
        *([(1.0, signals.HostEnded(-6, "abort"))] if device.spec.slot is P else []),
    ]
    stage.devices.last(P).dies()
    await asyncio.sleep(3600)
    assert stage.session(P).state is SessionState.PARKED
    assert (stage.pair.active, stage.session(B).state) == (B, SessionState.ONLINE)
    assert stage.count(EventType.SESSION_PARKED) == 1
    starts = len(stage.devices.starts)
    await asyncio.sleep(86_400)
    assert len(stage.devices.starts) == starts
    stage.devices.answer = accepted
    await stage.run.restart(stage.pair.account.id, P)
    await _until(stage, P, SessionState.ONLINE, 1.0)
    await stage.run.stop()


@virtual
async def test_a_defect_costs_its_slot_alone_and_never_the_daemon() -> None:
    stage = Stage()
    await stage.up(3)
    stage.devices.answer = _defect_in_primary
    victim = stage.devices.started[0]
    assert victim.spec.slot is P
    victim.dies()
    await asyncio.sleep(60)
    states = stage.states()
    assert not states.pop((victim.spec.account.id, P)).connected
    assert set(states.values()) == {SessionState.ONLINE}
    assert len(stage.devices.starts) - 6 < 15
    assert stage.run.pair_of(victim.spec.account.id).active is B
    await stage.run.stop()


def _defect_in_primary(device: TwinDevice) -> Answer:
    if device.spec.slot is P:
        raise RuntimeError("a defect")
    return accepted(device)


@virtual
async def test_an_outdated_library_is_remembered_with_its_release() -> None:
    stage = Stage()
    await stage.up(1, P)
    stage.devices.last(P).says(signals.Outdated())
    await asyncio.sleep(1)
    await stage.run.stop()
    await stage.boot()
    await asyncio.sleep(600)
    assert stage.session(P).state is SessionState.OUTDATED
    await stage.run.stop()
    stage.devices.release = "2.0"
    await stage.boot()
    await _until(stage, P, SessionState.ONLINE, 1.0)
    await stage.run.stop()


def _account(stage: Stage) -> AccountId:
    return stage.devices.started[0].spec.account.id
