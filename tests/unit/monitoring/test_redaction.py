from __future__ import annotations

import pytest

from tandem.monitoring.redaction import REDACTED, Redactor

NUMBER = "12025550123"
QR = "2@AbCdEfGhIjKlMnOp+/=,QrStUvWxYz0123456789=,abcdefghijklmnop,ABCDEFGHIJKLMNOP,1"


@pytest.mark.parametrize(
    "text",
    [
        NUMBER,
        f"+{NUMBER}",
        f"00{NUMBER}",
        f"call {NUMBER}.",
        f"({NUMBER})",
        f"number={NUMBER}",
        f"user_{NUMBER}_backup",
        f'{{"phone":"{NUMBER}"}}',
        "+1 202 555 0123",
        "+1 (202) 555-0123",
        "+1-202-555-0123",
        "+1.202.555.0123",
        "1-202-555-0123",
        "(202) 555-0123",
        "202-555-0123",
        f"{NUMBER}@s.whatsapp.net",
        f"{NUMBER}:12@s.whatsapp.net",
        f"{NUMBER}_1:12@s.whatsapp.net",
        f"{NUMBER}@c.us",
        f"{NUMBER}-1600000000@g.us",
        f"chat {NUMBER}@s.whatsapp.net is deaf",
        f"/api/whatsapp/messages/x/{NUMBER}",
    ],
)
def test_phone_numbers_are_masked(text: str) -> None:
    safe = Redactor().text(text)
    digits = "".join(character for character in safe if character.isdigit())
    assert "5550123" not in digits
    assert "555" not in safe
    assert "****" in safe


def test_a_jid_keeps_its_server_and_device() -> None:
    assert Redactor().text(f"{NUMBER}:12@s.whatsapp.net") == "+120****23:12@s.whatsapp.net"
    assert Redactor().text("123456789012345@lid") == "+123****45@lid"


@pytest.mark.parametrize(
    "text",
    [
        "2025-11-22T17:39:00.123456Z",
        "2025-11-22 17:39:00,123",
        "1763833140",
        "1763833140123",
        "at 1763833140.25 s",
        "0123456789abcdef",
        "1fee121dfbc91057",
        "1234567890123456",
        "3EB0123456789ABCDEF012",
        "3A12345678901234567890",
        "AC20250101123456789012345678",
        "outbox 5f1d000000000000000000000a",
        "127.0.0.1:5002",
        "[::1]:65535",
        "1000000 messages",
        "120363041234567890@g.us",
        "took 0.123456789 s",
        "version 1.2.3",
        "504.12345678",
        "pid 1234567",
        "primary has not answered for 4.1 s, backup healthy",
    ],
)
def test_what_operators_need_passes(text: str) -> None:
    assert Redactor().text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        QR,
        f"the QR is {QR} now",
        f"https://wa.me/settings/linked_devices#{QR}",
        "Authorization: Bearer abc.def-ghi_123",
        "bearer abcdefgh",
        "the token is canary-token-1",
    ],
)
def test_secrets_are_blotted_out(text: str) -> None:
    safe = Redactor(["canary-token-1"]).text(text)
    assert REDACTED in safe
    assert not any(secret in safe for secret in ("AbCdEf", "abc.def", "abcdefgh", "canary-token-1", "QrStUv"))


def test_too_short_a_secret_tears_no_holes() -> None:
    assert Redactor(["a", ""]).text("a cat") == "a cat"


@pytest.mark.parametrize("key", ["token", "secret", "qr", "code", "text", "body", "message_text", "Token", "password"])
def test_keys_that_name_a_secret_hide_it(key: str) -> None:
    assert Redactor().mapping({key: "anything at all"}) == {key: REDACTED}
    assert Redactor().mapping({"data": {"more": [{key: ["x"]}]}}) == {"data": {"more": [{key: REDACTED}]}}


def test_numbers_stay_numbers() -> None:
    values = {
        "port": 5002,
        "count": 12345678901,
        "at": 1763833140.5,
        "code": -9,
        "ok": True,
        "none": None,
        "token": None,
    }
    assert Redactor().mapping(values) == values


def test_a_number_under_a_key_that_says_so_is_masked_whatever_its_type() -> None:
    assert Redactor().mapping({"phone": 12025550123, "number": "2025550123"}) == {
        "phone": "1202****23",
        "number": "2025****23",
    }


def test_anything_becomes_something_that_can_be_told() -> None:
    class Odd:
        def __str__(self) -> str:
            return f"odd {NUMBER}"

    deep: list[object] = []
    for _ in range(20):
        deep = [deep]
    safe = Redactor().mapping({"odd": Odd(), "bytes": b"raw", "set": {1}, "deep": deep, "tuple": (NUMBER, 1)})
    assert safe["odd"] == "odd +120****23"
    assert NUMBER not in str(safe)
    assert safe["bytes"] == "<3 bytes>"
    assert safe["set"] == [1]
