from __future__ import annotations

import os

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from wa_emulator import xeddsa
from wa_emulator.keys import KeyPair

PRIME = 2**255 - 19


def ed25519_key(public: bytes) -> Ed25519PublicKey:
    """Convert by the birational map of RFC 7748 §4.1: y = (u - 1) / (u + 1), sign bit 0."""
    u = int.from_bytes(public, "little")
    return Ed25519PublicKey.from_public_bytes(((u - 1) * pow(u + 1, -1, PRIME) % PRIME).to_bytes(32, "little"))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
@settings(max_examples=20, deadline=None)
def test_signatures_are_ed25519_signatures_of_the_converted_key(private: bytes, message: bytes) -> None:
    pair = KeyPair(private)
    signature = xeddsa.sign(private, message)
    ed25519_key(pair.public).verify(signature, message)
    assert xeddsa.verify(pair.public, message, signature)


def test_changes_do_not_verify() -> None:
    pair = KeyPair()
    signature = xeddsa.sign(pair.private, b"message")
    assert not xeddsa.verify(pair.public, b"another", signature)
    assert not xeddsa.verify(KeyPair().public, b"message", signature)
    assert not xeddsa.verify(pair.public, b"message", signature[:-1])
    assert not xeddsa.verify(pair.public, b"message", os.urandom(64))
    with pytest.raises(InvalidSignature):
        ed25519_key(pair.public).verify(signature, b"another")


def test_the_degenerate_key_does_not_verify() -> None:
    assert not xeddsa.verify((PRIME - 1).to_bytes(32, "little"), b"message", bytes(64))


def test_signing_twice_gives_two_signatures() -> None:
    private = os.urandom(32)
    assert xeddsa.sign(private, b"m") != xeddsa.sign(private, b"m")
