"""The binary protocol's token tables, read out of the library's own memory so that nothing is vendored.

WhatsApp's node encoding replaces frequent strings by one byte (236 single tokens) or two (4 dictionaries of 256). The
tables are Go string arrays in the shared library: rows of (address, length) headers, found by the lengths and texts of
the first few. Loading the library starts a Go runtime, so ``token_tables`` does that in a short child process.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wa_library import memory, package
from wa_library.package import LibraryUnusable

SINGLE_TOKENS = 236
DICTIONARIES = 4
DICTIONARY_TOKENS = 256

_FIRST_TOKENS = ("", "xmlstreamstart", "xmlstreamend", "s.whatsapp.net", "type", "participant", "from", "receipt")
_IN_FIRST_DICTIONARY = "read-self"
_LONGEST_TOKEN = 64
_WORD = 8
_STRING_HEADER = 2 * _WORD
_SLICE_HEADER = 3 * _WORD
_CHILD_SECONDS = 30


@dataclass(frozen=True, slots=True)
class TokenTables:
    """``single[b]`` is the string of byte ``b``; ``double[d][i]`` that of byte pair (236 + d, i)."""

    single: tuple[str, ...]
    double: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if len(self.single) != SINGLE_TOKENS or self.single[: len(_FIRST_TOKENS)] != _FIRST_TOKENS:
            raise LibraryUnusable("the single-byte token table is not the one this package knows")
        if [len(table) for table in self.double] != [DICTIONARY_TOKENS] * DICTIONARIES:
            raise LibraryUnusable("the double-byte token tables do not have the size this package knows")


_one_child = threading.Lock()


def token_tables() -> TokenTables:
    """Return the tables of the installed library, read in a child process on the first call (about half a second).

    Thread-safe. Raises LibraryUnusable if the library is missing or its tables are not found.
    """
    with _one_child:
        return _token_tables()


@functools.cache
def _token_tables() -> TokenTables:
    child = subprocess.run(
        [sys.executable, "-m", "wa_library.tokens"],
        capture_output=True,
        check=False,
        timeout=_CHILD_SECONDS,
        env=os.environ | {"PYTHONPATH": _python_path()},
    )
    if child.returncode != 0:
        last_line = (child.stderr.decode(errors="replace").strip().splitlines() or ["no output"])[-1]
        raise LibraryUnusable(f"the token tables could not be read: {last_line}")
    return parse(child.stdout)


def parse(document: bytes) -> TokenTables:
    """Return the tables that the child process printed. Raises LibraryUnusable if they are not well-formed."""
    try:
        raw: Any = json.loads(document)
        return TokenTables(tuple(raw["single"]), tuple(tuple(table) for table in raw["double"]))
    except (ValueError, KeyError, TypeError) as error:
        raise LibraryUnusable(f"the token tables are not readable: {error!r}") from error


def read_from_memory() -> TokenTables:
    """Return the tables found in this process's library, which must be loaded. Raises LibraryUnusable."""
    segments = [segment for segment in memory.segments() if "x" not in segment.permissions]
    if not segments:
        raise LibraryUnusable("the shared library is not loaded in this process")
    bounds = range(min(s.start for s in segments), max(s.end for s in segments))
    for_single, for_double = _single_tables(segments, bounds), _double_tables(segments, bounds)
    return TokenTables(
        next(for_single, ()),
        next(for_double, ()),
    )


def _python_path() -> str:
    """Let the child find this package even where it is not installed."""
    here = str(Path(__file__).parent.parent)
    return os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))


def _single_tables(segments: list[memory.Segment], bounds: range) -> Iterator[tuple[str, ...]]:
    lengths = b"".join(rb".{8}" + re.escape(struct.pack("<Q", len(token))) for token in _FIRST_TOKENS)
    for segment, offset in _matches(segments, lengths):
        first = _strings(segment.start + offset, len(_FIRST_TOKENS), bounds)
        if first == _FIRST_TOKENS and (table := _strings(segment.start + offset, SINGLE_TOKENS, bounds)):
            yield table


def _double_tables(segments: list[memory.Segment], bounds: range) -> Iterator[tuple[tuple[str, ...], ...]]:
    header = rb".{8}" + re.escape(struct.pack("<QQ", DICTIONARY_TOKENS, DICTIONARY_TOKENS))
    for segment, offset in _matches(segments, header * DICTIONARIES):
        slices = ctypes.string_at(segment.start + offset, _SLICE_HEADER * DICTIONARIES)
        addresses = [address for address, _, _ in struct.iter_unpack("<QQQ", slices)]
        tables = tuple(_strings(address, DICTIONARY_TOKENS, bounds) or () for address in addresses)
        if _IN_FIRST_DICTIONARY in tables[0]:
            yield tables


def _matches(segments: list[memory.Segment], pattern: bytes) -> Iterator[tuple[memory.Segment, int]]:
    for segment in segments:
        for match in re.finditer(pattern, segment.read(), re.DOTALL):
            if match.start() % _WORD == 0:
                yield segment, match.start()


def _strings(address: int, count: int, bounds: range) -> tuple[str, ...] | None:
    """Read ``count`` Go strings, or None if what stands there cannot be string headers of tokens."""
    if address not in bounds or address + count * _STRING_HEADER not in bounds:
        return None
    texts: list[str] = []
    for at, length in struct.iter_unpack("<QQ", ctypes.string_at(address, count * _STRING_HEADER)):
        if length >= _LONGEST_TOKEN or (length and at not in bounds):
            return None
        texts.append(ctypes.string_at(at, length).decode(errors="replace") if length else "")
    return tuple(texts)


def main() -> None:
    """Load the library and print its tables as JSON (the child's part)."""
    ctypes.CDLL(str(package.shared_library()))
    tables = read_from_memory()
    json.dump({"single": tables.single, "double": tables.double}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # the Go runtime's threads have nothing to finish


if __name__ == "__main__":
    main()
