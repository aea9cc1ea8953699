from __future__ import annotations

import pytest

from tandem.errors import Misconfigured
from tandem.webhook.signature import headers, key_of


def test_the_specifications_own_vector() -> None:
    """Source: Standard Webhooks, the vector that its libraries are tested with."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("part", ["id", "time", "body"])
def test_every_part_is_signed(part: str) -> None:
    key = key_of("a secret of sixteen bytes")
    changed = headers(key, "b" if part == "id" else "a", 2 if part == "time" else 1, b"y" if part == "body" else b"x")
    assert changed["webhook-signature"] != headers(key, "a", 1, b"x")["webhook-signature"]


@pytest.mark.parametrize("secret", ["fifteen bytes..", "whsec_not base64!", "whsec_c2hvcnQ="])
def test_a_secret_that_protects_nothing_is_refused(secret: str) -> None:
    with pytest.raises(Misconfigured, match="TANDEM_WEBHOOK__SECRET") as refused:
        key_of(secret)
    assert secret not in str(refused.value)
