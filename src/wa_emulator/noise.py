"""Noise_XX_25519_AESGCM_SHA256, responder side, as WhatsApp frames it. No I/O. Source: noiseprotocol.org, whatsmeow.

The client's first bytes are a 4-byte header; then both sides send frames of a 3-byte length and that many bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from wa_emulator.keys import KEY_BYTES, KeyPair, hkdf_sha256
from wa_emulator.nodes import ProtocolViolation
from wa_library import package

_NAME: Final = b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0"
_MAGIC: Final = b"WA\x06"
_HEADER_BYTES: Final = 4
_LENGTH_BYTES: Final = 3
LARGEST_FRAME: Final = 1 << 20
"""Bytes; the largest frame taken from a client. (Two thousand prekeys fit in a tenth of it.)"""


def frame(payload: bytes) -> bytes:
    """Return ``payload`` behind its 3-byte big-endian length. Raises OverflowError from 16 MiB on."""
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


class FrameReader:
    """Cuts a client's byte stream into its header and frames, however the bytes arrive."""

    def __init__(self) -> None:
        self.header = b""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the frames completed by ``data``. Raises ProtocolViolation for a wrong header or a huge frame."""
        self._buffer += data
        if not self.header and not self._take_header():
            return
        while (complete := self._take_frame()) is not None:
            yield complete

    def _take_header(self) -> bool:
        if self._buffer[: len(_MAGIC)] != _MAGIC[: len(self._buffer)]:
            raise ProtocolViolation("the connection does not start with WhatsApp's header")
        if len(self._buffer) < _HEADER_BYTES:
            return False
        self.header = bytes(self._buffer[:_HEADER_BYTES])
        del self._buffer[:_HEADER_BYTES]
        return True

    def _take_frame(self) -> bytes | None:
        if len(self._buffer) < _LENGTH_BYTES:
            return None
        end = _LENGTH_BYTES + int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
        if end > LARGEST_FRAME:
            raise ProtocolViolation(f"a frame of {end} bytes")
        if len(self._buffer) < end:
            return None
        complete = bytes(self._buffer[_LENGTH_BYTES:end])
        del self._buffer[:end]
        return complete


class Cipher:
    """One direction of an established connection: AES-GCM with a counter as its nonce."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._counter = 0

    def encrypt(self, plaintext: bytes, associated: bytes | None = None) -> bytes:
        return self._cipher.encrypt(self._nonce(), plaintext, associated)

    def decrypt(self, ciphertext: bytes, associated: bytes | None = None) -> bytes:
        """Raises ProtocolViolation if the bytes are not the peer's next ones."""
        try:
            return self._cipher.decrypt(self._nonce(), ciphertext, associated)
        except InvalidTag as error:
            raise ProtocolViolation("a frame does not decrypt") from error

    def _nonce(self) -> bytes:
        self._counter += 1
        return (self._counter - 1).to_bytes(12, "big")


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """The server's static key and the certificate chain that vouches for it."""

    key: KeyPair
    chain: bytes


@dataclass(frozen=True, slots=True)
class Transport:
    """The outcome of a handshake: whom we talk to, and a cipher for each direction."""

    client_key: bytes
    payload: Any
    """The ``ClientPayload`` protobuf."""
    incoming: Cipher
    outgoing: Cipher


class SymmetricState:
    """The running hash and key of a Noise handshake; both sides keep an identical one."""

    def __init__(self, header: bytes) -> None:
        self._hash = self._salt = _NAME
        self._cipher = Cipher(_NAME)
        self.authenticate(header)

    def authenticate(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def mix(self, secret: bytes) -> None:
        derived = hkdf_sha256(secret, 2 * KEY_BYTES, self._salt)
        self._salt, self._cipher = derived[:KEY_BYTES], Cipher(derived[KEY_BYTES:])

    def encrypt(self, plaintext: bytes) -> bytes:
        ciphertext = self._cipher.encrypt(plaintext, self._hash)
        self.authenticate(ciphertext)
        return ciphertext

    def decrypt(self, ciphertext: bytes) -> bytes:
        plaintext = self._cipher.decrypt(ciphertext, self._hash)
        self.authenticate(ciphertext)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """Return the keys of the initiator's and of the responder's direction."""
        derived = hkdf_sha256(b"", 2 * KEY_BYTES, self._salt)
        return derived[:KEY_BYTES], derived[KEY_BYTES:]


class Responder:
    """The server's part of one handshake: ``answer`` the client's hello, then ``finish``."""

    def __init__(self, header: bytes, identity: ServerIdentity) -> None:
        self._messages = package.proto("waWa6.WAWebProtobufsWa6_pb2")
        self._state = SymmetricState(header)
        self._server_key = identity.key
        self._chain = identity.chain
        self._ephemeral = KeyPair()

    def answer(self, client_hello: bytes) -> bytes:
        """Return the server's hello. Raises ProtocolViolation."""
        ephemeral = self._parsed(client_hello).clientHello.ephemeral
        self._state.authenticate(ephemeral)
        self._state.authenticate(self._ephemeral.public)
        self._state.mix(_agreed(self._ephemeral, ephemeral))
        static = self._state.encrypt(self._server_key.public)
        self._state.mix(_agreed(self._server_key, ephemeral))
        hello = self._messages.HandshakeMessage.ServerHello(
            ephemeral=self._ephemeral.public, static=static, payload=self._state.encrypt(self._chain)
        )
        answer: bytes = self._messages.HandshakeMessage(serverHello=hello).SerializeToString()
        return answer

    def finish(self, client_finish: bytes) -> Transport:
        """Return the established transport. Raises ProtocolViolation."""
        message = self._parsed(client_finish).clientFinish
        client_key = self._state.decrypt(message.static)
        self._state.mix(_agreed(self._ephemeral, client_key))
        try:
            payload = self._messages.ClientPayload.FromString(self._state.decrypt(message.payload))
        except DecodeError as error:
            raise ProtocolViolation("the client's payload is not readable") from error
        incoming, outgoing = self._state.split()
        return Transport(client_key, payload, Cipher(incoming), Cipher(outgoing))

    def _parsed(self, data: bytes) -> Any:
        try:
            return self._messages.HandshakeMessage.FromString(data)
        except DecodeError as error:
            raise ProtocolViolation("a handshake message is not readable") from error


def _agreed(ours: KeyPair, theirs: bytes) -> bytes:
    try:
        return ours.agree(theirs)
    except ValueError as error:
        raise ProtocolViolation("a handshake key is not a Curve25519 key") from error
