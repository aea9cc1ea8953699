"""From the library's callback to the daemon: written at once, synced together, handed up in order.

The library sends WhatsApp's receipt without waiting for its callback, so a callback that waits for the disk delays
nobody but the events behind it, whose receipts are on their way as well. So the callback only writes (what is
written survives the death of this process), and one thread syncs everything that waits with a single fdatasync, and
only then hands it to the daemon: nobody is told of an event that a power cut could still take.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from queue import Empty, Queue
from typing import NamedTuple

from tandem.whatsapp.codes import JOURNALED
from tandem.whatsapp.frames import Frame, Kind
from tandem.whatsapp.journal import Journal
from tandem.whatsapp.uplink import Uplink

MAX_WAITING = 256
"""Events between callback and daemon; beyond that the library has to wait."""


class _Event(NamedTuple):
    sequence: int
    code: int
    arrived_at: float
    payload: bytes


class Courier:
    """Takes events in the library's callback, carries them in a thread of its own. ``interval`` in seconds: tidying."""

    def __init__(self, journal: Journal, uplink: Uplink, interval: float) -> None:
        self._journal = journal
        self._uplink = uplink
        self._interval = interval
        self._waiting: Queue[_Event] = Queue(MAX_WAITING)

    def take(self, code: int, payload: bytes) -> None:
        """Write an event that must survive, before anything else. One that cannot be written goes up all the same."""
        sequence, arrived_at = self._written(code, payload) if code in JOURNALED else (0, time.time())
        self._waiting.put(_Event(sequence, code, arrived_at, payload))

    def carry(self) -> None:
        """Sync and hand up, for ever."""
        tidied_at = time.monotonic()
        while True:
            self._deliver(self._next())
            if time.monotonic() - tidied_at >= self._interval:
                self.tidy()
                tidied_at = time.monotonic()

    def tidy(self) -> None:
        """Have the journal give back what was acknowledged."""
        try:
            self._journal.tidy()
        except OSError as error:
            self.complain(error)

    def hand_up(self, sequence: int, code: int, arrived_at: float, payload: bytes) -> None:
        header = {"sequence": sequence, "code": code, "arrived_at": arrived_at}
        self._uplink.send(Frame(Kind.EVENT, header, payload))

    def complain(self, error: OSError) -> None:
        """Tell the daemon that the journal does not work as it should."""
        reason = os.strerror(error.errno) if error.errno else str(error)
        self._uplink.send(Frame(Kind.TROUBLE, {"what": "journal", "reason": reason}))

    def _written(self, code: int, payload: bytes) -> tuple[int, float]:
        try:
            record = self._journal.append(code, payload)
        except OSError as error:
            self.complain(error)
            return 0, time.time()
        return record.sequence, record.arrived_at

    def _next(self) -> list[_Event]:
        """Return everything that waits, after waiting a while for the first."""
        batch: list[_Event] = []
        with suppress(Empty):
            batch.append(self._waiting.get(timeout=self._interval))
            while True:
                batch.append(self._waiting.get_nowait())
        return batch

    def _deliver(self, batch: list[_Event]) -> None:
        if any(event.sequence for event in batch):
            self._sync()
        for event in batch:
            self.hand_up(*event)

    def _sync(self) -> None:
        try:
            self._journal.sync()
        except OSError as error:
            self.complain(error)
