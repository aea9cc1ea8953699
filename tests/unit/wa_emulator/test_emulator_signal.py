from __future__ import annotations

import random

import pytest

from wa_emulator.journal import Forgetful
from wa_emulator.keys import KeyPair
from wa_emulator.nodes import ProtocolViolation
from wa_emulator.participant import Address, Participant, pad, unpad
from wa_emulator.signal_session import Bundle, PreKeyMessage, Session, Undecryptable

ALICE, BOB = Address("100000000000011", 0), Address("100000000000022", 0)


class Pair:
    """Two participants, and who is who in their messages."""

    def __init__(self) -> None:
        self.alice, self.bob = Participant("alice", Forgetful()), Participant("bob", Forgetful())

    def to_bob(self, text: bytes) -> tuple[str, bytes]:
        return self.alice.encrypt(BOB, text, lambda: self.bob.publish().bundle)

    def to_alice(self, text: bytes) -> tuple[str, bytes]:
        return self.bob.encrypt(ALICE, text, lambda: self.alice.publish().bundle)

    def at_bob(self, message: tuple[str, bytes]) -> bytes:
        return self.bob.decrypt(ALICE, *message)

    def at_alice(self, message: tuple[str, bytes]) -> bytes:
        return self.alice.decrypt(BOB, *message)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_a_conversation(pair: Pair) -> None:
    first = pair.to_bob(b"hello")
    assert first[0] == "pkmsg"
    assert pair.at_bob(first) == b"hello"
    answer = pair.to_alice(b"hi")
    assert answer[0] == "msg"
    assert pair.at_alice(answer) == b"hi"
    second = pair.to_bob(b"and on")
    assert second[0] == "msg"
    assert pair.at_bob(second) == b"and on"


def test_many_turns_in_any_order(pair: Pair) -> None:
    shuffled = random.Random(7)
    for turn in range(12):
        sent = {f"a{turn}.{n}".encode(): pair.to_bob(f"a{turn}.{n}".encode()) for n in range(6)}
        texts = list(sent)
        shuffled.shuffle(texts)
        late = texts.pop()
        assert [pair.at_bob(sent[text]) for text in texts] == texts
        answer = pair.to_alice(b"turn")
        assert pair.at_alice(answer) == b"turn"
        assert pair.at_bob(sent[late]) == late


def test_both_begin_at_once(pair: Pair) -> None:
    from_alice, from_bob = pair.to_bob(b"from alice"), pair.to_alice(b"from bob")
    assert from_alice[0] == from_bob[0] == "pkmsg"
    assert pair.at_bob(from_alice) == b"from alice"
    assert pair.at_alice(from_bob) == b"from bob"
    for number in range(4):
        assert pair.at_bob(pair.to_bob(b"a%d" % number)) == b"a%d" % number
        assert pair.at_alice(pair.to_alice(b"b%d" % number)) == b"b%d" % number


def test_a_message_decrypts_once(pair: Pair) -> None:
    message = pair.to_bob(b"once")
    pair.at_bob(message)
    with pytest.raises(Undecryptable):
        pair.at_bob(message)


def test_a_forgery_changes_nothing(pair: Pair) -> None:
    pair.at_bob(pair.to_bob(b"hello"))
    kind, message = pair.to_bob(b"real")
    inner = PreKeyMessage.parse(message).message
    for at in (5, 40, -1):
        forged = bytearray(inner)
        forged[at] ^= 1
        with pytest.raises((Undecryptable, ProtocolViolation)):
            pair.bob.decrypt(ALICE, "msg", bytes(forged))
    assert pair.bob.decrypt(ALICE, kind, message) == b"real"


def test_a_fresh_session_after_one_side_forgot(pair: Pair) -> None:
    pair.at_bob(pair.to_bob(b"hello"))
    pair.at_alice(pair.to_alice(b"hi"))
    pair.bob.forget(ALICE)
    with pytest.raises(Undecryptable):
        pair.at_bob(pair.to_bob(b"lost"))
    pair.alice.begin_session(BOB, pair.bob.publish().bundle)
    assert pair.at_bob(pair.to_bob(b"again")) == b"again"


def test_a_one_time_prekey_works_once(pair: Pair) -> None:
    bundle = pair.bob.publish().bundle
    pair.alice.begin_session(BOB, bundle)
    pair.at_bob(pair.to_bob(b"first"))
    eve = Participant("eve", Forgetful())
    with pytest.raises(Undecryptable, match="prekey"):
        pair.bob.decrypt(Address("100000000000033", 0), *eve.encrypt(BOB, b"second", lambda: bundle))


def test_a_bundle_without_a_one_time_prekey(pair: Pair) -> None:
    whole = pair.bob.publish().bundle
    bare = Bundle(whole.registration_id, whole.identity, whole.signed_prekey_id, whole.signed_prekey)
    pair.alice.begin_session(BOB, bare)
    assert pair.at_bob(pair.to_bob(b"hello")) == b"hello"


def test_too_far_ahead_is_refused(pair: Pair) -> None:
    pair.at_bob(pair.to_bob(b"hello"))
    pair.at_alice(pair.to_alice(b"hi"))
    for _ in range(2_100):
        last = pair.to_bob(b"skipped")
    with pytest.raises(Undecryptable):
        pair.at_bob(last)


@pytest.mark.parametrize("message", [b"", b"\x33", b"\x33" + b"\xff" * 30, b"\x33\x0a\x03abc" + bytes(8)])
def test_garbage_is_a_violation(pair: Pair, message: bytes) -> None:
    pair.at_bob(pair.to_bob(b"hello"))
    with pytest.raises((Undecryptable, ProtocolViolation)):
        pair.bob.decrypt(ALICE, "msg", message)
    with pytest.raises((Undecryptable, ProtocolViolation)):
        pair.bob.decrypt(ALICE, "pkmsg", message)


def test_state_survives_a_restart_in_the_middle(pair: Pair) -> None:
    pair.at_bob(pair.to_bob(b"hello"))
    kept = pair.to_bob(b"kept")
    pair.at_bob(pair.to_bob(b"overtakes"))
    bob = Participant.restore("bob", Forgetful(), pair.bob.record())
    bob.restore_sessions(ALICE, pair.bob._session_record(ALICE))
    pair.bob = bob
    assert pair.at_bob(kept) == b"kept"
    assert pair.at_alice(pair.to_alice(b"hi")) == b"hi"


def test_a_session_record_is_complete() -> None:
    identity, peer = KeyPair(), Participant("peer", Forgetful())
    session = Session.initiate(identity, 5, peer.publish().bundle)
    session.encrypt(b"one")
    restored = Session.restore(identity, session.record())
    assert restored.record() == session.record()
    assert peer.decrypt(ALICE, *restored.encrypt(b"two")) == b"two"


@pytest.mark.parametrize("text", [b"", b"x", b"y" * 100])
def test_padding(text: bytes) -> None:
    assert unpad(pad(text)) == text
    assert len(pad(text)) > len(text)


@pytest.mark.parametrize("padded", [b"", b"\0", b"a\x09"])
def test_wrong_padding_is_a_violation(padded: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        unpad(padded)
