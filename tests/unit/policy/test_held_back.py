from __future__ import annotations

import pytest

from tandem.policy.held_back import Step, due_before, step, told_before

AT = 1_700_000_000.0


@pytest.mark.parametrize(
    ("behind", "expected"),
    [(-5.0, Step.WAIT), (0.0, Step.WAIT), (9.9, Step.WAIT), (10.0, Step.LOOK), (59.9, Step.LOOK), (60.0, Step.SETTLE)],
)
def test_the_mark_says_when_to_look_and_when_the_holder_has_missed_it(behind: float, expected: Step) -> None:
    assert step(AT, holds=False, mark=AT + behind, now=AT + 600) is expected


def test_whoever_runs_the_account_waits_for_nobody() -> None:
    assert step(AT, holds=True, mark=0.0, now=AT) is Step.SETTLE


def test_what_was_missing_is_asked_for_again_only_when_it_is_given_up() -> None:
    assert step(AT, holds=False, mark=AT + 30, now=AT + 30, missing=True) is Step.WAIT
    assert step(AT, holds=False, mark=AT + 60, now=AT + 60, missing=True) is Step.SETTLE


def test_a_holder_whose_clock_is_ahead_does_not_make_a_message_old() -> None:
    assert step(AT, holds=False, mark=AT + 3000, now=AT + 5) is Step.WAIT
    assert step(AT, holds=False, mark=AT + 3000, now=AT + 12) is Step.LOOK


def test_without_any_mark_a_message_waits_for_an_hour_and_no_longer() -> None:
    assert step(AT, holds=False, mark=0.0, now=AT + 3599) is Step.WAIT
    assert step(AT, holds=False, mark=0.0, now=AT + 3600) is Step.SETTLE


@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("mark", [0.0, AT - 100, AT - 30, AT, AT + 5000])
@pytest.mark.parametrize("age", [0.0, 9.0, 11.0, 59.0, 61.0, 3599.0, 3601.0])
def test_what_is_not_due_would_wait_and_what_is_due_would_not(holds: bool, mark: float, age: float) -> None:  # noqa: FBT001 - pytest's way
    due = AT - age <= due_before(holds=holds, mark=mark, now=AT)
    assert due is (step(AT - age, holds=holds, mark=mark, now=AT) is not Step.WAIT)


def test_the_store_has_been_told_of_what_lies_a_minute_behind_the_mark() -> None:
    assert told_before(AT) == AT - 60
