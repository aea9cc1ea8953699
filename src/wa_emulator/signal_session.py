"""One Signal session: X3DH and the double ratchet, message version 3. No I/O.

Sources: signal.org/docs/specifications/x3dh and /doubleratchet; the constants are libsignal's. A session is symmetric:
either side may have begun it (``initiate`` from a prekey bundle, ``accept`` a prekey message).
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from wa_emulator import protobuf
from wa_emulator.keys import KEY_BYTES, KeyPair, hkdf_sha256, hmac_sha256
from wa_emulator.nodes import ProtocolViolation

KEY_TYPE: Final = b"\x05"
"""The byte before every Curve25519 key on the wire."""

_VERSION: Final = b"\x33"
_MAC_BYTES: Final = 8
_BLOCK_BITS: Final = 128
_DISCONTINUITY: Final = b"\xff" * 32
_MESSAGE_SEED, _NEXT_CHAIN = b"\x01", b"\x02"
_MOST_SKIPPED: Final = 2_000
_MOST_RECEIVING_CHAINS: Final = 5


class Undecryptable(Exception):  # noqa: N818 - it names the state of the message
    """This session cannot decrypt this message; its state is unchanged."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a device publishes so that others can begin a session with it. Keys are raw 32 bytes."""

    registration_id: int
    identity: bytes
    signed_prekey_id: int
    signed_prekey: bytes
    prekey_id: int | None = None
    prekey: bytes | None = None


@dataclass(frozen=True, slots=True)
class PreKeyMessage:
    """A first message: what ``accept`` needs, and the message inside."""

    prekey_id: int | None
    base_key: bytes
    identity: bytes
    message: bytes
    registration_id: int
    signed_prekey_id: int

    @classmethod
    def parse(cls, data: bytes) -> PreKeyMessage:
        """Raises ProtocolViolation."""
        fields = protobuf.Message(data[1:])
        return cls(
            prekey_id=fields.optional_number(1),
            base_key=_raw_key(fields.data(2)),
            identity=_raw_key(fields.data(3)),
            message=fields.data(4),
            registration_id=fields.number(5),
            signed_prekey_id=fields.number(6),
        )

    def serialize(self) -> bytes:
        prekey = b"" if self.prekey_id is None else protobuf.field(1, self.prekey_id)
        return b"".join((
            _VERSION,
            prekey,
            protobuf.field(2, KEY_TYPE + self.base_key),
            protobuf.field(3, KEY_TYPE + self.identity),
            protobuf.field(4, self.message),
            protobuf.field(5, self.registration_id),
            protobuf.field(6, self.signed_prekey_id),
        ))  # fmt: skip


@dataclass(slots=True)
class Chain:
    """A receiving chain: the next key, its number, and the seeds of messages that were skipped."""

    key: bytes
    number: int = 0
    skipped: dict[int, bytes] = field(default_factory=dict)

    def seed(self, number: int) -> tuple[bytes, Chain]:
        """Return the seed of message ``number`` and the chain after it. Raises Undecryptable."""
        if number < self.number:
            rest = dict(self.skipped)
            if number not in rest:
                raise Undecryptable("old counter")
            return rest.pop(number), Chain(self.key, self.number, rest)
        if number - self.number > _MOST_SKIPPED:
            raise Undecryptable("too far in the future")
        key, skipped = self.key, self.skipped
        if number > self.number:
            skipped = dict(skipped)
            for missing in range(self.number, number):
                skipped[missing] = hmac_sha256(key, _MESSAGE_SEED)
                key = hmac_sha256(key, _NEXT_CHAIN)
        return hmac_sha256(key, _MESSAGE_SEED), Chain(hmac_sha256(key, _NEXT_CHAIN), number + 1, skipped)


@dataclass(frozen=True, slots=True)
class _Unacknowledged:
    """Sent with every message until the peer has answered: from it the peer builds the session."""

    registration_id: int
    prekey_id: int | None
    signed_prekey_id: int


class Session:
    """The state shared with one device. ``base_key`` identifies it on both sides."""

    __slots__ = (
        "_identity", "_peer", "_previous", "_ratchet", "_receiving", "_root", "_sending", "_sent", "_unacknowledged",
        "base_key",
    )  # fmt: skip

    def __init__(self, identity: KeyPair, peer: bytes, base_key: bytes, root: bytes, ratchet: KeyPair) -> None:
        self.base_key = base_key
        self._identity = identity
        self._peer = peer
        self._root = root
        self._ratchet = ratchet
        self._sending = b""
        self._sent = self._previous = 0
        self._receiving: dict[bytes, Chain] = {}
        self._unacknowledged: _Unacknowledged | None = None

    @classmethod
    def initiate(cls, identity: KeyPair, registration_id: int, bundle: Bundle) -> Session:
        """Begin a session with the device of ``bundle``. Raises ValueError for a bundle of bad keys."""
        base = KeyPair()
        secret = identity.agree(bundle.signed_prekey) + base.agree(bundle.identity) + base.agree(bundle.signed_prekey)
        if bundle.prekey is not None:
            secret += base.agree(bundle.prekey)
        root, chain = _derive(secret)
        session = cls(identity, bundle.identity, base.public, root, KeyPair())
        session._receiving[bundle.signed_prekey] = Chain(chain)
        session._root, session._sending = session._step(session._ratchet, bundle.signed_prekey)
        session._unacknowledged = _Unacknowledged(registration_id, bundle.prekey_id, bundle.signed_prekey_id)
        return session

    @classmethod
    def accept(
        cls, identity: KeyPair, signed_prekey: KeyPair, prekey: KeyPair | None, message: PreKeyMessage
    ) -> Session:
        """Build the session that the sender of ``message`` began. Raises ProtocolViolation for bad keys."""
        try:
            secret = signed_prekey.agree(message.identity)
            secret += identity.agree(message.base_key) + signed_prekey.agree(message.base_key)
            secret += prekey.agree(message.base_key) if prekey else b""
        except ValueError as error:
            raise ProtocolViolation("a prekey message with impossible keys") from error
        root, chain = _derive(secret)
        session = cls(identity, message.identity, message.base_key, root, signed_prekey)
        session._sending = chain
        return session

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """Return the next message and its type: ``pkmsg`` until the peer has answered, then ``msg``."""
        key, mac_key, iv = _message_keys(hmac_sha256(self._sending, _MESSAGE_SEED))
        body = b"".join((
            _VERSION,
            protobuf.field(1, KEY_TYPE + self._ratchet.public),
            protobuf.field(2, self._sent),
            protobuf.field(3, self._previous),
            protobuf.field(4, _encrypt_cbc(key, iv, plaintext)),
        ))  # fmt: skip
        message = body + _mac(mac_key, self._identity.public, self._peer, body)
        self._sending = hmac_sha256(self._sending, _NEXT_CHAIN)
        self._sent += 1
        if self._unacknowledged is None:
            return "msg", message
        first = self._unacknowledged
        return "pkmsg", PreKeyMessage(
            first.prekey_id,
            self.base_key,
            self._identity.public,
            message,
            first.registration_id,
            first.signed_prekey_id,
        ).serialize()

    def decrypt(self, message: bytes) -> bytes:
        """Return the plaintext. Raises Undecryptable (state unchanged) or ProtocolViolation (no Signal message)."""
        body, mac = message[:-_MAC_BYTES], message[-_MAC_BYTES:]
        fields = protobuf.Message(body[1:])
        ratchet, number = _raw_key(fields.data(1)), fields.number(2)
        root, chain = self._receiving_chain(ratchet)
        seed, after = chain.seed(number)
        key, mac_key, iv = _message_keys(seed)
        if not hmac.compare_digest(_mac(mac_key, self._peer, self._identity.public, body), mac):
            raise Undecryptable("the MAC does not fit")
        plaintext = _decrypt_cbc(key, iv, fields.data(4))
        if root is not None:
            self._turn(ratchet, root)
        self._receiving[ratchet] = after
        self._unacknowledged = None
        return plaintext

    def _receiving_chain(self, ratchet: bytes) -> tuple[bytes | None, Chain]:
        """Return the chain of this ratchet key and, if the key is new, the root after its step."""
        known = self._receiving.get(ratchet)
        if known is not None:
            return None, known
        try:
            root, key = self._step(self._ratchet, ratchet)
        except ValueError as error:
            raise ProtocolViolation("a Signal message with an impossible key") from error
        return root, Chain(key)

    def _turn(self, ratchet: bytes, root: bytes) -> None:
        """Answer the peer's new ratchet key with one of our own."""
        self._root = root
        self._previous, self._sent = max(self._sent - 1, 0), 0
        self._ratchet = KeyPair()
        self._root, self._sending = self._step(self._ratchet, ratchet)
        while len(self._receiving) >= _MOST_RECEIVING_CHAINS:
            del self._receiving[next(iter(self._receiving))]

    def _step(self, ours: KeyPair, theirs: bytes) -> tuple[bytes, bytes]:
        derived = hkdf_sha256(ours.agree(theirs), 2 * KEY_BYTES, self._root, b"WhisperRatchet")
        return derived[:KEY_BYTES], derived[KEY_BYTES:]

    def record(self) -> dict[str, Any]:
        """Return the state as JSON values, for ``restore``."""
        first = self._unacknowledged
        return {
            "peer": _text(self._peer),
            "base": _text(self.base_key),
            "root": _text(self._root),
            "ratchet": _text(self._ratchet.private),
            "sending": _text(self._sending),
            "sent": self._sent,
            "previous": self._previous,
            "receiving": [
                [_text(key), _text(chain.key), chain.number, {str(n): _text(s) for n, s in chain.skipped.items()}]
                for key, chain in self._receiving.items()
            ],
            "first": None if first is None else [first.registration_id, first.prekey_id, first.signed_prekey_id],
        }

    @classmethod
    def restore(cls, identity: KeyPair, record: dict[str, Any]) -> Session:
        ratchet = KeyPair(_bytes(record["ratchet"]))
        session = cls(identity, _bytes(record["peer"]), _bytes(record["base"]), _bytes(record["root"]), ratchet)
        session._sending = _bytes(record["sending"])
        session._sent, session._previous = record["sent"], record["previous"]
        for key, chain_key, number, skipped in record["receiving"]:
            seeds = {int(n): _bytes(seed) for n, seed in skipped.items()}
            session._receiving[_bytes(key)] = Chain(_bytes(chain_key), number, seeds)
        session._unacknowledged = _Unacknowledged(*record["first"]) if record["first"] else None
        return session


def _derive(secret: bytes) -> tuple[bytes, bytes]:
    derived = hkdf_sha256(_DISCONTINUITY + secret, 2 * KEY_BYTES, info=b"WhisperText")
    return derived[:KEY_BYTES], derived[KEY_BYTES:]


def _message_keys(seed: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the cipher key, the MAC key and the initialization vector."""
    derived = hkdf_sha256(seed, 80, info=b"WhisperMessageKeys")
    return derived[:32], derived[32:64], derived[64:]


def _mac(key: bytes, sender: bytes, receiver: bytes, body: bytes) -> bytes:
    return hmac_sha256(key, KEY_TYPE + sender + KEY_TYPE + receiver + body)[:_MAC_BYTES]


def _encrypt_cbc(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    padder = PKCS7(_BLOCK_BITS).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()


def _decrypt_cbc(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(_BLOCK_BITS).unpadder()
    try:
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError as error:
        raise Undecryptable("bad padding") from error


def _raw_key(data: bytes) -> bytes:
    if len(data) != 1 + KEY_BYTES or data[:1] != KEY_TYPE:
        raise ProtocolViolation("not a Curve25519 key")
    return data[1:]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
