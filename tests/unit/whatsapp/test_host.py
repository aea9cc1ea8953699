from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from tandem.whatsapp import host as host_module
from tandem.whatsapp.boarding import Boarded, Refusal, board
from tandem.whatsapp.exits import ExitCode
from tandem.whatsapp.frames import NOT_AFTER, Frame, FrameError, Kind
from tandem.whatsapp.host import Host
from tandem.whatsapp.journal import Journal
from tandem.whatsapp.library import MAX_CALLS, Callbacks, CallFailed, CallRefused, Library
from tandem.whatsapp.options import HostOptions
from tandem.whatsapp.records import START
from tandem.whatsapp.uplink import Uplink
from wa_library import package
from wa_library.timings import KeepAliveTimings, Timings

HEAVY = ("asyncio", "pydantic", "structlog", "aiohttp", "google", "neonize", "ssl", "logging", "phonenumbers")


class Ended(BaseException):
    def __init__(self, code: ExitCode, reason: str) -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason


class TwinUplink:
    def __init__(self) -> None:
        self.sent: list[Frame] = []
        self.orders: list[Frame] = []

    def send(self, frame: Frame) -> None:
        self.sent.append(frame)

    def frames(self) -> Iterator[Frame]:
        yield from self.orders

    def end(self, code: ExitCode, reason: str = "") -> NoReturn:
        raise Ended(code, reason)

    def of(self, kind: Kind) -> list[Frame]:
        return [frame for frame in self.sent if frame.kind is kind]


class TwinLibrary:
    version = "0.5.2"
    reason = ""
    refusal: Exception | None = None

    def __init__(self) -> None:
        self.hanging = threading.Event()
        self.hangs = False

    def run(self, _database: str, _props: bytes, _subscriptions: bytes, _callbacks: Callbacks) -> str:
        return self.reason

    def call(self, _operation: str, _header: Mapping[str, object], _payload: bytes) -> tuple[bytes, float]:
        if self.refusal is not None:
            raise self.refusal
        return b"answer", 1.5

    def disconnect(self) -> None:
        if self.hangs:
            self.hanging.wait(10)


@pytest.fixture
def options(tmp_path: Path) -> HostOptions:
    return HostOptions(3, 1, tmp_path / "primary.db", "u", b"", b"\x03", 0.05)


@pytest.fixture
def journal(options: HostOptions) -> Journal:
    return Journal(options.store.with_suffix(".journal"))


@pytest.fixture
def uplink() -> TwinUplink:
    return TwinUplink()


@pytest.fixture
def library() -> TwinLibrary:
    return TwinLibrary()


@pytest.fixture
def host(options: HostOptions, journal: Journal, uplink: TwinUplink, library: TwinLibrary) -> Host:
    boarded = Boarded(0, True, journal, cast("Library", library), None)
    return Host(options, cast("Uplink", uplink), boarded)


class TwinTimings:
    """Keep-alive timings that are only remembered."""

    def __init__(self) -> None:
        self.now = Timings(1.0, 2.0, 3.0, 4.0)

    def read(self) -> Timings:
        return self.now

    def write(self, wanted: Timings) -> Timings:
        self.now = wanted
        return self.now


def log(message: str, level: str, name: str = "Client/Recv") -> bytes:
    return bytes(package.proto("Neonize_pb2").LogEntry(Message=message, Level=level, Name=name).SerializeToString())


def test_debug_lines_never_leave_but_the_ping_is_timed(host: Host, uplink: TwinUplink) -> None:
    host._on_log(log("<message>the words of somebody</message>", "DEBUG"))
    host._on_log(log('<iq id="7" to="s.whatsapp.net" type="get" xmlns="w:p"/>', "DEBUG", "Client/Send"))
    host._on_log(log('<iq from="s.whatsapp.net" id="7" type="result"/>', "DEBUG"))
    host._on_log(b"no log entry")
    (frame,) = uplink.sent
    assert frame.kind is Kind.PING
    assert frame.real("milliseconds") >= 0


def test_other_lines_leave_redacted(host: Host, uplink: TwinUplink) -> None:
    host._on_log(log("cannot decrypt from 12025550199@s.whatsapp.net", "WARN", "Client"))
    (frame,) = uplink.of(Kind.LOG)
    expected = {"level": "WARN", "logger": "Client", "text": "cannot decrypt from [number]@s.whatsapp.net"}
    assert frame.header == expected


@pytest.mark.parametrize("status", ["timeout", "error", "err-client-outdated"])
def test_a_pairing_that_failed_ends_the_host_instead_of_hanging(host: Host, uplink: TwinUplink, status: str) -> None:
    with pytest.raises(Ended) as ended:
        host._on_login(status.encode())
    assert ended.value.code is ExitCode.PAIRING_ENDED
    assert uplink.of(Kind.LOGIN)[0].text("status") == status


def test_a_pairing_that_succeeded_goes_on(host: Host, uplink: TwinUplink) -> None:
    host._on_qr(b"2@text")
    host._on_login(b"success")
    assert [frame.kind for frame in uplink.sent] == [Kind.QR, Kind.LOGIN]


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("proto: required field neonize.Receipt.Type not set", ExitCode.POISONED),
        ("failed to dial whatsapp web websocket: refused", ExitCode.DIAL_FAILED),
        ("", ExitCode.PUMP_ENDED),
    ],
)
def test_the_end_of_the_pump_is_the_end_of_the_host(
    host: Host, library: TwinLibrary, reason: str, code: ExitCode
) -> None:
    library.reason = reason
    with pytest.raises(Ended) as ended:
        host._pump()
    assert (ended.value.code, ended.value.reason) == (code, reason)


def test_hello_comes_first_then_what_an_earlier_host_left(options: HostOptions, journal: Journal) -> None:
    for code, payload in ((17, b"kept"), (6, b"terminal"), (18, b"receipt")):
        journal.append(code, payload)
    journal.close()
    uplink = TwinUplink()
    again = Journal(options.store.with_suffix(".journal"))
    boarded = Boarded(0, False, again, cast("Library", TwinLibrary()), cast("KeepAliveTimings", TwinTimings()))
    Host(options, cast("Uplink", uplink), boarded)._greet()
    hello, *events = uplink.sent
    assert hello.kind is Kind.HELLO
    assert hello.header["leftover"] == 3
    assert hello.header["keep_alive"] == [1.0, 2.0, 3.0, 4.0]
    assert [(event.number("sequence"), event.payload) for event in events] == [(1, b"kept"), (3, b"receipt")]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, {"milliseconds": 1.5}),
        (CallRefused("not ready"), {"error": "not ready", "refused": True}),
        (CallFailed("info query about 12025550199 timed out"), {"error": "info query about [number] timed out"}),
    ],
)
def test_commands_are_answered_whatever_comes_of_them(
    host: Host, uplink: TwinUplink, library: TwinLibrary, error: Exception | None, expected: dict[str, Any]
) -> None:
    library.refusal = error
    host._execute(Frame(Kind.COMMAND, {"id": 5, "op": "probe"}))
    (reply,) = uplink.of(Kind.REPLY)
    assert reply.header == {"id": 5} | expected


@pytest.mark.parametrize("operation", ["send", "mark_read", "keep_alive"])
def test_what_comes_after_the_right_to_send_has_ended_is_refused_and_the_library_not_asked(
    host: Host, uplink: TwinUplink, library: TwinLibrary, operation: str
) -> None:
    library.refusal = AssertionError("the library was called")
    host._execute(Frame(Kind.COMMAND, {"id": 5, "op": operation, NOT_AFTER: time.monotonic() - 0.001}))
    (reply,) = uplink.of(Kind.REPLY)
    assert reply.header == {"id": 5, "error": "this instance's right to send had run out", "refused": True}


def test_what_comes_while_the_right_lasts_is_done(host: Host, uplink: TwinUplink) -> None:
    host._execute(Frame(Kind.COMMAND, {"id": 5, "op": "send", NOT_AFTER: time.monotonic() + 60}))
    (reply,) = uplink.of(Kind.REPLY)
    assert (reply.payload, reply.header) == (b"answer", {"id": 5, "milliseconds": 1.5})


def test_orders_are_obeyed_and_nonsense_refused(host: Host, uplink: TwinUplink, journal: Journal) -> None:
    journal.append(17, b"x")
    uplink.orders = [Frame(Kind.ACK, {"sequence": 1}), Frame(Kind.PING, {"milliseconds": 1})]
    with pytest.raises(FrameError, match="PING"):
        host._obey()
    assert journal.unacknowledged == 0


def test_quitting_empties_the_journal_and_waits_for_no_library(
    host: Host, uplink: TwinUplink, library: TwinLibrary, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "_DISCONNECT_SECONDS", 0.1)
    library.hangs = True
    journal.append(17, b"x")
    uplink.orders = [Frame(Kind.ACK, {"sequence": 1}), Frame(Kind.QUIT)]
    began = time.monotonic()
    with pytest.raises(Ended) as ended:
        host._obey()
    library.hanging.set()
    assert ended.value.code is ExitCode.STOPPED
    assert time.monotonic() - began < 1
    assert journal.size == START


def test_a_backlog_ends_the_host_so_that_the_rest_waits_at_the_server(
    host: Host, uplink: TwinUplink, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "MAX_BACKLOG", 100)
    journal.append(17, bytes(200))
    with pytest.raises(Ended) as ended:
        host._beat()
    assert ended.value.code is ExitCode.BACKLOG
    assert uplink.of(Kind.HEARTBEAT)[0].header == {"journal_bytes": journal.size, "unacknowledged": 1}


def test_a_thread_that_fails_ends_the_host_without_telling_content(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> NoReturn:
        raise RuntimeError("the words of somebody")

    with pytest.raises(Ended) as ended:
        host._guarded(fail)
    assert ended.value.code is ExitCode.FAILED
    assert "words" not in ended.value.reason + capsys.readouterr().err


def test_boarding_refuses_an_unlinked_store_before_it_loads_the_library(
    options: HostOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "binding", lambda: pytest.fail("the library was loaded"))
    with pytest.raises(Refusal) as refusal:
        board(options)
    assert refusal.value.code is ExitCode.UNPAIRED


class TwinGo:
    """Stands for the loaded library: a call blocks until it is let go."""

    def __init__(self) -> None:
        self.called = threading.Semaphore(0)
        self.let_go = threading.Event()

    def SetPassive(self, _uuid: bytes, _passive: bool) -> bytes:  # noqa: FBT001, N802 - the library's signature
        self.called.release()
        self.let_go.wait(5)
        return b""


class TwinBinding:
    def __init__(self) -> None:
        self.gocode = TwinGo()


def test_nothing_is_called_before_the_library_is_ready_and_calls_are_bounded() -> None:
    binding = TwinBinding()
    library = Library(binding, "u")
    with pytest.raises(CallRefused, match="not ready"):
        library.call("probe", {}, b"")
    library.disconnect()
    library._ready.set()
    threads = [threading.Thread(target=library.call, args=("probe", {}, b"")) for _ in range(MAX_CALLS)]
    for thread in threads:
        thread.start()
        assert binding.gocode.called.acquire(timeout=5)
    with pytest.raises(CallRefused, match="too many"):
        library.call("probe", {}, b"")
    binding.gocode.let_go.set()
    for thread in threads:
        thread.join()
    assert library.call("probe", {}, b"")[0] == b""
    for operation, header in (("nonsense", {}), ("send", {"sizes": [1]}), ("send", {"sizes": [1, 1]})):
        with pytest.raises(CallRefused):
            library.call(operation, cast("dict[str, object]", header), b"x")


def test_a_host_loads_nothing_heavy() -> None:
    code = f"import sys, tandem.whatsapp.host; print([m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert loaded.stdout.strip() == "[]"


def test_keep_alive_timings_change_while_the_host_runs_and_are_read_back(
    options: HostOptions, journal: Journal, uplink: TwinUplink, library: TwinLibrary
) -> None:
    timings = TwinTimings()
    boarded = Boarded(0, True, journal, cast("Library", library), cast("KeepAliveTimings", timings))
    host = Host(options, cast("Uplink", uplink), boarded)
    host._execute(Frame(Kind.COMMAND, {"id": 1, "op": "keep_alive", "sizes": [14]}, b"1.5,18.0,20.0,180.0"))
    assert timings.now == Timings(1.5, 18.0, 20.0, 180.0)
    assert uplink.sent[-1].payload == b"1.5,18.0,20.0,180.0"
    assert "error" not in uplink.sent[-1].header


@pytest.mark.parametrize("wanted", [b"1.5,18.0,20.0,180.0", b"", b"1,2", b"x,y,z,0"])
def test_keep_alive_timings_that_cannot_be_set_are_refused(host: Host, uplink: TwinUplink, wanted: bytes) -> None:
    host._execute(Frame(Kind.COMMAND, {"id": 1, "op": "keep_alive"}, wanted))
    assert uplink.sent[-1].header["refused"] is True
