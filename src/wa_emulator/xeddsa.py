"""XEdDSA: signatures made and checked with Curve25519 keys. Source: signal.org/docs/specifications/xeddsa (rev. 1).

Signing works on the Edwards form of the key, in plain Python: some milliseconds, needed once per certificate, pairing
and contact. Checking converts the key and leaves the arithmetic to the ``cryptography`` library.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE_BYTES: Final = 64

_P: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_SIGN_BIT: Final = 0x80
_NONCE_PREFIX: Final = b"\xfe" + b"\xff" * 31

_Point = tuple[int, int, int, int]
"""Extended coordinates (X, Y, Z, T)."""


def sign(private: bytes, message: bytes) -> bytes:
    """Return the 64-byte signature of ``message`` under a Curve25519 private key, its sign bit forced to 0."""
    scalar, public = _edwards_key(private)
    secret = scalar.to_bytes(32, "little")
    r = _hash(_NONCE_PREFIX, secret, message, os.urandom(64))
    commitment = _encode(_multiply(r, _BASE))
    challenge = _hash(commitment, public, message)
    return commitment + ((r + challenge * scalar) % _ORDER).to_bytes(32, "little")


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether ``signature`` is one of ``message`` by the Curve25519 key ``public``."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    u = int.from_bytes(public, "little") & (2**255 - 1)
    if u == _P - 1:
        return False
    y = (u - 1) * pow(u + 1, -1, _P) % _P
    # Some signers put the Edwards sign bit of their key into the signature's top bit (curve25519-donna's habit).
    key = bytearray(y.to_bytes(32, "little"))
    key[31] |= signature[63] & _SIGN_BIT
    plain = signature[:63] + bytes((signature[63] & ~_SIGN_BIT & 0xFF,))
    try:
        Ed25519PublicKey.from_public_bytes(bytes(key)).verify(plain, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _edwards_key(private: bytes) -> tuple[int, bytes]:
    """Return the scalar whose Edwards point has sign bit 0, and that point."""
    clamped = bytearray(private)
    clamped[0] &= 248
    clamped[31] = clamped[31] & 127 | 64
    scalar = int.from_bytes(clamped, "little") % _ORDER
    point = _encode(_multiply(scalar, _BASE))
    if point[31] & _SIGN_BIT:
        return -scalar % _ORDER, point[:31] + bytes((point[31] & ~_SIGN_BIT & 0xFF,))
    return scalar, point


def _hash(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % _ORDER


def _add(p: _Point, q: _Point) -> _Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiply(scalar: int, point: _Point) -> _Point:
    result: _Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _encode(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _base_point() -> _Point:
    y = 4 * pow(5, -1, _P) % _P
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P)
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    x = _P - x if x & 1 else x
    return x, y, 1, x * y % _P


_BASE: Final = _base_point()
