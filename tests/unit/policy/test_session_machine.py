from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.model import signals
from tandem.model.states import SessionState
from tandem.policy import session_machine as machine
from tandem.policy.session_machine import Effect, Limits, Session, decide

LIMITS = Limits()
SIGNALS: list[machine.Input] = [
    signals.Started(1, paired=True),
    signals.QrShown("fictional", 20.0),
    signals.PairSucceeded("1@s.whatsapp.net"),
    signals.PairFailed("timeout"),
    signals.Connected(),
    signals.Disconnected(),
    signals.KeepAliveTimeout(1),
    signals.KeepAliveTimeout(2),
    signals.KeepAliveRestored(),
    signals.PingTimed(3.0),
    signals.SyncPreviewed(4),
    signals.SyncCompleted(4),
    signals.LoggedOut("device removed", on_connect=False),
    signals.Replaced(),
    signals.Banned("101", 60.0),
    signals.Banned("105", 0.0),
    signals.Outdated(),
    signals.ConnectFailed("generic"),
    signals.StreamErrored("516"),
    signals.HostEnded(-9, "killed"),
    signals.HostEnded(10, "event pump ended"),
]
COMMANDS: list[machine.Input] = [machine.Start(), machine.Pair(), machine.Restart()]
INPUTS = [
    *SIGNALS,
    *COMMANDS,
    machine.Expired(),
    machine.StartFailed("no hello"),
    machine.SendUnanswered(),
    machine.Unwell("deaf"),
]
AT_REST = {
    SessionState.UNPAIRED,
    SessionState.ONLINE,
    SessionState.LOGGED_OUT,
    SessionState.OUTDATED,
    SessionState.PARKED,
    SessionState.STOPPED,
}


def _run(*inputs: machine.Input, paired: bool = True, now: float = 100.0) -> Session:
    session = Session(paired=paired)
    for event in inputs:
        session = decide(session, event, now, 0.5, LIMITS).session
    return session


def _online() -> Session:
    return _run(machine.Start(), signals.Started(1, paired=True), signals.Connected())


@given(
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(INPUTS), st.floats(0.0, 100.0), st.floats(0.0, 0.999)), min_size=1, max_size=40),
)
def test_every_state_that_is_not_at_rest_has_a_deadline_and_terminal_states_start_nothing(
    paired: bool,  # noqa: FBT001 - drawn
    steps: list[tuple[machine.Input, float, float]],
) -> None:
    session, now = Session(paired=paired), 1.0
    for event, passed, chance in steps:
        now += passed
        before = session
        decision = decide(session, event, now, chance, LIMITS)
        session = decision.session
        if session.state is not before.state:
            assert decision.sentence
            assert session.since == now
        assert (session.deadline > 0) == (session.state not in AT_REST)
        starts = [effect for effect in decision.effects if effect in {Effect.START_HOST, Effect.START_PAIRING}]
        assert len(starts) <= 1
        if starts:
            assert session.state in {SessionState.CONNECTING, SessionState.PAIRING}
        operator_or_end = isinstance(event, machine.Pair | machine.Restart) or (
            isinstance(event, machine.Expired) and before.state is SessionState.BANNED
        )
        if before.state.terminal and not operator_or_end:
            assert session.state is before.state
            assert not decision.effects


@pytest.mark.parametrize("state", [state for state in SessionState if state not in AT_REST])
def test_the_passing_of_every_deadline_leads_somewhere(state: SessionState) -> None:
    session = Session(state=state, since=1.0, deadline=2.0, paired=True)
    after = decide(session, machine.Expired(), 3.0, 0.5, LIMITS)
    assert after.session != session
    assert after.sentence


def test_a_linked_slot_comes_up() -> None:
    session = Session(paired=True)
    decision = decide(session, machine.Start(), 1.0, 0.0, LIMITS)
    assert (decision.session.state, decision.effects) == (SessionState.CONNECTING, (Effect.START_HOST,))
    assert _online().state is SessionState.ONLINE


def test_online_waits_for_an_announced_offline_sync() -> None:
    syncing = _run(machine.Start(), signals.SyncPreviewed(3), signals.Connected())
    assert syncing.state is SessionState.SYNCING
    assert decide(syncing, signals.SyncCompleted(3), 101.0, 0.0, LIMITS).session.state is SessionState.ONLINE


def test_a_host_that_dies_while_online_is_started_again_at_once() -> None:
    decision = decide(_online(), signals.HostEnded(-9, "killed"), 101.0, 0.9, LIMITS)
    assert decision.session.state is SessionState.WAITING
    assert decision.session.deadline == 101.0


def test_a_long_outage_backs_off_and_never_parks() -> None:
    session, now = _run(machine.Start()), 100.0
    waits = []
    for _ in range(200):
        decision = decide(session, signals.HostEnded(12, "cannot dial"), now, 0.999, LIMITS)
        session = decision.session
        assert session.state is SessionState.WAITING
        waits.append(session.deadline - now)
        now = session.deadline
        session = decide(session, machine.Expired(), now, 0.5, LIMITS).session
    assert waits[0] <= LIMITS.backoff_first
    assert waits[-1] == pytest.approx(LIMITS.backoff_max, rel=0.01)
    assert max(waits) <= LIMITS.backoff_max


def test_a_host_that_keeps_crashing_is_parked_and_only_an_operator_brings_it_back() -> None:
    session, now = _online(), 100.0
    for _ in range(LIMITS.restart_intensity):
        session = decide(session, signals.HostEnded(-6, "abort"), now, 0.5, LIMITS).session
        assert session.state is SessionState.WAITING
        session = decide(session, machine.Expired(), now, 0.5, LIMITS).session
        session = decide(session, signals.Connected(), now, 0.5, LIMITS).session
        now += 1
    parked = decide(session, signals.HostEnded(-6, "abort"), now, 0.5, LIMITS).session
    assert parked.state is SessionState.PARKED
    assert decide(parked, machine.Start(), now, 0.5, LIMITS).session.state is SessionState.PARKED
    assert decide(parked, machine.Restart(), now, 0.5, LIMITS).session.state is SessionState.CONNECTING


def test_a_duel_for_the_keys_makes_at_most_three_take_backs_in_five_minutes() -> None:
    session, now, logins = _online(), 100.0, 0
    while session.state is not SessionState.PARKED:
        session = decide(session, signals.Replaced(), now, 0.5, LIMITS).session
        if session.state is SessionState.CONFLICT:
            now = session.deadline
            decision = decide(session, machine.Expired(), now, 0.5, LIMITS)
            logins += Effect.START_HOST in decision.effects
            session = decide(decision.session, signals.Connected(), now, 0.5, LIMITS).session
    assert logins == 3
    assert now - 100.0 < LIMITS.conflict_period


def test_without_the_lease_a_conflict_is_never_answered() -> None:
    decision = decide(_online(), signals.Replaced(), 101.0, 0.5, Limits(lease_held=False))
    assert decision.session.state is SessionState.PARKED


def test_a_ban_makes_no_login_before_its_end_and_one_after() -> None:
    banned = decide(_online(), signals.Banned("101", 60.0), 101.0, 0.5, LIMITS).session
    assert (banned.state, banned.deadline) == (SessionState.BANNED, 161.0)
    assert decide(banned, machine.Start(), 120.0, 0.5, LIMITS).effects == ()
    assert decide(banned, machine.Expired(), 161.0, 0.5, LIMITS).effects == (Effect.START_HOST,)


def test_being_logged_out_sets_the_keys_aside_and_keeps_the_cause() -> None:
    decision = decide(_online(), signals.LoggedOut("device removed", on_connect=False), 101.0, 0.5, LIMITS)
    assert decision.session.state is SessionState.LOGGED_OUT
    assert Effect.QUARANTINE_KEYS in decision.effects
    assert decision.session.reason == "device removed"
    assert decide(decision.session, machine.Pair(), 102.0, 0.5, LIMITS).effects[-1] is Effect.START_PAIRING


@pytest.mark.parametrize(
    "failure", [signals.PairFailed("timeout"), signals.HostEnded(1, "ended"), machine.Expired(), signals.Outdated()]
)
def test_a_failed_pairing_ends_unpaired_with_its_host_gone(failure: machine.Input) -> None:
    pairing = _run(machine.Pair(), paired=False)
    decision = decide(pairing, failure, 101.0, 0.5, LIMITS)
    assert decision.session.state is SessionState.UNPAIRED
    assert Effect.KILL_HOST in decision.effects


def test_pairing_leads_online_without_counting_as_a_failure() -> None:
    session = _run(machine.Pair(), signals.PairSucceeded("1@s.whatsapp.net"), signals.Connected(), paired=False)
    assert (session.state, session.paired, session.failures) == (SessionState.ONLINE, True, 0)


def test_two_missed_pings_recycle_the_host() -> None:
    degraded = decide(_online(), signals.KeepAliveTimeout(1), 101.0, 0.5, LIMITS).session
    assert degraded.state is SessionState.DEGRADED
    recycled = decide(degraded, signals.KeepAliveTimeout(2), 111.0, 0.5, LIMITS)
    assert recycled.session.state is SessionState.WAITING
    assert recycled.effects == (Effect.KILL_HOST,)


def test_failures_are_forgotten_after_a_stable_minute_and_not_before() -> None:
    shaky = _run(machine.Start(), signals.HostEnded(12, "cannot dial"), machine.Expired(), signals.Connected())
    assert shaky.failures == 1
    early = decide(shaky, signals.Disconnected(), 100.0 + LIMITS.stable_after / 2, 0.5, LIMITS).session
    late = decide(shaky, signals.Disconnected(), 100.0 + LIMITS.stable_after, 0.5, LIMITS).session
    assert (early.failures, late.failures) == (1, 0)


def test_an_unwell_session_is_not_cured_by_a_ping_and_is_started_afresh_after_the_grace() -> None:
    unwell = decide(_online(), machine.Unwell("deaf"), 101.0, 0.5, LIMITS).session
    assert (unwell.state, unwell.reason) == (SessionState.DEGRADED, "deaf")
    assert decide(unwell, signals.PingTimed(3.0), 102.0, 0.5, LIMITS).session == unwell
    assert decide(unwell, machine.Unwell("deafer"), 102.0, 0.5, LIMITS).session == unwell
    assert unwell.deadline == 101.0 + LIMITS.unwell_grace
    recycled = decide(unwell, machine.Expired(), unwell.deadline, 0.5, LIMITS)
    assert (recycled.session.state, recycled.session.deadline) == (SessionState.WAITING, unwell.deadline)
    assert (recycled.effects, recycled.session.reason) == ((Effect.KILL_HOST,), "deaf")
