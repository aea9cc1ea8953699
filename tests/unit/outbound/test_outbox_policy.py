"""Every state with every input, and what must hold whatever happens in which order."""

from __future__ import annotations

import itertools

import pytest

from tandem.errors import Conflict
from tandem.model.outbox import SendOutcome
from tandem.model.states import OutboxState
from tandem.policy.outbox import Input, Step, step

S = OutboxState
_PROVEN = [S.SENT, S.DELIVERED, S.READ]
_PROOF = {Input.ACCEPTED: S.SENT, Input.ECHO: S.SENT, Input.DELIVERED: S.DELIVERED, Input.READ: S.READ}

# Everything that is neither proof nor refused. What is not listed leaves the state as it is.
_MOVES = {
    (S.QUEUED, Input.CLAIM): S.SENDING,
    (S.QUEUED, Input.EXPIRE): S.EXPIRED,
    (S.SENDING, Input.REJECTED): S.FAILED,
    (S.SENDING, Input.NOT_SENT): S.QUEUED,
    (S.SENDING, Input.UNKNOWN): S.UNKNOWN,
    (S.SENDING, Input.RESTARTED): S.UNKNOWN,
    (S.UNKNOWN, Input.SEND_AGAIN): S.QUEUED,
    (S.QUEUED, Input.CANCEL): S.CANCELLED,
    (S.UNKNOWN, Input.RESEND): S.QUEUED,
    (S.UNKNOWN, Input.GIVE_UP): S.CANCELLED,
}
_REFUSED = {
    *((state, each) for state in S if state is not S.QUEUED for each in (Input.CLAIM, Input.EXPIRE, Input.CANCEL)),
    *((state, each) for state in S if state is not S.UNKNOWN for each in (Input.RESEND, Input.GIVE_UP)),
}


def after(state: OutboxState, happened: Input) -> OutboxState:
    if happened in _PROOF:
        proven = _PROOF[happened]
        return state if state in _PROVEN and _PROVEN.index(state) >= _PROVEN.index(proven) else proven
    return _MOVES.get((state, happened), state)


@pytest.mark.parametrize(("state", "happened"), list(itertools.product(S, Input)))
def test_every_state_with_every_input(state: OutboxState, happened: Input) -> None:
    if (state, happened) in _REFUSED:
        with pytest.raises(Conflict):
            step(state, happened)
        return
    taken = step(state, happened, "because")
    assert taken.state is after(state, happened)
    assert taken.changed is (taken.state is not state)
    parked = (state, happened) == (S.UNKNOWN, Input.PARK)
    assert bool(taken.reason) is ((taken.changed and happened is not Input.CLAIM) or parked)


def test_only_proof_of_absence_or_an_operator_leads_back_to_queued() -> None:
    ways = {
        (state, happened)
        for state, happened in itertools.product(S, Input)
        if state is not S.QUEUED and (state, happened) not in _REFUSED and step(state, happened).state is S.QUEUED
    }
    assert ways == {(S.SENDING, Input.NOT_SENT), (S.UNKNOWN, Input.SEND_AGAIN), (S.UNKNOWN, Input.RESEND)}


@pytest.mark.parametrize("happened", Input)
def test_what_is_proven_is_never_taken_back(happened: Input) -> None:
    for index, state in enumerate(_PROVEN):
        if (state, happened) not in _REFUSED:
            assert step(state, happened).state in _PROVEN[index:]


def test_a_message_that_may_have_been_sent_cannot_expire_or_be_sent() -> None:
    for state in (S.SENDING, S.UNKNOWN):
        for happened in (Input.EXPIRE, Input.CLAIM, Input.CANCEL):
            with pytest.raises(Conflict):
                step(state, happened)


@pytest.mark.parametrize("outcome", SendOutcome)
def test_every_outcome_of_a_send_is_an_input(outcome: SendOutcome) -> None:
    assert Input.of(outcome).value == outcome.value


def test_only_calls_that_reached_the_network_count_as_attempts() -> None:
    counted = {
        happened for happened in Input if (S.SENDING, happened) not in _REFUSED and step(S.SENDING, happened).attempt
    }
    assert counted == {Input.ACCEPTED, Input.REJECTED, Input.UNKNOWN, Input.RESTARTED}
    assert not step(S.UNKNOWN, Input.UNKNOWN).attempt


def test_the_cause_is_part_of_the_reason() -> None:
    assert step(S.SENDING, Input.REJECTED, "463") == Step(
        S.FAILED, changed=True, reason="refused by the server: 463", attempt=True
    )
