from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.model.ids import (
    InvalidNumber,
    Jid,
    Number,
    account_id,
    canonical_number,
    chat_of_number,
    masked,
    message_key,
)


@pytest.mark.parametrize(
    "written", ["+12025550123", "12025550123", "0012025550123", "+1 (202) 555-0123", " +1 202 555 0123 "]
)
def test_one_number_is_one_account_however_it_is_written(written: str) -> None:
    assert canonical_number(written) == "+12025550123"
    assert account_id(canonical_number(written)) == account_id(Number("+12025550123"))


@pytest.mark.parametrize(
    "written", ["", "hello", "+1", "+1202555", "+999999999999999999", "٣", "+12025550123x4", "1-800-FLOWERS"]
)
def test_what_is_no_number_is_refused_without_being_repeated(written: str) -> None:
    with pytest.raises(InvalidNumber) as caught:
        canonical_number(written)
    assert len(written) < 5 or written not in str(caught.value)


def test_an_account_id_is_stable_and_shows_no_number() -> None:
    identity = account_id(Number("+12025550123"))
    assert identity == "7a0f8c91a6833561"
    assert "2025550123" not in identity


def test_a_masked_number_hides_its_middle() -> None:
    assert masked("+12025550123") == "+120****23"


@given(st.text(max_size=40), st.booleans())
def test_message_keys_are_safe_as_document_ids(message_id: str, from_me: bool) -> None:  # noqa: FBT001 - drawn
    key = message_key(message_id, from_me=from_me)
    assert key
    assert all(letter.isalnum() or letter in "-_" for letter in key)
    assert key.isascii()


def test_a_key_tells_direction_group_and_participant_apart() -> None:
    keys = {
        message_key("3EB0AA", from_me=False),
        message_key("3EB0AA", from_me=True),
        message_key("3EB0AA", from_me=False, group="1@g.us", participant="a"),
        message_key("3EB0AA", from_me=False, group="1@g.us", participant="b"),
        message_key("3EB0AA", from_me=False, group="2@g.us", participant="a"),
    }
    assert len(keys) == 5


@pytest.mark.parametrize("text", ["12025550123@s.whatsapp.net", "12025550123:4@s.whatsapp.net", "99:2@lid", "5-6@g.us"])
def test_addresses_round_trip(text: str) -> None:
    assert str(Jid.parse(text)) == text


@pytest.mark.parametrize("text", ["", "@", "a@", "@lid", "a:b@lid"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a WhatsApp address"):
        Jid.parse(text)


def test_the_chat_of_a_number() -> None:
    assert chat_of_number(Number("+12025550123")) == "12025550123@s.whatsapp.net"
