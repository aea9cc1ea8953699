from __future__ import annotations

from typing import Any

import pytest

from tandem.errors import PoisonMessage
from tandem.inbound.canonical import canonical, pairs_of
from tandem.model.ids import Jid
from tandem.model.message import DecodedMessage, Message
from unit.queue.parts import ACCOUNT, NUMBER, START_MS

OWN = Jid("12025550100", "s.whatsapp.net", 3)
ANN = Jid("12025550101", "s.whatsapp.net")
ANN_LID = Jid("998877", "lid")
GROUP = Jid("120363000000000001", "g.us")
NOBODY: dict[str, str] = {}


def decoded(**changes: Any) -> DecodedMessage:
    fields: dict[str, Any] = {
        "message_id": "3EB0AA",
        "chat": ANN,
        "sender": ANN,
        "sender_alt": None,
        "recipient_alt": None,
        "from_me": False,
        "is_group": False,
        "push_name": "Ann",
        "timestamp": START_MS,
        "kind": "text",
        "text": "hi",
        "has_media": False,
        "reply_to": "",
        "secret": b"s" * 32,
        "raw": b"raw",
    }
    return DecodedMessage(**(fields | changes))


def form(known: dict[str, str] = NOBODY, **changes: Any) -> Message:
    message = decoded(**changes)
    learned = known | dict(pairs_of(message))
    return canonical(message, ACCOUNT, NUMBER, START_MS + 5, learned.get).message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sender": Jid("12025550101", "s.whatsapp.net", 12)},
        {"chat": Jid("12025550101", "c.us"), "sender": Jid("12025550101", "c.us")},
        {"chat": ANN_LID, "sender": Jid("998877", "lid", 4), "sender_alt": ANN},
        {"sender_alt": ANN_LID},
    ],
)
def test_one_person_is_one_chat_however_addressed(changes: dict[str, Any]) -> None:
    assert form(**changes) == form()
    assert form().chat == "12025550101@s.whatsapp.net"
    assert (form().sender, form().recipient) == ("12025550101@s.whatsapp.net", "12025550100@s.whatsapp.net")


def test_a_lid_that_was_learned_before_is_known_without_being_told_again() -> None:
    assert form({"998877": "12025550101"}, chat=ANN_LID, sender=ANN_LID) == form()


def test_a_lid_of_nobody_known_stays_a_lid_under_the_same_key() -> None:
    stranger = form(chat=ANN_LID, sender=ANN_LID)
    assert (stranger.chat, stranger.key) == ("998877@lid", form().key)


def test_what_oneself_sent_belongs_to_the_chat_of_its_recipient() -> None:
    own = form(chat=ANN_LID, sender=OWN, recipient_alt=ANN, from_me=True)
    assert (own.chat, own.sender, own.recipient) == (
        "12025550101@s.whatsapp.net",
        "12025550100@s.whatsapp.net",
        "12025550101@s.whatsapp.net",
    )
    assert own.key == "3EB0AA-out"
    assert own.key != form().key


def test_the_two_directions_do_not_share_a_key() -> None:
    assert form(from_me=True, sender=OWN).key != form().key


def test_in_a_group_the_participant_belongs_to_the_key_under_either_name() -> None:
    by_number = decoded(chat=GROUP, is_group=True)
    by_lid = decoded(chat=GROUP, is_group=True, sender=ANN_LID)
    both = decoded(chat=GROUP, is_group=True, sender=ANN_LID, sender_alt=ANN)

    plain = canonical(by_number, ACCOUNT, NUMBER, 0, NOBODY.get)
    lid = canonical(by_lid, ACCOUNT, NUMBER, 0, NOBODY.get)
    known = canonical(both, ACCOUNT, NUMBER, 0, dict(pairs_of(both)).get)
    assert plain.message.key != lid.message.key
    assert known.message.key == plain.message.key
    assert known.aliases == (lid.message.key,)
    assert canonical(by_lid, ACCOUNT, NUMBER, 0, {"998877": "12025550101"}.get).aliases == (lid.message.key,)
    assert plain.message.recipient == plain.message.chat == str(GROUP)


def test_another_member_and_another_group_make_another_key() -> None:
    keys = {
        form(chat=chat, is_group=True, sender=sender).key
        for chat in (GROUP, Jid("120363000000000002", "g.us"))
        for sender in (ANN, Jid("12025550102", "s.whatsapp.net"))
    }
    assert len(keys) == 4


def test_ones_own_message_in_a_group_has_one_key_under_either_name() -> None:
    assert (
        form(chat=GROUP, is_group=True, sender=OWN, from_me=True).key
        == form(chat=GROUP, is_group=True, sender=Jid("776655", "lid", 3), from_me=True).key
    )


def test_pairs_are_learned_from_senders_and_from_recipients_of_own_messages() -> None:
    assert pairs_of(decoded(sender=ANN_LID, sender_alt=ANN)) == (("998877", "12025550101"),)
    assert pairs_of(decoded(sender=ANN, sender_alt=ANN_LID)) == (("998877", "12025550101"),)
    assert pairs_of(decoded(chat=ANN_LID, sender=OWN, recipient_alt=ANN, from_me=True)) == (("998877", "12025550101"),)
    assert pairs_of(decoded(chat=ANN_LID, recipient_alt=OWN)) == ()  # that is oneself, not the chat
    assert pairs_of(decoded(sender=ANN, sender_alt=ANN)) == ()
    assert pairs_of(decoded(chat=GROUP, sender=OWN, recipient_alt=ANN, from_me=True, is_group=True)) == ()


@pytest.mark.parametrize("impossible", [0, -1, 2**62])
def test_an_impossible_time_is_replaced_by_the_arrival(impossible: int) -> None:
    assert form(timestamp=impossible).timestamp == START_MS + 5


def test_a_message_without_an_id_is_poison() -> None:
    with pytest.raises(PoisonMessage):
        form(message_id="")


def test_an_account_whose_number_is_unknown_is_shown_by_the_address_it_used() -> None:
    message = canonical(decoded(from_me=True, sender=OWN), ACCOUNT, None, 0, NOBODY.get).message
    assert message.sender == "12025550100@s.whatsapp.net"
