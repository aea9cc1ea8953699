from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tandem.model.ids import Jid
from tandem.model.message import DecodedMessage, DecodedReceipt
from tandem.model.phone import Presence, Proof
from tandem.policy.phone import DAY, SAVED_EVERY, later, sighting, unseen_days, warned, worth_saving
from tandem.policy.phone import next_step as step_after

NOW = 1_800_000_000.0
PHONE, COMPANION, ANN = Jid("123", "lid"), Jid("123", "lid", 2), Jid("456", "lid")


def message(sender: Jid, at: float, *, from_me: bool = True) -> DecodedMessage:
    return DecodedMessage(
        "ID", ANN, sender, None, None, from_me, False, "", int(at * 1000), "text", "", False, "", b"", b""
    )  # fmt: skip


def receipt(sender: Jid, kind: str, at: float = NOW - 5, *, from_me: bool = True) -> DecodedReceipt:
    return DecodedReceipt(("ID",), ANN, sender, from_me, kind, int(at))


@pytest.mark.parametrize("kind", ["read-self", "played-self", "sender", "retry", "delivered"])
def test_a_receipt_of_the_own_phone_proves_that_it_was_there(kind: str) -> None:
    assert sighting(receipt(PHONE, kind), NOW) == Presence(NOW - 5, Proof.RECEIPT)


def test_a_message_typed_on_the_phone_proves_it_for_its_own_time() -> None:
    assert sighting(message(PHONE, NOW - 3 * DAY), NOW) == Presence(NOW - 3 * DAY, Proof.MESSAGE)
    assert sighting(message(PHONE, NOW + 60), NOW) == Presence(NOW, Proof.MESSAGE)


@pytest.mark.parametrize(
    "decoded",
    [
        message(COMPANION, NOW),
        message(ANN, NOW, from_me=False),
        message(PHONE, 0),
        receipt(COMPANION, "read-self"),
        receipt(ANN, "read", from_me=False),
        receipt(PHONE, "server-error"),
        None,
    ],
)
def test_nobody_else_proves_anything(decoded: Any) -> None:
    assert sighting(decoded, NOW) is None


def test_only_what_is_newer_counts_and_ends_the_warning() -> None:
    known = Presence(NOW, Proof.MESSAGE, told=10)
    assert later(known, Presence(NOW - 1, Proof.RECEIPT)) == known
    assert later(known, Presence(NOW + 1, Proof.RECEIPT)) == Presence(NOW + 1, Proof.RECEIPT)
    assert later(None, known) == known
    assert later(Presence(NOW), Presence(NOW - DAY, Proof.MESSAGE)).at == NOW - DAY, "what was assumed yields"


def test_people_are_told_at_ten_and_at_twelve_days_and_not_between() -> None:
    presence, told = Presence(NOW, Proof.LINKED), []
    for quarter in range(15 * 4):
        at = NOW + quarter * DAY / 4
        after = warned(presence, at)
        if after != presence:
            told.append((quarter / 4, after.told))
        presence = after
    assert told == [(10, 10), (12, 12)]


def test_whoever_comes_late_tells_only_the_graver() -> None:
    assert warned(Presence(NOW), NOW + 13 * DAY).told == 12
    assert "today" in step_after(12)
    assert "today" not in step_after(10)


def test_days_are_whole_and_nothing_is_known_of_the_unknown() -> None:
    assert unseen_days(None, NOW) == 0
    assert unseen_days(Presence(NOW), NOW - 99) == 0
    assert unseen_days(Presence(NOW), NOW + 2 * DAY - 1) == 1


def test_it_is_written_down_once_an_hour_at_most_but_what_was_told_at_once() -> None:
    saved = Presence(NOW, Proof.RECEIPT)
    assert worth_saving(None, saved)
    assert worth_saving(saved, replace(saved, told=10))
    assert worth_saving(Presence(NOW), replace(saved, at=NOW + 1))
    assert not worth_saving(saved, Presence(NOW + SAVED_EVERY - 1, Proof.MESSAGE))
    assert worth_saving(saved, Presence(NOW + SAVED_EVERY, Proof.MESSAGE))
