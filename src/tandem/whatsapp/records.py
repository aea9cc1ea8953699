"""The journal's file format, and reading it. Standard library only: the host imports it.

    file     magic (8 bytes), acknowledged sequence (8), crc32 of that (4), then records
    record   length of the event (4 bytes), crc32 of what follows (4), sequence (8), code (1), arrival (8), event

Big endian; arrival is a double in Unix seconds. Sequences grow. Reading stops at the first record that is torn or
damaged: what precedes it is kept, what follows is counted and, by the writer, set aside.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAGIC = b"TANDEMJ1"
_MARK = struct.Struct(">QI")
START = len(MAGIC) + _MARK.size
"""Where the first record begins."""

_SUM = struct.Struct(">II")
_FIELDS = struct.Struct(">QBd")
OVERHEAD = _SUM.size + _FIELDS.size
"""Bytes of a record beside its event."""


class JournalUnusable(OSError):  # noqa: N818 - names a condition, like the library's
    """The file is there but is not a journal. It is left alone."""


class Record(NamedTuple):
    """One journaled event. ``arrived_at`` in Unix seconds; ``payload`` is the library's protobuf, undecoded."""

    sequence: int
    code: int
    arrived_at: float
    payload: bytes

    def __repr__(self) -> str:
        return f"Record({self.sequence}, {self.code}, {self.arrived_at})"

    @property
    def size(self) -> int:
        return OVERHEAD + len(self.payload)

    def packed(self) -> bytes:
        body = _FIELDS.pack(self.sequence, self.code, self.arrived_at) + self.payload
        return _SUM.pack(len(self.payload), zlib.crc32(body)) + body


class Contents(NamedTuple):
    """What a journal file holds: ``records`` that are not acknowledged, oldest first.

    ``last`` is the highest sequence ever used; ``intact`` the bytes that can be read, ``torn`` those after them.
    """

    acknowledged: int
    last: int
    records: tuple[Record, ...]
    intact: int
    torn: int


def read(path: Path) -> Contents:
    """Read a journal without changing it; a missing file is an empty one. Raises OSError, JournalUnusable."""
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return parse(b"")


def parse(data: bytes) -> Contents:
    """Read a journal's bytes. Raises JournalUnusable if they are something else altogether."""
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise JournalUnusable("the file is not a journal")
    if len(data) < START:  # cut while it was being made, before any record
        return Contents(0, 0, (), 0, len(data))
    acknowledged = _acknowledged(data)
    everything = list(_records(data))
    intact = START + sum(record.size for record in everything)
    last = max([acknowledged, *(record.sequence for record in everything[-1:])])
    pending = tuple(record for record in everything if record.sequence > acknowledged)
    return Contents(acknowledged, last, pending, intact, len(data) - intact)


def packed_mark(acknowledged: int) -> bytes:
    """Return the bytes that follow the magic."""
    return _MARK.pack(acknowledged, zlib.crc32(acknowledged.to_bytes(8, "big")))


def _acknowledged(data: bytes) -> int:
    acknowledged, checksum = _MARK.unpack_from(data, len(MAGIC))
    if zlib.crc32(acknowledged.to_bytes(8, "big")) != checksum:
        return 0  # delivering a second time is harmless, forgetting is not
    return int(acknowledged)


def _records(data: bytes) -> Iterator[Record]:
    view = memoryview(data)
    at, last = START, 0
    while at + OVERHEAD <= len(data):
        length, checksum = _SUM.unpack_from(data, at)
        end = at + OVERHEAD + length
        if end > len(data) or zlib.crc32(view[at + _SUM.size : end]) != checksum:
            return
        sequence, code, arrived_at = _FIELDS.unpack_from(data, at + _SUM.size)
        if sequence <= last:
            return
        yield Record(sequence, code, arrived_at, data[at + OVERHEAD : end])
        at, last = end, sequence
