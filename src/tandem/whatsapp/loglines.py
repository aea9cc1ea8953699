"""The library's log lines: read cheaply, timed for its ping, and made fit to be shown. Standard library only.

At level DEBUG the library logs every stanza. That gives the round trip of its own keep-alive ping for nothing, but
addresses and QR secrets pass through: everything at DEBUG is looked at here and forgotten here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LENGTH_DELIMITED = 2
_MAX_TEXT = 600
_MAX_OUTSTANDING = 8

_PING = b'xmlns="w:p"'
_ID = re.compile(rb'^<iq [^>]*?\bid="([^"]{1,64})"')

_QR = re.compile(r"linked_devices#|\b\d@[\w+/=-]{8,},")
_SECRETS = re.compile(r"[A-Za-z0-9+/_-]{42,}={0,2}|\b(?:[0-9a-fA-F]{2}){16,}\b|\b[0-9A-Z]{4}-[0-9A-Z]{4}\b")
_NUMBERS = re.compile(r"\d(?:[ .-]?\d){6,}")


class LogLine(NamedTuple):
    """One LogEntry of the library, undecoded. ``level`` is DEBUG, INFO, WARN or ERROR."""

    message: bytes
    level: bytes
    name: bytes


def read_log_entry(raw: bytes) -> LogLine:
    """Read the three strings of a LogEntry (fields 1 to 3) by hand. Raises ValueError for anything else."""
    fields = {1: b"", 2: b"", 3: b""}
    at = 0
    while at < len(raw):
        tag = raw[at]
        if tag & 7 != _LENGTH_DELIMITED or tag >> 3 not in fields:
            raise ValueError("not a log entry")
        length, at = _varint(raw, at + 1)
        if at + length > len(raw):
            raise ValueError("a log entry is cut")
        fields[tag >> 3] = raw[at : at + length]
        at += length
    return LogLine(fields[1], fields[2], fields[3])


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(raw) and shift <= 28:  # noqa: PLR2004 - five bytes hold any length there can be
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, at
        shift += 7
    raise ValueError("a length is cut")


class PingTimer:
    """Times the library's keep-alive ping by its log lines: the query sent, and the answer with the same id.

    Lines come from several threads, each call is short and one answer settles everything older.
    """

    def __init__(self) -> None:
        self._sent: dict[bytes, float] = {}

    def observe(self, line: LogLine, now: float) -> float | None:
        """Return the round trip in milliseconds if this line is the answer; ``now`` in seconds, monotonic."""
        if not line.message.startswith(b"<iq "):
            return None
        if line.name.endswith(b"/Send") and _PING in line.message:
            self._note(line.message, now)
        elif self._sent and line.name.endswith(b"/Recv"):
            return self._settle(line.message, now)
        return None

    def _note(self, message: bytes, now: float) -> None:
        if found := _ID.match(message):
            while len(self._sent) >= _MAX_OUTSTANDING:
                self._sent.pop(next(iter(self._sent)))
            self._sent[found[1]] = now

    def _settle(self, message: bytes, now: float) -> float | None:
        found = _ID.match(message)
        sent = self._sent.pop(found[1], None) if found else None
        if sent is None:
            return None
        self._sent.clear()
        return (now - sent) * 1000


def redacted(text: str) -> str:
    """Return a line fit for a log: no phone number or LID, key, pairing code or QR text; one line, not too long."""
    if _QR.search(text):
        return "[a line with a QR text was withheld]"
    shown = " ".join(text[: 2 * _MAX_TEXT].split())
    shown = _NUMBERS.sub("[number]", _SECRETS.sub("[secret]", shown))
    return shown if len(shown) <= _MAX_TEXT else shown[:_MAX_TEXT] + " …"
