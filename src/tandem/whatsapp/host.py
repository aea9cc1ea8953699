"""The device host: a child process that runs the WhatsApp library for one slot, and decides nothing.

``python -m tandem.whatsapp.host`` with a socket to the daemon. It holds the slot's lock, refuses an unpaired key
store unless it shall pair, journals every event that matters before anybody is told, connects once, and ends with a
code that says why: when the library's pump ends, when it is told to, when the daemon is gone.

It must stay light, since operators pay for memory: standard library and ``wa_library`` only, nothing is decoded.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tandem.whatsapp.boarding import Boarded, Refusal, board
from tandem.whatsapp.codes import TERMINAL
from tandem.whatsapp.courier import Courier
from tandem.whatsapp.exits import ExitCode
from tandem.whatsapp.frames import NOT_AFTER, Frame, FrameError, Kind
from tandem.whatsapp.keepalive import KEEP_ALIVE, keep_alive
from tandem.whatsapp.keystore import database_name
from tandem.whatsapp.library import Callbacks, CallFailed, CallRefused
from tandem.whatsapp.loglines import PingTimer, read_log_entry, redacted
from tandem.whatsapp.options import HostOptions
from tandem.whatsapp.uplink import Uplink

MAX_BACKLOG = 256 * 1024 * 1024
"""Bytes of unacknowledged events beyond which the host stops receiving: the rest is safe at WhatsApp meanwhile."""

_PR_SET_PDEATHSIG = 1
_DISCONNECT_SECONDS = 1.0
_FAILED_PAIRING = ("err", "timeout", "passkey")


class Host:
    """One slot's session, from its lock to its end. ``run`` never returns."""

    def __init__(self, options: HostOptions, uplink: Uplink, boarded: Boarded) -> None:
        self._options = options
        self._uplink = uplink
        self._boarded = boarded
        self._journal = boarded.journal
        self._library = boarded.library
        self._courier = Courier(boarded.journal, uplink, options.heartbeat)
        self._ping = PingTimer()

    def run(self) -> NoReturn:
        self._greet()
        for work, name in ((self._courier.carry, "courier"), (self._pump, "pump"), (self._beat, "heartbeat")):
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True).start()
        self._obey()
        self._uplink.end(ExitCode.PARENT_GONE)

    def _greet(self) -> None:
        """Say hello, and hand up once more what an earlier host could not get rid of."""
        journal = self._journal
        facts = {"journal_bytes": journal.size, "leftover": len(journal.leftover), "torn_bytes": journal.torn}
        found = self._boarded.keep_alive
        library = {"library": self._library.version, "keep_alive": list(found.read()) if found else None}
        self._uplink.send(Frame(Kind.HELLO, {"pid": os.getpid(), "paired": self._boarded.paired, **library, **facts}))
        for record in journal.leftover:
            if record.code not in TERMINAL:
                self._courier.hand_up(record.sequence, record.code, record.arrived_at, record.payload)
        journal.leftover = ()

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - a thread that died would leave a host that only looks alive
            self._fail(error)

    # The library's threads

    def _pump(self) -> None:
        options = self._options
        callbacks = Callbacks(self._on_qr, self._on_login, self._on_event, self._on_log)
        reason = self._library.run(database_name(options.store), options.props, options.subscriptions, callbacks)
        self._uplink.end(_why_the_pump_ended(reason), redacted(reason))

    def _on_event(self, code: int, payload: bytes) -> None:
        try:
            self._courier.take(code, payload)
        except BaseException as error:  # noqa: BLE001 - ctypes would swallow it, and the event with it
            self._fail(error)

    def _on_qr(self, text: bytes) -> None:
        self._uplink.send(Frame(Kind.QR, {}, text))

    def _on_login(self, status: bytes) -> None:
        word = status.decode(errors="replace")
        self._uplink.send(Frame(Kind.LOGIN, {"status": redacted(word)}))
        if word.startswith(_FAILED_PAIRING):  # the library would hang here for ever and tell nobody
            self._uplink.end(ExitCode.PAIRING_ENDED, f"the pairing ended: {redacted(word)}")

    def _on_log(self, entry: bytes) -> None:
        now = time.monotonic()
        try:
            line = read_log_entry(entry)
        except ValueError:
            return
        if line.level == b"DEBUG":
            if (milliseconds := self._ping.observe(line, now)) is not None:
                self._uplink.send(Frame(Kind.PING, {"milliseconds": milliseconds}))
            return
        header = {"level": line.level.decode(), "logger": line.name.decode(), "text": _shown(line.message)}
        self._uplink.send(Frame(Kind.LOG, header))

    # The host's own threads

    def _beat(self) -> None:
        journal = self._journal
        while True:
            facts = {"journal_bytes": journal.size, "unacknowledged": journal.unacknowledged}
            self._uplink.send(Frame(Kind.HEARTBEAT, facts))
            if journal.unacknowledged_bytes > MAX_BACKLOG:
                self._uplink.end(ExitCode.BACKLOG)
            time.sleep(self._options.heartbeat)

    def _obey(self) -> None:
        for frame in self._uplink.frames():
            if frame.kind is Kind.ACK:
                self._acknowledge(frame.number("sequence"))
            elif frame.kind is Kind.COMMAND:
                threading.Thread(target=self._guarded, args=(self._execute, frame), daemon=True).start()
            elif frame.kind is Kind.QUIT:
                self._quit()
            else:
                raise FrameError(f"the daemon sent a {frame.kind.name} frame")

    def _acknowledge(self, sequence: int) -> None:
        try:
            self._journal.acknowledge(sequence)
        except OSError as error:
            self._courier.complain(error)

    def _execute(self, frame: Frame) -> None:
        header: dict[str, object] = {"id": frame.number("id")}
        answer = b""
        try:
            answer, header["milliseconds"] = self._call(frame)
        except CallRefused as refusal:
            header |= {"error": str(refusal), "refused": True}
        except CallFailed as failure:
            header["error"] = redacted(str(failure))
        self._uplink.send(Frame(Kind.REPLY, header, answer))

    def _call(self, frame: Frame) -> tuple[bytes, float]:
        operation = frame.text("op")
        if NOT_AFTER in frame.header and time.monotonic() > frame.real(NOT_AFTER):
            raise CallRefused("this instance's right to send had run out")
        if operation == KEEP_ALIVE:
            return keep_alive(self._boarded.keep_alive, frame.payload), 0.0
        return self._library.call(operation, frame.header, frame.payload)

    def _quit(self) -> NoReturn:
        """Disconnect, but do not wait for ever: a library that is dialling answers nobody."""
        disconnecting = threading.Thread(target=self._library.disconnect, daemon=True)
        disconnecting.start()
        disconnecting.join(_DISCONNECT_SECONDS)
        self._courier.tidy()
        self._uplink.end(ExitCode.STOPPED)

    def _fail(self, error: BaseException) -> NoReturn:
        _print_origin(error)
        self._uplink.end(ExitCode.FAILED, f"the host failed: {type(error).__name__}")


def _why_the_pump_ended(reason: str) -> ExitCode:
    if "required field" in reason:
        return ExitCode.POISONED
    if "failed to dial" in reason:
        return ExitCode.DIAL_FAILED
    return ExitCode.PUMP_ENDED


def _shown(message: bytes) -> str:
    return redacted(message.decode(errors="replace"))


def _print_origin(error: BaseException) -> None:
    """Print where an error came from, without its text: that could hold a message."""
    places, trace = [], error.__traceback__
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    where = " < ".join(reversed(places))
    print(f"{type(error).__name__} at {where}", file=sys.stderr, flush=True)  # noqa: T201 - the daemon reads it


def _die_with(parent: int) -> None:
    """Second net beside the socket: let the kernel kill this process when the daemon's thread that made it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(ExitCode.PARENT_GONE)


def main() -> NoReturn:
    os.umask(0o077)
    options = HostOptions.parse(sys.argv[1:])
    _die_with(options.parent)
    uplink = Uplink(options.fd)
    try:
        Host(options, uplink, board(options)).run()
    except Refusal as refusal:
        uplink.end(refusal.code, str(refusal))
    except FrameError as error:
        uplink.end(ExitCode.PROTOCOL_BROKEN, str(error))
    except BaseException as error:  # noqa: BLE001 - nothing may leave this process without its last words
        _print_origin(error)
        uplink.end(ExitCode.FAILED, f"the host failed: {type(error).__name__}")


if __name__ == "__main__":
    main()
