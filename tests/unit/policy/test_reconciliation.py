from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem.model.outbox import IfUnknown
from tandem.policy.reconciliation import Action, Evidence, judge

EVIDENCE = st.builds(Evidence, st.floats(0.0, 1e6), st.booleans(), st.booleans(), st.floats(0.0, 1e6))
ANY = st.builds(Evidence, st.floats(0.0, 1e6), st.booleans(), st.booleans(), st.floats(0.0, 1e6), st.booleans())
FOREIGN = st.builds(
    Evidence, st.floats(0.0, 1e6), st.booleans(), st.just(True), st.floats(0.0, 1e6), st.just(False), st.just(True)
)
PATIENCE = 5.0


@given(EVIDENCE)
def test_a_message_goes_again_only_if_it_never_left_or_the_other_device_would_have_seen_it(evidence: Evidence) -> None:
    judgement = judge(evidence, PATIENCE)
    assert judgement.reason
    if judgement.action is Action.SEND_AGAIN:
        assert evidence.call_over
        assert not evidence.left or evidence.partner_watched >= PATIENCE
    if judgement.action is Action.END_HOST:
        assert not evidence.call_over
        assert evidence.age >= PATIENCE


@given(EVIDENCE)
def test_nothing_waits_for_ever_once_the_partner_is_there(evidence: Evidence) -> None:
    settled = Evidence(PATIENCE, evidence.call_over, evidence.left, PATIENCE)
    assert judge(settled, PATIENCE).action is not Action.WAIT


def test_without_a_partner_a_message_that_left_stays_unknown() -> None:
    alone = Evidence(1e9, call_over=True, left=True, partner_watched=0.0)
    assert judge(alone, PATIENCE).action is Action.WAIT


@given(ANY)
def test_what_is_to_be_parked_never_goes_again_by_itself(evidence: Evidence) -> None:
    default, parked = judge(evidence, PATIENCE), judge(evidence, PATIENCE, IfUnknown.PARK)
    assert parked.action is (Action.PARK if default.action is Action.SEND_AGAIN else default.action)
    assert parked.reason == default.reason


def test_what_changes_nothing_when_repeated_is_repeated_without_a_proof() -> None:
    hanging = Evidence(0.0, call_over=False, left=True, partner_watched=0.0, repeatable=True)
    assert judge(hanging, PATIENCE).action is Action.SEND_AGAIN


@given(FOREIGN)
def test_what_another_instance_sent_goes_again_only_if_a_device_here_would_have_seen_it(evidence: Evidence) -> None:
    judgement = judge(evidence, PATIENCE)
    assert judgement.action in {Action.WAIT, Action.SEND_AGAIN}  # there is no host here that could be ended for it
    seen = evidence.call_over and evidence.partner_watched >= PATIENCE
    assert (judgement.action is Action.SEND_AGAIN) is seen
