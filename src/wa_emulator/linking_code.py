"""Pairing by code: the client shows eight characters, the phone's owner types them.

Both sides wrap an ephemeral key with a key derived from the code, agree on a secret, and the client sends its identity
under that. What follows is ``pairing.link``, as after a QR. Source: whatsmeow ``pair-code.go`` for the client's part.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wa_emulator.directory import Account, Device
from wa_emulator.keys import KEY_BYTES, KeyPair, hkdf_sha256
from wa_emulator.nodes import SERVER, Attributes, Node, ProtocolViolation
from wa_emulator.pairing import Candidate, Pairing, ScanRefused

REGISTRATION: Final = "link_code_companion_reg"

_ITERATIONS: Final = 2 << 16
_SALT_BYTES, _IV_BYTES, _NONCE_BYTES = 32, 16, 12
_WRAPPED_BYTES: Final = _SALT_BYTES + _IV_BYTES + KEY_BYTES
_ANSWER_SECONDS: Final = 10.0
_BUNDLE_INFO: Final = b"link_code_pairing_key_bundle_encryption_key"


@dataclass(slots=True, eq=False)
class Wish:
    """A client that shows a code for a number, and what it answers when the phone has greeted it."""

    candidate: Candidate
    reference: bytes
    wrapped_ephemeral: bytes
    finish: asyncio.Future[Node] | None = None


class LinkingCodes:
    """All clients that show a code."""

    def __init__(self, pairing: Pairing) -> None:
        self._pairing = pairing
        self._wishes: dict[str, Wish] = {}

    def take_query(self, candidate: Candidate, node: Node) -> list[Node]:
        """Take a client's step; return the content of the answer. Raises ProtocolViolation."""
        registration = node.need_child(REGISTRATION)
        if registration.text("stage") == "companion_hello":
            return self._hello(candidate, registration)
        wish = next((wish for wish in self._wishes.values() if wish.candidate is candidate), None)
        if wish is None or wish.finish is None or wish.finish.done():
            raise ProtocolViolation("a linking code is finished that nobody typed")
        wish.finish.set_result(registration)
        return []

    def end(self, candidate: Candidate) -> None:
        """Forget a client that has left."""
        for number, wish in [(number, wish) for number, wish in self._wishes.items() if wish.candidate is candidate]:
            del self._wishes[number]
            if wish.finish is not None and not wish.finish.done():
                wish.finish.set_exception(ScanRefused(409, "the client left before it had answered"))

    async def type(self, account: Account, code: str) -> Device:
        """Type a code on the phone of ``account``; the device is then linked. Raises ScanRefused."""
        wish = self._wishes.get(account.number)
        if wish is None:
            raise ScanRefused(404, "no client shows a code for this number")
        key = code.replace("-", "").strip().upper().encode()
        ephemeral = KeyPair()
        wrapped = await asyncio.to_thread(_wrap, ephemeral.public, key)
        finish = await self._greet(account, wish, wrapped)
        companion = await asyncio.to_thread(_unwrap, wish.wrapped_ephemeral, key)
        identity, secret = _open_bundle(account, finish, _shared_secret(ephemeral, companion))
        del self._wishes[account.number]
        return await self._pairing.link(account, wish.candidate, identity, secret)

    def _hello(self, candidate: Candidate, registration: Node) -> list[Node]:
        wrapped = registration.need_child("link_code_pairing_wrapped_companion_ephemeral_pub").data()
        if len(wrapped) != _WRAPPED_BYTES:
            raise ProtocolViolation("a wrapped key of the wrong length")
        reference = secrets.token_urlsafe(24).encode()
        self._wishes[registration.need_jid("jid").user] = Wish(candidate, reference, wrapped)
        content = [Node("link_code_pairing_ref", {}, reference)]
        return [Node(REGISTRATION, {"stage": "companion_hello"}, content)]

    async def _greet(self, account: Account, wish: Wish, wrapped: bytes) -> Node:
        """Pass the phone's key on and return the client's answer."""
        wish.finish = asyncio.get_running_loop().create_future()
        content = [
            Node("link_code_pairing_wrapped_primary_ephemeral_pub", {}, wrapped),
            Node("primary_identity_pub", {}, account.phone.identity.public),
            Node("link_code_pairing_ref", {}, wish.reference),
        ]
        attributes: Attributes = {
            "from": SERVER, "type": REGISTRATION, "id": secrets.token_hex(4), "t": int(time.time()),
        }  # fmt: skip
        greeting = Node(REGISTRATION, {"stage": "primary_hello"}, content)
        wish.candidate.connection.post(Node("notification", attributes, [greeting]))
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await wish.finish
        except TimeoutError as error:
            raise ScanRefused(409, "the client did not answer the code") from error


def _open_bundle(account: Account, finish: Node, shared: bytes) -> tuple[bytes, bytes]:
    """Return the client's identity and the secret that authenticates the linking. Raises ScanRefused."""
    bundle = finish.need_child("link_code_pairing_wrapped_key_bundle").data()
    salt, nonce = bundle[:_SALT_BYTES], bundle[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
    key = hkdf_sha256(shared, KEY_BYTES, salt, _BUNDLE_INFO)
    try:
        opened = AESGCM(key).decrypt(nonce, bundle[_SALT_BYTES + _NONCE_BYTES :], None)
    except (InvalidTag, ValueError) as error:
        raise ScanRefused(409, "this is not the code that the client shows") from error
    identity, primary, random = (opened[at : at + KEY_BYTES] for at in range(0, 3 * KEY_BYTES, KEY_BYTES))
    if primary != account.phone.identity.public or identity != finish.need_child("companion_identity_public").data():
        raise ScanRefused(409, "the client's key bundle holds other keys")
    secret = shared + account.phone.identity.agree(identity) + random
    return identity, hkdf_sha256(secret, KEY_BYTES, info=b"adv_secret")


def _shared_secret(ephemeral: KeyPair, companion: bytes) -> bytes:
    try:
        return ephemeral.agree(companion)
    except ValueError as error:
        raise ScanRefused(409, "this is not the code that the client shows") from error


def _wrap(public: bytes, code: bytes) -> bytes:
    salt, iv = os.urandom(_SALT_BYTES), os.urandom(_IV_BYTES)
    return salt + iv + _crypt(public, code, salt, iv)


def _unwrap(wrapped: bytes, code: bytes) -> bytes:
    salt, iv = wrapped[:_SALT_BYTES], wrapped[_SALT_BYTES : _SALT_BYTES + _IV_BYTES]
    return _crypt(wrapped[_SALT_BYTES + _IV_BYTES :], code, salt, iv)


def _crypt(data: bytes, code: bytes, salt: bytes, iv: bytes) -> bytes:
    """Encrypt or decrypt (AES-CTR is its own inverse). Takes some 50 ms: call it in a thread."""
    key = hashlib.pbkdf2_hmac("sha256", code, salt, _ITERATIONS, KEY_BYTES)
    cipher = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()
