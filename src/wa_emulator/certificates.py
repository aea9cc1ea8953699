"""The certificate chain that the server shows in the Noise handshake: root, intermediate, leaf (the server's key)."""

from __future__ import annotations

import time
from typing import Any

from wa_emulator import xeddsa
from wa_emulator.keys import KeyPair
from wa_library import package

_DAY = 86_400
_VALID_DAYS = 3_650
_INTERMEDIATE_SERIAL = 1
_LEAF_SERIAL = 2


def chain(root: KeyPair, server: KeyPair) -> bytes:
    """Return a serialized chain for the ``server`` key, signed through a fresh intermediate by ``root``.

    whatsmeow demands issuer serial 0 of the intermediate and checks both validity periods.
    """
    intermediate = KeyPair()
    certificates = package.proto("waCert.WACert_pb2")
    signed = certificates.CertChain.NoiseCertificate
    upper = _details(certificates, _INTERMEDIATE_SERIAL, 0, intermediate.public)
    lower = _details(certificates, _LEAF_SERIAL, _INTERMEDIATE_SERIAL, server.public)
    serialized: bytes = certificates.CertChain(
        intermediate=signed(details=upper, signature=xeddsa.sign(root.private, upper)),
        leaf=signed(details=lower, signature=xeddsa.sign(intermediate.private, lower)),
    ).SerializeToString()
    return serialized


def _details(certificates: Any, serial: int, issuer: int, key: bytes) -> bytes:
    now = int(time.time())
    details: bytes = certificates.CertChain.NoiseCertificate.Details(
        serial=serial, issuerSerial=issuer, key=key, notBefore=now - _DAY, notAfter=now + _VALID_DAYS * _DAY
    ).SerializeToString()
    return details
