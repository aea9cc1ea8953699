"""Frames between a device host and the daemon. Standard library only: the host imports it. No socket, no clock.

    length   4 bytes, big endian: everything after it
    kind     1 byte
    header   2 bytes of length, then a JSON object
    payload  the rest, raw

Payloads are raw bytes of the library (events, messages, addresses); the header names and numbers them. Both ends
refuse anything else with a FrameError whose text shows none of it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

MAX_FRAME = 64 * 1024 * 1024
"""Bytes of one frame. The server's own frames end at 16 MiB, and an event may hold a message twice."""

NOT_AFTER = "not_after"
"""Monotonic seconds, the same clock for all processes of a machine: the host refuses to begin the command later."""

_LENGTH = struct.Struct(">I")
_HEAD = struct.Struct(">BH")
_MAX_HEADER = 0xFFFF


class FrameError(ValueError):
    """The peer does not speak this protocol, or a frame would be too large."""


class Kind(IntEnum):
    """Kinds of frames; below 64 they go up to the daemon, from 64 on down to the host. Header fields in brackets."""

    HELLO = 1  # [pid, paired, library, timings, journal facts]: up, before anything connects
    EVENT = 2  # [sequence, code, arrived_at] payload: the event's protobuf; sequence 0 was not journaled
    QR = 3  # payload: the QR text, a secret
    LOGIN = 4  # [status]: success, timeout or error, of a pairing
    LOG = 5  # [level, logger, text]: redacted
    PING = 6  # [milliseconds]: round trip of the library's own keep-alive ping
    REPLY = 7  # [id, error?, milliseconds] payload: the call's result
    HEARTBEAT = 8  # [journal_bytes, unacknowledged]
    ENDING = 9  # [code, reason]: last words
    TROUBLE = 10  # [what, reason]: the host works on, but not as it should (journal, torn tail)

    ACK = 64  # [sequence]: everything up to it is durable in the daemon
    COMMAND = 65  # [id, op, not_after?, …] payload: the operation's bytes
    QUIT = 66  # disconnect and end


class Frame(NamedTuple):
    """One frame. ``header`` holds JSON values only; ``payload`` never shows in a repr, it may be a secret."""

    kind: Kind
    header: Mapping[str, object] = {}
    payload: bytes = b""

    def __repr__(self) -> str:
        return f"Frame({self.kind!r}, {self.header!r})"

    def number(self, name: str) -> int:
        """Return an integer of the header. Raises FrameError if it is not there or is something else."""
        value = self.header.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise FrameError(f"a {self.kind.name} frame needs the integer {name!r}")
        return value

    def real(self, name: str) -> float:
        """Return a number of the header. Raises FrameError if it is not there or is something else."""
        value = self.header.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise FrameError(f"a {self.kind.name} frame needs the number {name!r}")
        return float(value)

    def text(self, name: str) -> str:
        """Return a text of the header, empty if it is not there. Raises FrameError if it is something else."""
        value = self.header.get(name, "")
        if not isinstance(value, str):
            raise FrameError(f"a {self.kind.name} frame needs a text as {name!r}")
        return value


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame. Raises FrameError if it would be too large."""
    header = json.dumps(frame.header, separators=(",", ":")).encode()
    length = _HEAD.size + len(header) + len(frame.payload)
    if len(header) > _MAX_HEADER or length > MAX_FRAME:
        raise FrameError(f"a {frame.kind.name} frame of {length} bytes is too large")
    return b"".join((_LENGTH.pack(length), _HEAD.pack(frame.kind, len(header)), header, frame.payload))


class Decoder:
    """Turns a byte stream into frames, however it is cut. After a FrameError the stream is lost: close it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of a frame that has begun and is not complete."""
        return len(self._buffer)

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with this chunk. Raises FrameError at the first bad one."""
        self._buffer += chunk
        while (body := self._next_body()) is not None:
            yield _decode(body)

    def _next_body(self) -> bytes | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if not _HEAD.size <= length <= MAX_FRAME:
            raise FrameError(f"a frame says it is {length} bytes long, which cannot be")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(memoryview(self._buffer)[_LENGTH.size : end])
        del self._buffer[:end]
        return body


def _decode(body: bytes) -> Frame:
    number, header_length = _HEAD.unpack_from(body)
    start = _HEAD.size + header_length
    if start > len(body):
        raise FrameError("a frame's header is longer than the frame")
    try:
        kind = Kind(number)
    except ValueError:
        raise FrameError(f"{number} is no kind of frame") from None
    try:
        header = json.loads(body[_HEAD.size : start])
    except (ValueError, RecursionError):
        raise FrameError(f"the header of a {kind.name} frame is not JSON") from None
    if not isinstance(header, dict):
        raise FrameError(f"the header of a {kind.name} frame is not an object")
    return Frame(kind, header, body[start:])
