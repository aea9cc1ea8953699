"""The journal: what a host received and the daemon has not made durable yet. Standard library only.

One process writes, under the slot's lock. A record survives the process when ``append`` returned, and the machine when
``sync`` did. By then the library has advanced its ratchet and is sending its receipt, so what the journal does not hold
is lost to this device for ever (its partner has a copy of its own). The format stands in ``records``.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path

from tandem.whatsapp.records import MAGIC, START, Record, packed_mark, read

COMPACT_ABOVE = 4 * 1024 * 1024
"""Bytes of the file above which acknowledged records at its front are cut off, once they are half of it."""

_MODE = 0o600


class Journal:
    """A slot's journal, open for writing. ``append`` is called in the library's callback, the rest by other threads.

    Opening keeps every intact record in ``leftover`` and moves a torn tail to ``<file>.torn`` (``torn`` bytes).
    Sequences go on growing over restarts. Raises OSError, JournalUnusable.
    """

    def __init__(self, path: Path) -> None:
        contents = read(path)
        self._path = path
        self._lock = threading.Lock()
        self._upkeep = threading.Lock()  # slow work on the file, one at a time; taken before the other
        self._acknowledged = contents.acknowledged
        self._last = contents.last
        self.leftover = contents.records
        self.torn = contents.torn
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        self._end = max(contents.intact, START)
        self._pending = _positions(contents.records, self._end)
        self._prepare(contents.intact)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._end

    @property
    def last(self) -> int:
        """The highest sequence ever used."""
        return self._last

    @property
    def unacknowledged(self) -> int:
        """How many events are nowhere else."""
        return len(self._pending)

    @property
    def unacknowledged_bytes(self) -> int:
        return self._end - self._front()

    def append(self, code: int, payload: bytes) -> Record:
        """Write one event. Raises OSError; the file then ends where it ended before."""
        with self._lock:
            record = Record(self._last + 1, code, time.time(), payload)
            try:
                _write_all(self._file, record.packed(), self._end)
            except OSError:
                self._cut_torn_record()
                raise
            self._pending.append((record.sequence, self._end))
            self._last = record.sequence
            self._end += record.size
            return record

    def sync(self) -> None:
        """Wait until everything that was appended is on disk. Raises OSError."""
        with self._upkeep:
            os.fdatasync(self._file)

    def acknowledge(self, sequence: int) -> None:
        """Everything up to ``sequence`` is durable elsewhere. Not synced: an event that repeats is harmless."""
        with self._lock:
            self._acknowledged = max(self._acknowledged, min(sequence, self._last))
            while self._pending and self._pending[0][0] <= self._acknowledged:
                self._pending.popleft()
            _write_all(self._file, packed_mark(self._acknowledged), len(MAGIC))

    def tidy(self) -> None:
        """Give acknowledged bytes back: empty the file when nothing else is in it, cut its front when it is large.

        Called now and then, off the callback. Raises OSError; the journal is then as it was.
        """
        with self._upkeep:
            if self._end > START and not self._pending:
                self._empty()
            elif self._end > COMPACT_ABOVE and self._front() > self._end // 2:
                self._compact()

    def close(self) -> None:
        os.close(self._file)

    def _prepare(self, intact: int) -> None:
        if self.torn:
            _set_aside(self._file, self._path, intact, self.torn)
        if intact < START:
            _write_all(self._file, MAGIC + packed_mark(0), 0)
        os.ftruncate(self._file, self._end)
        os.fsync(self._file)
        _sync_folder(self._path.parent)

    def _front(self) -> int:
        """Where the oldest unacknowledged record begins; what precedes it may be forgotten."""
        return self._pending[0][1] if self._pending else self._end

    def _empty(self) -> None:
        # The mark must be on disk before the records go, or sequences would start anew after a power cut.
        os.fdatasync(self._file)
        with self._lock:
            if not self._pending:
                os.ftruncate(self._file, START)
                self._end = START

    def _compact(self) -> None:
        with self._lock:
            front = self._front()
            tail = os.pread(self._file, self._end - front, front)
            fresh = self._path.with_name(self._path.name + ".new")
            file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
            try:
                _write_all(file, MAGIC + packed_mark(self._acknowledged) + tail, 0)
                os.fsync(file)
                fresh.rename(self._path)
            except OSError:
                os.close(file)
                raise
            os.close(self._file)
            self._file = file
            shift = front - START
            self._end -= shift
            self._pending = deque((sequence, at - shift) for sequence, at in self._pending)
            _sync_folder(self._path.parent)

    def _cut_torn_record(self) -> None:
        try:
            os.ftruncate(self._file, self._end)
        except OSError:
            return  # the next record is written over it, and a reader stops at it


def _positions(records: tuple[Record, ...], end: int) -> deque[tuple[int, int]]:
    """Return (sequence, offset) of records that end the file at ``end``."""
    positions: deque[tuple[int, int]] = deque()
    for record in reversed(records):
        end -= record.size
        positions.appendleft((record.sequence, end))
    return positions


def _set_aside(file: int, path: Path, intact: int, torn: int) -> None:
    tail = os.pread(file, torn, intact)
    aside = os.open(path.with_name(path.name + ".torn"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
    try:
        os.write(aside, tail)
        os.fsync(aside)
    finally:
        os.close(aside)


def _write_all(file: int, data: bytes, offset: int) -> None:
    written = os.pwrite(file, data, offset)
    if written != len(data):
        raise OSError(f"only {written} of {len(data)} bytes could be written")


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
