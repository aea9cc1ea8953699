"""The pairing machine, on its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.model.reason import Reason
from tandem.model.views import PairMethod
from tandem.policy import pairing as machine
from tandem.policy.pairing import Answer, Decision, Effect, Limits, Pairing, Phase, begin, decide

LIMITS = Limits()
CAUSE = Reason("cause", "some cause", "some step")
OURS = machine.Ended(CAUSE, "12025550123:7@s.whatsapp.net", ours=True)
FOREIGN = machine.Ended(CAUSE, "12025550199:7@s.whatsapp.net", ours=False)
GONE = machine.Ended(CAUSE)
INPUTS: list[machine.Input] = [
    machine.Shown("fictional", 20.0),
    machine.Shown("fictional", 60.0),
    machine.Scanned(ours=True),
    machine.Scanned(ours=False),
    machine.LoggedIn(),
    machine.Refused(CAUSE),
    OURS,
    FOREIGN,
    GONE,
    machine.Cancel(),
    machine.Expired(),
]
SHOWN = machine.Shown("fictional", 60.0)
_REST = {Phase.IDLE, Phase.CLOSING}


def _started(method: PairMethod = PairMethod.QR, now: float = 100.0) -> Pairing:
    return begin(Pairing(), method, now, LIMITS).decision.pairing


def _after(*inputs: machine.Input, now: float = 101.0, pairing: Pairing | None = None) -> Decision:
    decision = Decision(pairing or _started())
    for event in inputs:
        decision = decide(decision.pairing, event, now, LIMITS)
    return decision


def _wish() -> st.SearchStrategy[tuple[PairMethod, bool]]:
    return st.tuples(st.sampled_from(PairMethod), st.booleans())


@given(
    st.lists(
        st.tuples(st.one_of(st.sampled_from(INPUTS), _wish()), st.floats(0.0, 200.0)),
        min_size=1,
        max_size=60,
    )
)
def test_whatever_happens_every_phase_ends_and_a_linked_slot_starts_nothing(
    steps: list[tuple[machine.Input | tuple[PairMethod, bool], float]],
) -> None:
    pairing, now = Pairing(), 1.0
    for event, passed in steps:
        now += passed
        before = pairing
        if isinstance(event, tuple):
            decision = begin(pairing, event[0], now, LIMITS, by_itself=event[1]).decision
        else:
            decision = decide(pairing, event, now, LIMITS)
        pairing = decision.pairing
        if pairing.phase not in _REST:
            assert pairing.deadline > 0
            assert pairing.phase is Phase.CONFIRMING or pairing.deadline <= pairing.ends
        assert bool(pairing.text) == (pairing.phase is Phase.SHOWING)
        assert (Effect.START_PROCESS in decision.effects) <= (pairing.phase is Phase.STARTING)
        assert (Effect.LINK in decision.effects) <= (event == OURS)
        assert (Effect.QUARANTINE in decision.effects) <= (event == FOREIGN)
        if isinstance(event, machine.Ended) and event.device and before.under_way:
            assert not pairing.under_way
        if before.under_way and not pairing.under_way:
            assert decision.sentence
            assert Effect.LINK in decision.effects or (pairing.failure and pairing.failure.next_step)


@given(st.lists(st.tuples(st.sampled_from(INPUTS), st.floats(0.0, 30.0)), max_size=40))
def test_a_pairing_that_is_only_left_alone_from_now_on_ends_within_its_window(
    steps: list[tuple[machine.Input, float]],
) -> None:
    pairing, now = _started(), 100.0
    for event, passed in steps:
        now += passed
        pairing = decide(pairing, event, now, LIMITS).pairing
    last = max(now, pairing.ends + LIMITS.confirm)
    for _ in range(1000):
        if not pairing.under_way:
            break
        closing = pairing.phase is Phase.CLOSING
        now = now if closing else max(now, pairing.deadline)
        pairing = decide(pairing, GONE if closing else machine.Expired(), now, LIMITS).pairing
    assert not pairing.under_way
    assert now <= last


class TestBegin:
    def test_the_first_start_starts_a_process(self) -> None:
        reply = begin(Pairing(), PairMethod.QR, 100.0, LIMITS)
        assert (reply.answer, reply.decision.effects) == (Answer.STARTED, (Effect.START_PROCESS,))
        assert reply.decision.pairing.ends == 700.0

    def test_the_same_method_again_changes_nothing(self) -> None:
        showing = _after(SHOWN).pairing
        reply = begin(showing, PairMethod.QR, 102.0, LIMITS)
        assert (reply.answer, reply.decision) == (Answer.UNDER_WAY, Decision(showing))

    @pytest.mark.parametrize("pairing", [_started(), _after(machine.Cancel(), GONE).pairing])
    def test_too_soon_says_how_long_to_wait(self, pairing: Pairing) -> None:
        reply = begin(pairing, PairMethod.CODE, 104.0, LIMITS)
        assert (reply.answer, reply.wait, reply.decision) == (Answer.TOO_SOON, 6.0, Decision(pairing))
        assert begin(pairing, PairMethod.CODE, 110.0, LIMITS).answer is Answer.STARTED

    def test_a_start_that_tandem_made_does_not_keep_people_waiting(self) -> None:
        offered = begin(Pairing(), PairMethod.QR, 100.0, LIMITS, by_itself=True).decision.pairing
        assert begin(offered, PairMethod.CODE, 101.0, LIMITS).answer is Answer.STARTED

    def test_another_method_ends_the_process_before_it_starts_the_next(self) -> None:
        reply = begin(_after(SHOWN).pairing, PairMethod.CODE, 120.0, LIMITS)
        closing = reply.decision
        assert (closing.pairing.phase, closing.effects) == (Phase.CLOSING, (Effect.END_PROCESS,))
        started = decide(closing.pairing, GONE, 120.1, LIMITS)
        assert (started.pairing.method, started.effects) == (PairMethod.CODE, (Effect.START_PROCESS,))
        assert started.pairing.ends == 720.0

    def test_a_switch_that_comes_as_the_phone_scans_is_linked(self) -> None:
        closing = begin(_after(SHOWN).pairing, PairMethod.CODE, 120.0, LIMITS).decision.pairing
        assert decide(closing, OURS, 120.1, LIMITS).effects == (Effect.LINK,)

    def test_once_scanned_nothing_switches_any_more(self) -> None:
        scanned = _after(SHOWN, machine.Scanned(ours=True)).pairing
        assert begin(scanned, PairMethod.CODE, 200.0, LIMITS).answer is Answer.UNDER_WAY


class TestSuccess:
    def test_scan_login_end_and_the_key_store_links(self) -> None:
        scanned = _after(SHOWN, machine.Scanned(ours=True))
        assert (scanned.pairing.phase, scanned.effects) == (Phase.CONFIRMING, ())
        closing = decide(scanned.pairing, machine.LoggedIn(), 102.0, LIMITS)
        assert closing.effects == (Effect.END_PROCESS,)
        done = decide(closing.pairing, OURS, 102.1, LIMITS)
        assert (done.effects, done.pairing.under_way, done.pairing.failure) == ((Effect.LINK,), False, None)

    @pytest.mark.parametrize("phase", ["starting", "showing", "confirming", "pausing"])
    def test_keys_count_even_if_their_news_was_lost_with_the_process(self, phase: str) -> None:
        pairing = {
            "starting": _started(),
            "showing": _after(SHOWN).pairing,
            "confirming": _after(SHOWN, machine.Scanned(ours=True)).pairing,
            "pausing": _after(GONE).pairing,
        }[phase]
        assert decide(pairing, OURS, 103.0, LIMITS).effects == (Effect.LINK,)

    def test_a_scan_in_the_last_second_has_its_time_to_log_in(self) -> None:
        scanned = decide(_after(SHOWN).pairing, machine.Scanned(ours=True), 699.0, LIMITS).pairing
        assert scanned.deadline == 699.0 + LIMITS.confirm
        assert decide(scanned, machine.LoggedIn(), 702.0, LIMITS).effects == (Effect.END_PROCESS,)

    def test_a_first_login_that_takes_long_is_left_to_the_session(self) -> None:
        scanned = _after(SHOWN, machine.Scanned(ours=True)).pairing
        closing = decide(scanned, machine.Expired(), scanned.deadline, LIMITS).pairing
        assert decide(closing, OURS, scanned.deadline, LIMITS).effects == (Effect.LINK,)


class TestRefresh:
    def test_when_the_texts_have_run_out_a_fresh_process_follows_at_once(self) -> None:
        ran_out = decide(_after(SHOWN).pairing, GONE, 261.0, LIMITS)
        assert (ran_out.pairing.phase, ran_out.effects) == (Phase.STARTING, (Effect.START_PROCESS,))
        assert ran_out.pairing.failures == 0

    def test_each_text_has_its_own_expiry_and_none_beyond_the_window(self) -> None:
        first = _after(SHOWN).pairing
        assert (first.text_expires, first.deadline) == (161.0, 171.0)
        second = decide(first, machine.Shown("another", 20.0), 161.0, LIMITS).pairing
        assert (second.text, second.text_expires) == ("another", 181.0)
        assert decide(first, machine.Shown("last", 20.0), 690.0, LIMITS).pairing.text_expires == 700.0

    def test_the_window_ends_unpaired_whatever_is_shown(self) -> None:
        last = decide(_after(SHOWN).pairing, machine.Shown("last", 20.0), 690.0, LIMITS).pairing
        closing = decide(last, machine.Expired(), 700.0, LIMITS).pairing
        assert decide(closing, GONE, 700.1, LIMITS).pairing.failure == machine.NOT_SCANNED

    def test_a_process_that_dies_young_is_followed_after_a_growing_pause_and_at_last_by_none(self) -> None:
        pairing, now, pauses = _started(), 100.0, []
        while pairing.under_way:
            pairing = decide(pairing, GONE, now, LIMITS).pairing
            if pairing.phase is Phase.PAUSING:
                pauses.append(pairing.deadline - now)
                now = pairing.deadline
                pairing = decide(pairing, machine.Expired(), now, LIMITS).pairing
        assert pauses == [1.0, 2.0, 4.0, 8.0]
        assert pairing.failure == CAUSE

    def test_a_server_that_cuts_every_qr_short_makes_no_storm(self) -> None:
        pairing, now, starts = _started(), 100.0, 1
        while pairing.under_way:
            decision = decide(decide(pairing, SHOWN, now, LIMITS).pairing, GONE, now + 0.1, LIMITS)
            now = decision.pairing.deadline
            decision = decide(decision.pairing, machine.Expired(), now, LIMITS)
            starts += Effect.START_PROCESS in decision.effects
            pairing = decision.pairing
        assert starts == LIMITS.tries

    def test_a_process_that_shows_nothing_is_ended_and_counts_as_failed(self) -> None:
        silent = decide(_started(), machine.Expired(), 130.0, LIMITS)
        assert silent.effects == (Effect.END_PROCESS,)
        assert decide(silent.pairing, GONE, 130.1, LIMITS).pairing.phase is Phase.PAUSING


class TestFailure:
    @pytest.mark.parametrize(
        ("event", "failure"),
        [
            (machine.Refused(CAUSE), CAUSE),
            (machine.Cancel(), machine.CANCELLED),
            (machine.Scanned(ours=False), machine.WRONG_PHONE),
        ],
    )
    def test_it_ends_with_its_cause(self, event: machine.Input, failure: Reason) -> None:
        closing = _after(SHOWN, event)
        assert closing.effects == (Effect.END_PROCESS,)
        assert decide(closing.pairing, GONE, 102.0, LIMITS).pairing.failure == failure

    def test_the_keys_of_another_phone_are_set_aside_and_nothing_is_linked(self) -> None:
        over = _after(SHOWN, machine.Scanned(ours=False), FOREIGN)
        assert (over.effects, over.pairing.failure) == ((Effect.QUARANTINE,), machine.WRONG_PHONE)
        assert not over.pairing.under_way

    def test_a_login_refused_right_after_the_scan_is_a_pairing_that_failed(self) -> None:
        refused = _after(SHOWN, machine.Scanned(ours=True), machine.Refused(CAUSE), GONE)
        assert refused.pairing.failure == CAUSE
        assert Effect.LINK not in refused.effects


def test_nothing_happens_while_there_is_no_pairing() -> None:
    for event in INPUTS:
        assert decide(Pairing(), event, 1.0, LIMITS) == Decision(Pairing())


def test_no_text_is_ever_printed_with_a_pairing() -> None:
    assert "fictional" not in repr(_after(SHOWN)) + repr(SHOWN)
