from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import termios
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem.whatsapp.courier import Courier
from tandem.whatsapp.exits import ExitCode
from tandem.whatsapp.frames import Decoder, Frame, Kind
from tandem.whatsapp.journal import Journal
from tandem.whatsapp.records import START, read
from tandem.whatsapp.uplink import Uplink

INTERVAL = 0.05
UNHEARD = """
import socket
from tandem.whatsapp.exits import ExitCode
from tandem.whatsapp.uplink import Uplink

ours, theirs = socket.socketpair()
theirs.setblocking(False)
try:
    while True:
        theirs.send(bytes(65536))
except BlockingIOError:
    theirs.setblocking(True)
Uplink(theirs.detach()).end(ExitCode.BACKLOG)
"""


class Daemon:
    """The other end of the socket."""

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(3)
        self._socket = end
        self._decoder = Decoder()
        self._frames: list[Frame] = []

    def next(self, count: int = 1) -> list[Frame]:
        while len(self._frames) < count:
            self._frames += self._decoder.feed(self._socket.recv(65_536))
        taken, self._frames = self._frames[:count], self._frames[count:]
        return taken

    def nothing(self) -> bool:
        """Whether nothing was sent yet. To be asked from the courier's thread."""
        waiting = array("i", [0])
        fcntl.ioctl(self._socket, termios.FIONREAD, waiting)
        return waiting[0] == 0


@pytest.fixture
def ends() -> Iterator[tuple[Uplink, Daemon]]:
    ours, theirs = socket.socketpair()
    uplink = Uplink(theirs.detach())
    with ours:
        yield uplink, Daemon(ours)


@pytest.fixture
def daemon(ends: tuple[Uplink, Daemon]) -> Daemon:
    return ends[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "primary.journal"


@pytest.fixture
def journal(path: Path) -> Journal:
    return Journal(path)


@pytest.fixture
def courier(journal: Journal, ends: tuple[Uplink, Daemon]) -> Courier:
    return Courier(journal, ends[0], INTERVAL)


def carry(courier: Courier) -> None:
    threading.Thread(target=courier.carry, daemon=True).start()


def test_an_event_is_written_before_the_callback_returns_and_told_after_it_was_synced(
    courier: Courier, daemon: Daemon, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier.take(17, b"message")
    assert [record.payload for record in read(path).records] == [b"message"]
    told_too_early: list[bool] = []
    real = os.fdatasync

    def sync(file: int) -> None:
        told_too_early.append(not daemon.nothing())
        real(file)

    monkeypatch.setattr(os, "fdatasync", sync)
    carry(courier)
    (frame,) = daemon.next()
    assert (frame.kind, frame.number("sequence"), frame.number("code")) == (Kind.EVENT, 1, 17)
    assert frame.payload == b"message"
    assert told_too_early == [False]


def test_events_keep_their_order_and_share_a_sync(
    courier: Courier, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    codes = [17, 3, 18, 12, 44, 5, 17]
    for code in codes:
        courier.take(code, b"")
    carry(courier)
    frames = daemon.next(len(codes))
    assert [frame.number("code") for frame in frames] == codes
    assert [frame.number("sequence") for frame in frames] == [1, 0, 2, 0, 3, 0, 4]
    assert len(synced) == 1


def test_an_event_that_cannot_be_written_goes_up_with_a_complaint(
    courier: Courier, daemon: Daemon, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    courier.take(17, b"message")
    monkeypatch.undo()
    carry(courier)
    trouble, event = daemon.next(2)
    assert trouble.header == {"what": "journal", "reason": "No space left on device"}
    assert (event.number("sequence"), event.payload) == (0, b"message")
    assert read(path).records == ()


def test_an_event_that_cannot_be_synced_goes_up_with_a_complaint(
    courier: Courier, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_file: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    courier.take(17, b"message")
    carry(courier)
    trouble, event = daemon.next(2)
    assert trouble.kind is Kind.TROUBLE
    assert event.number("sequence") == 1


def test_what_is_acknowledged_is_given_back_in_time(
    courier: Courier, daemon: Daemon, journal: Journal, path: Path
) -> None:
    courier.take(17, b"message")
    carry(courier)
    (frame,) = daemon.next()
    journal.acknowledge(frame.number("sequence"))
    deadline = time.monotonic() + 3
    while path.stat().st_size > START:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_last_words_end_a_process_even_when_nobody_listens() -> None:
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", UNHEARD], check=False, timeout=10)
    assert ended.returncode == ExitCode.BACKLOG
    assert time.monotonic() - began < 5
