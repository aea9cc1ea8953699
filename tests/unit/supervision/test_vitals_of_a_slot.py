from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.devices import TwinDevice
from support.virtual_time import VirtualClock, run_virtually
from tandem.errors import NotOnline
from tandem.model import signals
from tandem.model.account import Account
from tandem.model.event import EventType
from tandem.model.ids import Number, account_id
from tandem.model.states import SessionState, Slot
from tandem.policy import session_machine as machine
from tandem.supervision.vitals import VitalLimits, Vitals
from tandem.whatsapp.port import DeviceListener, DeviceSpec

NUMBER = Number("+12025550123")
ACCOUNT = Account(account_id(NUMBER), NUMBER, "Shop", 0.0)


@dataclass
class Patient:
    """A session that only remembers what its vitals told it."""

    slot: Slot = Slot.PRIMARY
    state: SessionState = SessionState.ONLINE
    twin: TwinDevice | None = None
    told: list[machine.Input] = field(default_factory=list)
    events: list[tuple[EventType, str, dict[str, Any]]] = field(default_factory=list)

    @property
    def device(self) -> TwinDevice:
        if self.twin is None:
            raise NotOnline("no host")
        return self.twin

    def tell(self, command: machine.Input) -> None:
        self.told.append(command)

    def publish(self, event: EventType, sentence: str, reason: str = "", **data: object) -> None:
        self.events.append((event, sentence, {"reason": reason, **data}))


def _host(patient: Patient, *, keep_alive: float | None = 10.0) -> Vitals:
    """Vitals with a host that has just said hello."""
    vitals = Vitals(patient, VitalLimits(), VirtualClock())
    spec = DeviceSpec(ACCOUNT, patient.slot, 1, timings=vitals.begin())
    patient.twin = TwinDevice(spec, DeviceListener(lambda _: None, lambda _: None), timings=spec.timings)
    assert not vitals.takes(signals.Started(1, paired=True, keep_alive=keep_alive))
    return vitals


async def test_a_lost_ping_is_no_fault_if_the_session_answers_a_question() -> None:
    patient = Patient()
    vitals = _host(patient)
    assert vitals.takes(signals.KeepAliveTimeout(1))
    await asyncio.sleep(0.05)
    assert patient.told == []
    assert patient.device.probes == 1


def test_a_session_that_answers_nothing_is_told_within_the_second_after_the_ping() -> None:
    async def scene() -> None:
        patient = Patient()
        vitals = _host(patient)
        patient.device.unreachable = True
        vitals.takes(signals.KeepAliveTimeout(1))
        await asyncio.sleep(0.79)
        assert patient.told == []
        await asyncio.sleep(0.02)
        assert patient.told == [signals.KeepAliveTimeout(1)]
        assert patient.device.probes == 2

    run_virtually(scene())


def test_the_pings_own_answer_come_late_is_a_sign_of_life() -> None:
    async def scene() -> None:
        patient = Patient()
        vitals = _host(patient)
        patient.device.unreachable = True
        vitals.takes(signals.KeepAliveTimeout(1))
        await asyncio.sleep(0.6)
        assert vitals.takes(signals.PingTimed(2100.0))
        await asyncio.sleep(5.0)
        assert patient.told == []

    run_virtually(scene())


def test_the_host_that_is_gone_is_asked_nothing_and_blamed_for_nothing() -> None:
    async def scene() -> None:
        patient = Patient()
        vitals = _host(patient)
        patient.device.unreachable = True
        vitals.takes(signals.KeepAliveTimeout(1))
        await asyncio.sleep(0.1)
        vitals.end()
        await asyncio.sleep(5.0)
        assert patient.told == []
        assert vitals.keep_alive is None

    run_virtually(scene())


def test_a_rate_limit_doubles_the_interval_in_the_running_host_and_answers_bring_it_back() -> None:
    async def scene() -> None:
        patient = Patient()
        vitals = _host(patient)
        assert patient.device.timings == (1.5, 9.0, 10.0, 180.0)
        await asyncio.sleep(5.0)
        assert vitals.takes(signals.RateLimited("WhatsApp said: rate over limit (429)"))
        assert vitals.takes(signals.RateLimited("WhatsApp said: rate over limit (429)"))  # the same, heard twice
        await asyncio.sleep(0.1)
        assert (patient.device.timings[2], vitals.keep_alive) == (20.0, 20.0)
        ((event, sentence, data),) = patient.events
        assert (event, data["interval"]) == (EventType.RATE_LIMIT_DETECTED, 20.0)
        assert "429" in sentence
        for _ in range(10):
            assert vitals.takes(signals.PingTimed(30.0))
            await asyncio.sleep(0.1)
        assert (patient.device.timings[2], vitals.keep_alive, vitals.ping_ms) == (10.0, 10.0, 30.0)

    run_virtually(scene())


def test_a_refused_send_slows_the_pings_and_is_told_by_who_sends_alone() -> None:
    async def scene() -> None:
        patient = Patient()
        vitals = _host(patient)
        assert vitals.takes(signals.RateLimited("WhatsApp said: rate over limit (429)", answered_send=True))
        await asyncio.sleep(0.1)
        assert vitals.keep_alive == 20.0
        assert patient.events == []

    run_virtually(scene())


def test_a_host_started_during_the_cool_down_has_the_longer_interval_one_after_it_the_start() -> None:
    async def scene() -> None:
        vitals = _host(Patient())
        vitals.takes(signals.RateLimited("WhatsApp refused the connection for now (HTTP 429)"))
        assert vitals.begin() == (1.5, 18.0, 20.0, 180.0)
        await asyncio.sleep(299.0)
        assert vitals.begin()[2] == 20.0
        await asyncio.sleep(1.1)
        assert vitals.begin()[2] == 10.0

    run_virtually(scene())


def test_timings_that_cannot_be_set_are_said_once_and_shown_as_unknown() -> None:
    async def scene() -> None:
        patient = Patient()
        vitals = _host(patient, keep_alive=None)
        vitals.begin()
        vitals.takes(signals.Started(2, paired=True, keep_alive=None))
        assert [event for event, *_ in patient.events] == [EventType.KEEP_ALIVE_FIXED]
        assert vitals.keep_alive is None
        vitals.takes(signals.RateLimited("429"))
        await asyncio.sleep(1.0)
        assert patient.device.timings[2] == 10.0

    run_virtually(scene())


@pytest.mark.parametrize("state", [SessionState.DEGRADED, SessionState.SYNCING])
async def test_an_answer_reaches_the_machine_only_where_it_can_mean_something(state: SessionState) -> None:
    patient = Patient()
    vitals = _host(patient)
    assert vitals.takes(signals.PingTimed(20.0))
    patient.state = state
    assert not vitals.takes(signals.PingTimed(20.0))


async def test_everything_else_is_the_machines_business() -> None:
    vitals = _host(Patient())
    assert not vitals.takes(signals.Connected())
    assert not vitals.takes(signals.Disconnected())
    assert not vitals.takes(signals.HostEnded(-9, "killed"))


def test_a_suspicion_is_asked_about_once_in_a_while_and_silence_to_it_is_a_verdict() -> None:
    async def scene() -> None:
        patient = Patient()
        vitals = _host(patient)
        condemned: list[str] = []
        vitals.condemn = lambda reason: not condemned.append(reason)  # type: ignore[func-returns-value]
        for _ in range(10):
            vitals.suspect("its partner has received a message that it has not")
            await asyncio.sleep(1.0)
        assert (patient.device.probes, condemned) == (1, [])
        patient.device.unreachable = True
        await asyncio.sleep(30.0)
        vitals.suspect("its partner has received a message that it has not")
        await asyncio.sleep(1.0)
        assert condemned == ["its partner has received a message that it has not, and it does not answer"]

    run_virtually(scene())


def test_a_bad_session_that_may_not_be_restarted_now_is_asked_for_again_with_the_next_sample() -> None:
    async def scene() -> None:
        patient = Patient()
        vitals = _host(patient)
        asked: list[str] = []
        vitals.condemn = lambda reason: bool(asked.append(reason))  # type: ignore[func-returns-value]
        vitals.deaf("its partner has received 3 messages that it has not")
        vitals.takes(signals.PingTimed(20.0))
        assert len(asked) == 2
        vitals.condemn = lambda _reason: True
        vitals.takes(signals.PingTimed(20.0))
        vitals.condemn = lambda reason: bool(asked.append(reason))  # type: ignore[func-returns-value]
        vitals.takes(signals.PingTimed(20.0))
        assert len(asked) == 2  # it was started afresh: the cool-down has begun

    run_virtually(scene())
