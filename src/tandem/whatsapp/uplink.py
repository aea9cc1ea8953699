"""The host's end of the socket to the daemon. Standard library only. Blocking: the host's threads may wait here.

A host without its daemon is nothing: whatever goes wrong with the socket ends the process.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import NoReturn

from tandem.whatsapp.exits import ExitCode, exit_words
from tandem.whatsapp.frames import Decoder, Frame, FrameError, Kind, encode

_CHUNK = 65_536
_LAST_WORDS_SECONDS = 0.2


class Uplink:
    """Frames up and down. ``send`` may be called by any thread, ``frames`` by one."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._lock = threading.Lock()

    def send(self, frame: Frame) -> None:
        """Hand a frame to the daemon, waiting while it does not read. Ends the host if the daemon is gone.

        Raises FrameError if the frame is too large.
        """
        data = encode(frame)
        with self._lock:
            try:
                self._socket.sendall(data)
            except OSError:
                os._exit(ExitCode.PARENT_GONE)

    def frames(self) -> Iterator[Frame]:
        """Yield what the daemon sends; end when it closed the socket. Raises FrameError."""
        decoder = Decoder()
        while chunk := self._receive():
            yield from decoder.feed(chunk)

    def end(self, code: ExitCode, reason: str = "") -> NoReturn:
        """Say why, if the daemon still listens, and end the process at once, whatever its threads are doing."""
        try:
            self._say_last_words(Frame(Kind.ENDING, {"code": int(code), "reason": reason or exit_words(code)}))
        finally:
            os._exit(code)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_CHUNK)
        except OSError:
            return b""

    def _say_last_words(self, frame: Frame) -> None:
        if not self._lock.acquire(timeout=_LAST_WORDS_SECONDS):
            return  # another thread is stuck in the middle of a frame
        try:
            self._socket.settimeout(_LAST_WORDS_SECONDS)
            self._socket.sendall(encode(frame))
        except (OSError, FrameError):
            return
