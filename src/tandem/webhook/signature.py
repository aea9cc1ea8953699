"""The signature of a webhook. Source: the Standard Webhooks specification, symmetric signatures (``v1``)."""

from __future__ import annotations

import base64
import binascii
import hmac

from tandem.errors import Misconfigured

_PREFIX = "whsec_"
_LEAST = 16


def key_of(secret: str) -> bytes:
    """Return the key: of ``whsec_…`` what its base64 says, else the text itself. Raises Misconfigured."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else None
    except binascii.Error:
        raise Misconfigured("TANDEM_WEBHOOK__SECRET begins with whsec_ but what follows is no base64") from None
    found = secret.encode() if key is None else key
    if len(found) < _LEAST:
        raise Misconfigured(f"TANDEM_WEBHOOK__SECRET is too short: give it {_LEAST} bytes or more, chosen at random")
    return found


def headers(key: bytes, identifier: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return what a receiver verifies: HMAC-SHA256 over ``id.timestamp.body``; the time is in Unix seconds."""
    digest = hmac.digest(key, f"{identifier}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
