"""The library's keep-alive timings: four Go variables (int64 nanoseconds) side by side in its data.

Source of the defaults: whatsmeow's ``keepalive.go``. The next wait is drawn below (max - min) in whole milliseconds,
and zero or less panics the process, so the order of the writes matters: max > min holds after every single one.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from typing import NamedTuple

from wa_library import memory

_NANOSECONDS = 10**9
_WIDTH = 8
_SMALLEST_SPREAD = 0.001


class Timings(NamedTuple):
    """Keep-alive timings in seconds: answer deadline, shortest and longest wait, when failures force a reconnect."""

    response_deadline: float = 10.0
    interval_min: float = 20.0
    interval_max: float = 30.0
    max_fail_time: float = 180.0

    def packed(self) -> bytes:
        return struct.pack("<4q", *(round(seconds * _NANOSECONDS) for seconds in self))


class KeepAliveTimings:
    """The variables of this process's library. Raises LibraryUnusable unless the defaults are found exactly once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # the order of writes holds only if nobody writes in between
        self._address = memory.find_one(Timings().packed(), "rw", "the keep-alive timings")

    def read(self) -> Timings:
        values = struct.unpack("<4q", ctypes.string_at(self._address, 4 * _WIDTH))
        return Timings(*(value / _NANOSECONDS for value in values))

    def write(self, wanted: Timings) -> Timings:
        """Write and return what reads back. A new interval counts from the next wait on.

        Raises ValueError unless interval_max exceeds interval_min by a millisecond and all are positive.
        """
        if min(wanted) <= 0 or wanted.interval_max - wanted.interval_min < _SMALLEST_SPREAD:
            raise ValueError(f"impossible keep-alive timings: {wanted}")
        with self._lock:
            return self._write(wanted)

    def _write(self, wanted: Timings) -> Timings:
        minimum, maximum = 1, 2
        raise_max_first = wanted.interval_max > self.read().interval_max
        order = (maximum, minimum) if raise_max_first else (minimum, maximum)
        for index in (0, 3, *order):
            value = struct.pack("<q", round(wanted[index] * _NANOSECONDS))
            memory.write(self._address + index * _WIDTH, value, "a keep-alive timing")
        return self.read()
