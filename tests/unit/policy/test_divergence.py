from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.model.states import Slot
from tandem.policy.divergence import _MOST_MISSING, _REMEMBERED, Divergence, Limits, Verdict

PRIMARY, BACKUP = Slot.PRIMARY, Slot.BACKUP
ANN, BOB, EVE = "1@lid", "2@lid", "3@lid"


def _pair(*, familiar: bool = True) -> Divergence:
    ears = Divergence()
    for slot in Slot:
        ears.listen(slot, listening=True)
    if familiar:
        ears.heard(PRIMARY, "first", ANN, 0.0)
        ears.heard(BACKUP, "first", ANN, 0.01)
    return ears


def _only_backup_hears(ears: Divergence, count: int, *, start: float = 1.0, sender: str = ANN) -> None:
    for number in range(count):
        ears.heard(BACKUP, f"{sender} {start} {number}", sender, start + number / 10)


def test_a_pair_that_hears_the_same_is_fine_for_ever() -> None:
    ears = _pair()
    for number in range(100):
        first, second = (PRIMARY, BACKUP) if number % 2 else (BACKUP, PRIMARY)
        ears.heard(first, f"m{number}", ANN, float(number))
        ears.heard(second, f"m{number}", ANN, number + 0.3)
        assert {ears.look(slot, number + 0.9).verdict for slot in Slot} == {Verdict.HEARS}


def test_silence_says_nothing() -> None:
    ears = _pair()
    assert [ears.look(slot, 1e6).due for slot in Slot] == [None, None]


def test_one_missing_message_is_a_suspicion_several_are_a_verdict() -> None:
    ears = _pair()
    _only_backup_hears(ears, 1)
    assert ears.look(PRIMARY, 1.1).verdict is Verdict.HEARS
    assert ears.look(PRIMARY, 1.1).due == 2.5
    suspicion = ears.look(PRIMARY, 2.5)
    assert (suspicion.verdict, suspicion.due) == (Verdict.SUSPECT, 3.0)
    assert ears.look(PRIMARY, 60.0).verdict is Verdict.SUSPECT  # it may be that one contact's doing
    assert ears.look(BACKUP, 60.0).verdict is Verdict.HEARS
    _only_backup_hears(ears, 2, start=61.0)
    assert ears.look(PRIMARY, 61.2).verdict is Verdict.DEAF
    assert "3 messages" in ears.look(PRIMARY, 61.2).reason


def test_with_traffic_a_deaf_slot_is_found_after_two_seconds() -> None:
    ears = _pair()
    _only_backup_hears(ears, 20)
    assert ears.look(PRIMARY, 2.9).verdict is Verdict.SUSPECT
    assert ears.look(PRIMARY, 3.0).verdict is Verdict.DEAF


def test_a_slot_that_usually_lags_is_given_more_time() -> None:
    ears = _pair()
    for number in range(50):
        ears.heard(BACKUP, f"m{number}", ANN, number * 10.0)
        ears.heard(PRIMARY, f"m{number}", ANN, number * 10.0 + 3.0)
    _only_backup_hears(ears, 5, start=600.0)
    assert ears.look(PRIMARY, 602.9).verdict is Verdict.HEARS
    assert ears.look(PRIMARY, 607.0).verdict is Verdict.DEAF


def test_what_came_while_a_slot_was_not_connected_is_not_missing() -> None:
    ears = _pair()
    ears.listen(PRIMARY, listening=False)
    _only_backup_hears(ears, 10)
    ears.listen(PRIMARY, listening=True)
    assert ears.look(PRIMARY, 100.0).verdict is Verdict.HEARS


def test_a_slot_that_still_receives_its_offline_messages_accuses_nobody() -> None:
    ears = _pair()
    ears.listen(BACKUP, listening=False)
    _only_backup_hears(ears, 10)
    ears.listen(BACKUP, listening=True)
    assert ears.look(PRIMARY, 100.0).verdict is Verdict.HEARS


def test_a_slot_that_hears_somebody_is_not_deaf_to_one_contact_that_does_not_know_it() -> None:
    ears = _pair()
    _only_backup_hears(ears, 2, start=1.0, sender=EVE)
    ears.heard(PRIMARY, "later", BOB, 10.0)
    ears.heard(BACKUP, "later", BOB, 10.1)
    _only_backup_hears(ears, 20, start=11.0, sender=EVE)
    assert ears.look(PRIMARY, 100.0).verdict is Verdict.HEARS
    ears.heard(PRIMARY, "now it knows", EVE, 101.0)
    ears.heard(BACKUP, "now it knows", EVE, 101.0)
    _only_backup_hears(ears, 3, start=102.0, sender=EVE)
    assert ears.look(PRIMARY, 105.0).verdict is Verdict.DEAF


def test_a_slot_that_never_shared_a_message_needs_more_evidence() -> None:
    ears = _pair(familiar=False)
    _only_backup_hears(ears, 9)
    assert ears.look(PRIMARY, 10.0).verdict is Verdict.SUSPECT
    _only_backup_hears(ears, 1, start=10.0)
    assert ears.look(PRIMARY, 10.0).verdict is Verdict.DEAF


def test_who_has_been_judged_for_is_not_held_against_the_slot_again() -> None:
    ears = _pair()
    _only_backup_hears(ears, 5)
    assert ears.look(PRIMARY, 10.0).verdict is Verdict.DEAF
    ears.excuse(PRIMARY)
    _only_backup_hears(ears, 50, start=20.0)
    assert ears.look(PRIMARY, 100.0).verdict is Verdict.HEARS


def test_only_what_neither_can_read_counts_as_unread() -> None:
    ears = _pair()
    for number in range(20):
        ears.heard(PRIMARY, f"m{number}", ANN, 1.0, readable=number >= 10)
        ears.heard(BACKUP, f"m{number}", ANN, 1.1, readable=number >= 5)
    assert ears.unread(PRIMARY, 5.0) == 0.0  # a retry may still come
    assert ears.unread(PRIMARY, 12.0) == pytest.approx(0.25)
    for number in range(5):
        ears.heard(PRIMARY, f"m{number}", ANN, 13.0, readable=True)
    assert ears.unread(PRIMARY, 30.0) == 0.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(Slot), st.integers(0, 6000), st.sampled_from([ANN, BOB, EVE]), st.booleans(), st.booleans()
        ),
        max_size=300,
    )
)
def test_whatever_comes_memory_is_bounded_and_both_are_never_deaf_of_one_message(
    steps: list[tuple[Slot, int, str, bool, bool]],
) -> None:
    ears = Divergence(Limits(messages=1, unfamiliar=1))
    now = 0.0
    for slot, message, sender, readable, listening in steps:
        now += 0.5
        ears.listen(slot, listening=listening)
        ears.heard(slot, str(message), sender, now, readable=readable)
        missing = [set(ears._ears[each].missing) for each in Slot]
        assert not missing[0] & missing[1]
        for each in Slot:
            assert not set(ears._ears[each].missing) & set(ears._ears[each].heard)
            assert 0.0 <= ears.unread(each, now) <= 1.0


def test_a_flood_is_not_remembered_whole() -> None:
    ears = _pair()
    for number in range(3 * _REMEMBERED):
        ears.heard(BACKUP, f"m{number}", f"{number}@lid", 1.0, readable=False)
    ear = ears._ears[PRIMARY]
    assert len(ear.missing) == _MOST_MISSING
    assert len(ears._ears[BACKUP].heard) == _REMEMBERED
    assert len(ears._ears[BACKUP].unread) == _MOST_MISSING
