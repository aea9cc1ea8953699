"""Find constants in the memory of the loaded shared library. Linux only: reads ``/proc/self/maps``."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wa_library.package import LibraryUnusable

_PAGE = 0x1000
_MAPS_FIELDS = 6
PROT_READ, PROT_WRITE = 1, 2


class Segment(NamedTuple):
    """One mapping of the shared library: addresses in bytes, permissions as ``/proc/self/maps`` writes them."""

    start: int
    end: int
    permissions: str

    def read(self) -> bytes:
        return ctypes.string_at(self.start, self.end - self.start)


def segments() -> list[Segment]:
    """All readable mappings of the shared library in this process; empty if it is not loaded."""
    return list(_segments())


def _segments() -> Iterator[Segment]:
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        if len(fields) < _MAPS_FIELDS or not fields[1].startswith("r"):
            continue
        name = Path(fields[5]).name
        if name.startswith("neonize-") and name.endswith(".so"):
            start, end = (int(part, 16) for part in fields[0].split("-"))
            yield Segment(start, end, fields[1])


def find_one(needle: bytes, permissions: str, what: str) -> int:
    """Return the address of the only occurrence of ``needle`` in segments whose permissions start so.

    Raises LibraryUnusable, naming ``what``, unless there is exactly one.
    """
    hits = [
        segment.start + offset
        for segment in segments()
        if segment.permissions.startswith(permissions)
        for offset in _occurrences(segment.read(), needle)
    ]
    if len(hits) != 1:
        raise LibraryUnusable(f"{what}: expected exactly one occurrence in the library's memory, found {len(hits)}")
    return hits[0]


def _occurrences(haystack: bytes, needle: bytes) -> Iterator[int]:
    at = haystack.find(needle)
    while at >= 0:
        yield at
        at = haystack.find(needle, at + 1)


def write(address: int, value: bytes, what: str) -> None:
    """Overwrite writable memory and read it back. Raises LibraryUnusable if it does not read back."""
    ctypes.memmove(address, value, len(value))
    if ctypes.string_at(address, len(value)) != value:
        raise LibraryUnusable(f"{what}: the value written does not read back")


def write_protected(address: int, value: bytes, what: str) -> None:
    """The same for read-only memory: its pages are writable only while the bytes are copied."""
    first = address & ~(_PAGE - 1)
    length = ((address + len(value) - first + _PAGE - 1) // _PAGE) * _PAGE
    _mprotect(first, length, PROT_READ | PROT_WRITE, what)
    try:
        write(address, value, what)
    finally:
        _mprotect(first, length, PROT_READ, what)


def _mprotect(address: int, length: int, protection: int, what: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if libc.mprotect(address, length, protection) != 0:
        raise LibraryUnusable(f"{what}: mprotect failed with errno {ctypes.get_errno()}")
