from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem.model.states import SessionState, Slot
from tandem.policy.failover import Pair, choose, fitness, manual

STATES = st.sampled_from(list(SessionState))


def _pair(
    primary: SessionState, backup: SessionState, active: Slot = Slot.PRIMARY, switched_at: float = -100.0
) -> Pair:
    return Pair(
        active, switched_at, {Slot.PRIMARY: primary, Slot.BACKUP: backup}, {Slot.PRIMARY: "killed", Slot.BACKUP: ""}
    )


@given(STATES, STATES, st.sampled_from(list(Slot)), st.floats(-10.0, 0.0))
def test_the_role_moves_only_to_a_better_slot_and_says_why(
    primary: SessionState, backup: SessionState, active: Slot, switched_at: float
) -> None:
    pair = _pair(primary, backup, active, switched_at)
    verdict = choose(pair, 0.0, dwell=5.0)
    assert verdict.moved == (verdict.active is not active)
    assert verdict.reason
    if verdict.moved:
        assert fitness(pair.states[verdict.active]) > fitness(pair.states[active])
    elif not pair.states[active].connected:
        assert fitness(pair.states[active.partner]) <= fitness(pair.states[active])


def test_failover_names_the_cause() -> None:
    verdict = choose(_pair(SessionState.WAITING, SessionState.ONLINE), 0.0, 5.0)
    assert verdict.reason == "primary is waiting (killed), backup is online"


def test_no_fail_back_by_itself() -> None:
    assert not choose(_pair(SessionState.ONLINE, SessionState.ONLINE, Slot.BACKUP), 0.0, 5.0).moved


def test_a_slot_that_can_still_send_keeps_the_role_within_the_dwell() -> None:
    shaky = _pair(SessionState.DEGRADED, SessionState.ONLINE, switched_at=-1.0)
    assert not choose(shaky, 0.0, 5.0).moved
    assert choose(shaky, 5.0, 5.0).moved


def test_a_dead_slot_loses_the_role_at_once_even_within_the_dwell() -> None:
    assert choose(_pair(SessionState.WAITING, SessionState.ONLINE, switched_at=-0.1), 0.0, 5.0).moved


def test_an_operator_cannot_move_the_role_to_a_slot_that_is_not_there() -> None:
    refused = manual(_pair(SessionState.ONLINE, SessionState.UNPAIRED))
    assert not refused.moved
    assert refused.reason == "backup cannot take over: it is unpaired"
    assert manual(_pair(SessionState.ONLINE, SessionState.ONLINE)).active is Slot.BACKUP
