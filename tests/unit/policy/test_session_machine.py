from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.devices import LOGGED_IN
from tandem.model import signals
from tandem.model.states import SessionState
from tandem.policy import session_machine as machine
from tandem.policy.fleet import FREE, Admission, Cause
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
    signals.HostEnded(21, "cannot dial", unreachable=True),
]
COMMANDS: list[machine.Input] = [
    machine.Start(),
    machine.Linked("1@s.whatsapp.net"),
    machine.Restart(),
    machine.ActorFailed(),
    machine.Hurry(),
    machine.NumberBanned(60.0),
    machine.Released(),
]
INPUTS = [
    *SIGNALS,
    *COMMANDS,
    machine.Expired(),
    machine.StartFailed("no hello"),
    machine.SendUnanswered(),
    machine.Unwell("deaf"),
    machine.Recycle("a send"),
]
ADMISSIONS = [FREE, Admission(4.0, "its turn comes"), Admission(5.0, "all logins are held", held=True)]
NO_HOST = {*SessionState} - {
    SessionState.CONNECTING,
    SessionState.SYNCING,
    SessionState.ONLINE,
    SessionState.DEGRADED,
    SessionState.RECONNECTING,
}
AT_REST = {
    SessionState.UNPAIRED,
    SessionState.PAIRING,  # of the pairing machine, never of this one
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
    return _run(machine.Start(), signals.Started(1, paired=True), *LOGGED_IN)


def _logged_in(session: Session, now: float) -> Session:
    for signal in LOGGED_IN:
        session = decide(session, signal, now, 0.5, LIMITS).session
    return session


def _check(before: Session, event: machine.Input, now: float, chance: float, admission: Admission) -> Session:
    """Decide, and hold the answer against every invariant of the machine."""
    asked = admission if machine.wants_login(before, event) else FREE
    decision = decide(before, event, now, chance, LIMITS, admission=asked)
    session, effects = decision.session, decision.effects
    if session.state is not before.state:
        assert decision.sentence
        assert session.since == now
    assert (session.deadline > 0) == (session.state not in AT_REST)
    assert not session.state.terminal or session.reason
    starts = effects.count(Effect.START_HOST)
    assert starts <= 1
    if starts:
        assert session.state is SessionState.CONNECTING
        assert before.state in NO_HOST or effects[0] in {Effect.STOP_HOST, Effect.KILL_HOST}, "two hosts at once"
    if Effect.START_HOST in effects and not isinstance(event, machine.Restart | machine.Linked):
        assert machine.wants_login(before, event)
        assert not admission.wait, "a login that was not admitted"
    if before.state not in NO_HOST and session.state in NO_HOST and not _host_is_gone(event):
        assert effects[0] in {Effect.STOP_HOST, Effect.KILL_HOST}, "a host that nobody ends"
    operator_or_end = isinstance(event, machine.Linked | machine.Restart) or (
        isinstance(event, machine.Expired) and before.state is SessionState.BANNED
    )
    if before.state.terminal and not operator_or_end:
        assert session.state is before.state
        assert not decision.effects
    assert not session.paired or session.state is not SessionState.UNPAIRED
    return session


def _host_is_gone(event: machine.Input) -> bool:
    return isinstance(event, signals.HostEnded | machine.StartFailed | machine.ActorFailed)


@given(
    st.booleans(),
    st.lists(
        st.tuples(st.sampled_from(INPUTS), st.floats(0.0, 100.0), st.floats(0.0, 0.999), st.sampled_from(ADMISSIONS)),
        min_size=1,
        max_size=40,
    ),
)
def test_no_history_breaks_an_invariant(
    paired: bool,  # noqa: FBT001 - drawn
    steps: list[tuple[machine.Input, float, float, Admission]],
) -> None:
    session, now = Session(paired=paired), 1.0
    for event, passed, chance, admission in steps:
        now += passed
        session = _check(session, event, now, chance, admission)


@pytest.mark.parametrize("event", INPUTS, ids=repr)
@pytest.mark.parametrize("state", list(SessionState), ids=str)
def test_every_event_in_every_state_has_an_answer_that_keeps_the_invariants(
    state: SessionState, event: machine.Input
) -> None:
    for admission in ADMISSIONS:
        deadline = 0.0 if state in AT_REST else 20.0
        paired = state not in UNLINKED
        session = Session(state=state, reason="because", since=5.0, deadline=deadline, paired=paired)
        for variant in (session, replace(session, stalled=state is SessionState.DEGRADED), _held(session)):
            _check(variant, event, 20.0, 0.5, admission)


UNLINKED = {SessionState.UNPAIRED, SessionState.PAIRING, SessionState.LOGGED_OUT}


def _held(session: Session) -> Session:
    return replace(session, held=session.state is SessionState.WAITING)


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


OFFLINE_SYNC = (signals.SyncPreviewed(3), signals.SyncCompleted(3))


@pytest.mark.parametrize("place", range(3))
def test_online_comes_with_the_last_of_login_and_offline_sync_in_whatever_order(place: int) -> None:
    news = [*OFFLINE_SYNC[:place], signals.Connected(), *OFFLINE_SYNC[place:]]
    states = [_run(machine.Start(), *news[:count]).state for count in range(1, 4)]
    assert SessionState.ONLINE not in states[:2]
    assert states[2] is SessionState.ONLINE


@pytest.mark.parametrize("place", range(3))
def test_the_librarys_own_reconnect_waits_for_the_offline_sync_of_the_new_connection(place: int) -> None:
    lost = decide(_online(), signals.Disconnected(), 101.0, 0.5, LIMITS).session
    for signal in (*OFFLINE_SYNC[:place], signals.Connected()):
        lost = decide(lost, signal, 101.0, 0.5, LIMITS).session
    assert (lost.state is SessionState.ONLINE) == (place == 2)


def test_a_login_without_any_word_of_offline_messages_is_online_after_the_grace() -> None:
    waiting = _run(machine.Start(), signals.Connected())
    assert (waiting.state, waiting.deadline) == (SessionState.SYNCING, 100.0 + LIMITS.sync_grace)
    online = decide(waiting, machine.Expired(), waiting.deadline, 0.5, LIMITS)
    assert (online.session.state, online.effects) == (SessionState.ONLINE, ())


def test_an_announcement_after_the_login_has_the_whole_time_and_is_a_fault_without_completion() -> None:
    waiting = _run(machine.Start(), signals.Connected())
    announced = decide(waiting, signals.SyncPreviewed(3), 101.0, 0.5, LIMITS).session
    assert (announced.state, announced.deadline) == (SessionState.SYNCING, 101.0 + LIMITS.sync_timeout)
    failed = decide(announced, machine.Expired(), announced.deadline, 0.5, LIMITS)
    assert (failed.session.state, failed.effects) == (SessionState.WAITING, (Effect.KILL_HOST,))


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
        session = _logged_in(session, now)
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
            session = _logged_in(decision.session, now)
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
    linked = decide(decision.session, machine.Linked("1@s.whatsapp.net"), 102.0, 0.5, LIMITS)
    assert (linked.session.state, linked.effects[-1]) == (SessionState.CONNECTING, Effect.START_HOST)


def test_a_device_just_linked_comes_online_without_counting_as_a_failure() -> None:
    session = _run(machine.Linked("1@s.whatsapp.net"), *LOGGED_IN, paired=False)
    assert (session.state, session.paired, session.failures) == (SessionState.ONLINE, True, 0)


def test_two_missed_pings_recycle_the_host() -> None:
    degraded = decide(_online(), signals.KeepAliveTimeout(1), 101.0, 0.5, LIMITS).session
    assert degraded.state is SessionState.DEGRADED
    recycled = decide(degraded, signals.KeepAliveTimeout(2), 111.0, 0.5, LIMITS)
    assert recycled.session.state is SessionState.WAITING
    assert recycled.effects == (Effect.KILL_HOST,)


def test_failures_are_forgotten_after_a_stable_minute_and_not_before() -> None:
    shaky = _run(machine.Start(), signals.HostEnded(12, "cannot dial"), machine.Expired(), *LOGGED_IN)
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


def test_a_login_that_is_not_admitted_waits_with_the_reason_and_a_deadline() -> None:
    waiting = decide(Session(paired=True), machine.Start(), 10.0, 0.5, LIMITS, admission=ADMISSIONS[1])
    assert (waiting.session.state, waiting.session.deadline, waiting.effects) == (SessionState.WAITING, 14.0, ())
    assert waiting.session.reason == "its turn comes"
    assert decide(waiting.session, machine.Expired(), 14.0, 0.5, LIMITS).effects == (Effect.START_HOST,)


def test_the_end_of_a_hold_wakes_those_it_held_and_nobody_else() -> None:
    held = decide(Session(paired=True), machine.Start(), 10.0, 0.5, LIMITS, admission=ADMISSIONS[2]).session
    assert decide(held, machine.Released(), 11.0, 0.5, LIMITS).effects == (Effect.START_HOST,)
    backing_off = decide(_run(machine.Start()), signals.HostEnded(21, "no"), 101.0, 0.5, LIMITS).session
    assert decide(backing_off, machine.Released(), 101.1, 0.5, LIMITS).session == backing_off


def test_a_hold_does_not_stop_an_operator() -> None:
    held = decide(Session(paired=True), machine.Start(), 10.0, 0.5, LIMITS, admission=ADMISSIONS[2]).session
    assert Effect.START_HOST in decide(held, machine.Restart(), 11.0, 0.5, LIMITS, admission=ADMISSIONS[2]).effects


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (signals.HostEnded(21, "WhatsApp could not be reached", unreachable=True), Cause.NETWORK),
        (signals.ConnectFailed("generic"), Cause.REFUSED),
        (signals.Outdated(), Cause.OUTDATED),
        (machine.Expired(), Cause.NETWORK),
        (signals.HostEnded(-9, "killed"), None),
        (signals.HostEnded(22, "poisoned"), None),
        (machine.StartFailed("no hello"), None),
        (machine.ActorFailed(), None),
        (signals.Replaced(), None),
        (signals.LoggedOut("device removed", on_connect=True), None),
    ],
    ids=repr,
)
def test_only_what_may_concern_all_sessions_is_told_to_the_fleet(event: machine.Input, cause: Cause | None) -> None:
    assert decide(_run(machine.Start()), event, 131.0, 0.5, LIMITS).cause is cause


def test_a_ban_concerns_the_number() -> None:
    banned = decide(_online(), machine.NumberBanned(60.0), 101.0, 0.5, LIMITS)
    assert (banned.session.state, banned.session.deadline) == (SessionState.BANNED, 161.0)
    assert banned.effects == (Effect.STOP_HOST,)
    assert decide(banned.session, machine.NumberBanned(30.0), 101.0, 0.5, LIMITS).session.deadline == 161.0
    assert decide(banned.session, machine.NumberBanned(90.0), 101.0, 0.5, LIMITS).session.deadline == 191.0


def test_a_stalled_slot_is_made_anew_at_once_when_nobody_is_well_but_not_for_ever() -> None:
    session, now = _online(), 100.0
    for _ in range(LIMITS.hurries):
        session = decide(session, machine.SendUnanswered(), now, 0.5, LIMITS).session
        hurried = decide(session, machine.Hurry(), now, 0.5, LIMITS)
        assert hurried.effects == (Effect.KILL_HOST,)
        assert hurried.session.deadline == now
        session = decide(hurried.session, machine.Expired(), now, 0.5, LIMITS).session
        session = _logged_in(session, now + 0.2)
        now += 3.0
    session = decide(session, machine.SendUnanswered(), now, 0.5, LIMITS).session
    patient = decide(session, machine.Hurry(), now, 0.5, LIMITS)
    assert patient.session.state is SessionState.DEGRADED
    assert patient.session.deadline == now + LIMITS.degraded_timeout


def test_a_conflicts_wait_is_cut_to_a_second_and_its_take_backs_stay_counted() -> None:
    conflict = decide(_online(), signals.Replaced(), 101.0, 0.9, LIMITS).session
    hurried = decide(conflict, machine.Hurry(), 101.2, 0.5, LIMITS).session
    assert hurried.deadline == 102.0
    assert hurried.conflicts == conflict.conflicts


def test_a_slot_whose_quality_is_low_is_not_made_anew_in_a_hurry() -> None:
    slow = replace(_online(), state=SessionState.DEGRADED, reason="slow", deadline=115.0)
    assert decide(slow, machine.Hurry(), 101.0, 0.5, LIMITS).session == slow


def test_a_defect_of_the_actor_counts_as_a_crash_and_parks_in_the_end() -> None:
    session, now = _online(), 100.0
    for _ in range(LIMITS.restart_intensity):
        session = decide(session, machine.ActorFailed(), now, 0.0, LIMITS).session
        assert session.state is SessionState.WAITING
        session = decide(session, machine.Expired(), now, 0.5, LIMITS).session
        now += 1
    assert decide(session, machine.ActorFailed(), now, 0.5, LIMITS).session.state is SessionState.PARKED
