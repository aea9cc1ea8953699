"""Curve25519 key pairs and the HMAC-based key derivation that Noise and Signal share."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

KEY_BYTES = 32
_HASH_BYTES = 32


class KeyPair:
    """A Curve25519 key pair. ``private`` and ``public`` are the raw 32 bytes."""

    __slots__ = ("_key", "private", "public")

    def __init__(self, private: bytes | None = None) -> None:
        self._key = X25519PrivateKey.from_private_bytes(private) if private else X25519PrivateKey.generate()
        self.private = private or self._key.private_bytes_raw()
        self.public = self._key.public_key().public_bytes_raw()

    def agree(self, public: bytes) -> bytes:
        """Return the shared secret with ``public``. Raises ValueError for a key of wrong length or low order."""
        return self._key.exchange(X25519PublicKey.from_public_bytes(public))


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def hkdf_sha256(secret: bytes, length: int, salt: bytes = b"", info: bytes = b"") -> bytes:
    """Derive ``length`` bytes. Source: RFC 5869. Written out, because every message runs through it."""
    key = hmac.digest(salt or bytes(_HASH_BYTES), secret, "sha256")
    block, out = b"", b""
    for counter in range(1, -(-length // _HASH_BYTES) + 1):
        block = hmac.digest(key, block + info + bytes((counter,)), "sha256")
        out += block
    return out[:length]
