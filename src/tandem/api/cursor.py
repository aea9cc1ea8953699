"""Where the next page of a chat begins. Times alone would not do: many messages share one of WhatsApp's seconds."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from tandem.errors import Rejected
from tandem.model.ids import MessageKey
from tandem.store.port import StoredMessage

_SHAPE = re.compile(r"(-?\d{1,19}) ([\x21-\x7e]{1,200})", re.ASCII)
_LATEST = 2**63 - 2  # one less than a store can compare with


@dataclass(frozen=True, slots=True)
class Cursor:
    """The oldest message of a page: its time in Unix milliseconds and its key. Its text is opaque and names nobody."""

    time: int
    key: MessageKey

    @classmethod
    def at(cls, stored: StoredMessage) -> Cursor:
        return cls(stored.message.timestamp, stored.message.key)

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.time} {self.key}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Inverse of ``str``. Raises Rejected for anything else."""
        shape = _SHAPE.fullmatch(_decoded(text))
        if shape is None or abs(time := int(shape[1])) > _LATEST:
            raise Rejected("cursor: give what the last page answered as its next, unchanged")
        return cls(time, MessageKey(shape[2]))


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
