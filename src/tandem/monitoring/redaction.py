"""Takes out of a record what must never be told: phone numbers, message texts, QR texts, codes, tokens.

One instance serves logs and events alike, so that there is one place to trust. It is a net below the rule that nobody
tells a secret in the first place; it errs on the side of masking, except where that would blind an operator: account
ids, message ids, timestamps and ordinary numbers pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tandem.model.ids import masked

REDACTED = "[redacted]"

_SECRET_KEYS = frozenset({"token", "secret", "qr", "code", "text", "body", "message_text", "password", "authorization"})
_NUMBER_KEYS = frozenset({"phone", "number", "msisdn"})
_DEPTH = 8
_LEAST_SECRET = 6  # characters; shorter ones would tear holes into ordinary words

_QR = re.compile(r"https?://wa\.me/settings/linked_devices\S*|(?<!\w)\d@[A-Za-z0-9+/=_,-]{20,}")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{4,}")
_JID = re.compile(r"(?<![\w.@])(\d{5,20})((?:[_:]\d+)*)(?=@(?:s\.whatsapp\.net|c\.us|lid|hosted)\b)")
_LEGACY_GROUP = re.compile(r"(?<!\w)(\d{7,15})(?=-\d{9,11}@g\.us\b)")
_INTERNATIONAL = re.compile(r"(?<!\w)(?:\+|00)\d(?:[\s().-]{0,2}\d){6,14}(?!\w)")
_GROUPED = re.compile(r"(?<![\w.-])(?:\d{1,3}[ -])?(?:\(\d{3}\) ?|\d{3}[ -])\d{3}[ -]\d{4}(?![\w-])")
# Unix seconds and milliseconds of this age pass: no E.164 number starts with 1 and has 10 or 13 digits.
_PLAIN = re.compile(r"(?<![0-9A-Za-z])(?<!\d\.)(?!1[6-9]\d{8}(?:\d{3})?(?!\d))\d{8,15}(?![0-9A-Za-z@])")


class Redactor:
    """Makes any JSON-like value safe to tell. ``secrets`` are texts to blot out wherever they stand."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secret for secret in secrets if len(secret) >= _LEAST_SECRET)

    def text(self, text: str) -> str:
        """Return a text without secrets, its phone numbers masked."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        text = _BEARER.sub(rf"\1 {REDACTED}", _QR.sub(REDACTED, text))
        for pattern in (_JID, _LEGACY_GROUP):
            text = pattern.sub(_mask_user, text)
        for pattern in (_INTERNATIONAL, _GROUPED, _PLAIN):
            text = pattern.sub(_mask_digits, text)
        return text

    def value(self, value: object, depth: int = 0) -> object:
        """Return a safe copy of a value; numbers, booleans and None are what they were."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{len(value)} bytes>"
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            return self._container(value, depth)
        return self.text(str(value))

    def _container(self, value: Mapping[object, object] | Iterable[object], depth: int) -> object:
        if depth >= _DEPTH:
            return "…"
        if isinstance(value, Mapping):
            return {str(key): self.item(str(key), inner, depth + 1) for key, inner in value.items()}
        return [self.value(inner, depth + 1) for inner in value]

    def item(self, key: str, value: object, depth: int = 0) -> object:
        """Return the safe form of a named value: the name alone may make it a secret."""
        name = key.lower()
        number = isinstance(value, bool | int | float)
        if name in _SECRET_KEYS and value is not None and not number:
            return REDACTED if value else value
        if name in _NUMBER_KEYS and value is not None and len(str(value)) > _LEAST_SECRET:
            return masked(str(value))
        return self.value(value, depth)

    def mapping(self, mapping: Mapping[str, object]) -> dict[str, object]:
        return {key: self.item(key, value) for key, value in mapping.items()}


def _mask_user(found: re.Match[str]) -> str:
    device = found[2] if (found.lastindex or 0) > 1 else ""
    return _mask(found[1]) + device


def _mask_digits(found: re.Match[str]) -> str:
    return _mask(re.sub(r"\D", "", found[0]))


def _mask(digits: str) -> str:
    return masked(f"+{digits}")
