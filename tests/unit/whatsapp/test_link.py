from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tandem.errors import DataUnusable, NotOnline
from tandem.model import signals
from tandem.model.account import Account
from tandem.model.ids import AccountId, ChatId, Jid, Number
from tandem.model.message import RawEvent
from tandem.model.outbox import MarkRead, SendOutcome, Target, Text
from tandem.model.signals import HostEnded, Signal
from tandem.model.states import Slot
from tandem.settings import DeviceSettings
from tandem.whatsapp import spawn as spawn_module
from tandem.whatsapp.link import Link, open_link
from tandem.whatsapp.options import EmulatorEndpoint, HostOptions
from tandem.whatsapp.port import DeviceListener, DeviceSpec

ACCOUNT = Account(AccountId("0123456789abcdef"), Number("+12025550123"), "Ann", 0.0)
CHAT = ChatId("12025550199@s.whatsapp.net")
JID = Jid("12025550199", "s.whatsapp.net")
SECRET = bytes(32)
QUICK = DeviceSettings(
    hello_timeout=5, heartbeat_interval=0.05, heartbeat_timeout=0.4, command_timeout=0.3, stop_grace=0.3
)
PATIENT = QUICK.model_copy(update={"heartbeat_timeout": 30.0, "command_timeout": 30.0})


@dataclass
class Heard:
    signals: list[Signal] = field(default_factory=list)
    events: list[RawEvent] = field(default_factory=list)
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    fails: bool = False

    def listener(self) -> DeviceListener:
        return DeviceListener(self.signals.append, self.event)

    def event(self, event: RawEvent) -> None:
        if self.fails:
            raise RuntimeError("the queue is broken")
        self.events.append(event)

    def tell(self, level: str, source: str, text: str) -> None:
        self.lines.append((level, source, text))

    @property
    def end(self) -> HostEnded:
        *before, last = self.signals
        assert isinstance(last, HostEnded)
        assert not any(isinstance(signal, HostEnded) for signal in before)
        return last


def options(fd: int) -> HostOptions:
    return HostOptions(fd, 1, Path("/nowhere"), "u", b"", b"\x03", 1.0)


Start = Callable[..., Awaitable[Link]]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def start(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    links: list[Link] = []

    async def run(act: str, settings: DeviceSettings = PATIENT) -> Link:
        monkeypatch.setattr(spawn_module, "COMMAND", ("-P", str(Path(__file__).with_name("impostor.py")), act))
        spec = DeviceSpec(ACCOUNT, Slot.PRIMARY, 7)
        links.append(await open_link(spec, heard.listener(), options, settings, heard.tell))
        return links[-1]

    yield run
    for link in links:
        link.kill()
        await link.gone()


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    async with asyncio.timeout(seconds):
        yield


async def until(condition: Callable[[], object]) -> None:
    async with within(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_host_is_started_asked_and_stopped(start: Start, heard: Heard) -> None:
    link = await start("good")
    assert heard.signals == [signals.Started(link.pid, paired=True)]
    assert link.facts.library == "0.5.2"
    assert link.facts.keep_alive is None
    assert await link.probe(5) == 12.5
    await link.stop()
    assert heard.end == signals.HostEnded(0, "stopped as asked")
    await link.stop()
    assert len(heard.signals) == 2


async def test_acknowledgements_are_sent_once_and_never_go_back(start: Start, heard: Heard) -> None:
    link = await start("good")
    for sequence in (3, 3, 2, 5):
        link.acknowledge(sequence)
    await link.probe(5)
    assert [text for _, source, text in heard.lines if source == "impostor"] == ["acknowledged 3", "acknowledged 5"]


async def test_a_refused_send_was_not_sent(start: Start) -> None:
    link = await start("good")
    result = await link.send(CHAT, Text("hi"), SECRET, 5)
    assert result.outcome is SendOutcome.NOT_SENT


async def test_a_send_that_its_host_gets_after_the_right_has_ended_was_not_sent(start: Start) -> None:
    link = await start("punctual")
    now = asyncio.get_running_loop().time()
    for content in (Text("hi"), MarkRead((Target("3EB0", str(CHAT)),))):
        result = await link.send(CHAT, content, SECRET, 5, now - 0.001)
        assert result.outcome is SendOutcome.NOT_SENT
        assert "right to send had run out" in result.error
        within_it = await link.send(CHAT, content, SECRET, 5, now + 60)
        assert within_it.error == f"may be done until {now + 60}", "the clock is the host's as well"


async def test_without_an_end_of_the_right_none_is_told(start: Start) -> None:
    link = await start("punctual")
    assert (await link.send(CHAT, Text("hi"), SECRET, 5)).error == "may be done until None"


async def test_a_read_mark_that_found_no_connection_was_not_sent(start: Start) -> None:
    link = await start("good")
    marked = await link.send(CHAT, MarkRead((Target("3EB0", str(CHAT)),)), SECRET, 5)
    assert (marked.outcome, marked.error) == (SendOutcome.NOT_SENT, "websocket not connected")


async def test_what_cannot_be_composed_was_refused(start: Start) -> None:
    link = await start("good")
    for impossible in (MarkRead((Target("two words", str(CHAT)),)), Text("\ud800")):
        assert (await link.send(CHAT, impossible, SECRET, 5)).outcome is SendOutcome.REJECTED


async def test_a_dead_host_sends_nothing_and_says_so(start: Start) -> None:
    link = await start("good")
    link.kill()
    await link.gone()
    assert (await link.send(CHAT, Text("hi"), SECRET, 5)).outcome is SendOutcome.NOT_SENT
    with pytest.raises(NotOnline):
        await link.probe(5)
    link.acknowledge(9)
    link.kill()


async def test_a_send_whose_host_dies_has_an_unknown_fate(start: Start, heard: Heard) -> None:
    link = await start("deaf")
    sending = asyncio.create_task(link.send(CHAT, Text("hi"), SECRET, 5))
    await asyncio.sleep(0.05)
    link.kill()
    assert (await sending).outcome is SendOutcome.UNKNOWN
    await link.gone()
    assert heard.end.code == -9


async def test_a_send_that_takes_too_long_has_an_unknown_fate_and_the_host_lives(start: Start, heard: Heard) -> None:
    link = await start("deaf")
    result = await link.send(CHAT, Text("hi"), SECRET, 0.05)
    assert result.outcome is SendOutcome.UNKNOWN
    assert "no answer within" in result.error
    assert len(heard.signals) == 1


async def test_a_call_that_never_returns_ends_the_host(start: Start, heard: Heard) -> None:
    link = await start("deaf", QUICK)
    with pytest.raises(NotOnline):
        await link.probe(0.01)
    async with within(3):
        await link.gone()
    assert heard.end == signals.HostEnded(-9, "a call of the library did not return for 0.3 s")


async def test_a_silent_host_is_ended(start: Start, heard: Heard) -> None:
    link = await start("silent", QUICK)
    async with within(3):
        await link.gone()
    assert heard.end.code == -9
    assert "silent" in heard.end.reason


async def test_heartbeats_keep_a_host_alive_and_tell_of_its_journal(start: Start, heard: Heard) -> None:
    link = await start("deaf", QUICK)
    await asyncio.sleep(0.8)
    assert len(heard.signals) == 1
    assert (link.journal_bytes, link.unacknowledged) == (20, 3)


async def test_a_daemon_that_did_not_run_for_a_while_does_not_blame_the_host(start: Start, heard: Heard) -> None:
    settings = QUICK.model_copy(update={"command_timeout": 30.0})
    await start("deaf", settings)
    time.sleep(1.6)  # noqa: ASYNC251 - the whole daemon stands still, as in a paused machine
    await asyncio.sleep(0.3)
    assert len(heard.signals) == 1


async def test_a_host_that_does_not_quit_is_killed_after_the_grace(start: Start, heard: Heard) -> None:
    link = await start("deaf", PATIENT)
    began = asyncio.get_running_loop().time()
    await link.stop()
    assert 0.3 <= asyncio.get_running_loop().time() - began < 1
    assert heard.end.code == -9


@pytest.mark.parametrize("act", ["garbage", "foreign"])
async def test_garbage_ends_the_host_and_hurts_nobody(start: Start, heard: Heard, act: str) -> None:
    link = await start(act)
    async with within(3):
        await link.gone()
    assert "garbage" in heard.end.reason


async def test_a_signal_that_cannot_be_read_is_reported_and_events_go_on(start: Start, heard: Heard) -> None:
    await start("unreadable")
    await until(lambda: heard.events)
    assert [(event.sequence, event.generation, event.payload) for event in heard.events] == [(1, 7, b"\xff\xff")]
    assert any("cannot be decoded" in text for _, _, text in heard.lines)


async def test_a_listener_that_fails_ends_the_host_so_that_nothing_is_passed_over(start: Start, heard: Heard) -> None:
    heard.fails = True
    link = await start("unreadable")
    async with within(3):
        await link.gone()
    assert "RuntimeError" in heard.end.reason
    assert "broken" not in heard.end.reason


async def test_what_a_host_prints_is_captured_redacted_and_explains_its_crash(start: Start, heard: Heard) -> None:
    link = await start("chatty")
    async with within(3):
        await link.gone()
    assert ("info", "stdout", "SendMessage: Error sending message to [number]@s.whatsapp.net") in heard.lines
    assert not any("12025550199" in text for _, _, text in heard.lines)
    assert all(len(text) < 1000 for _, _, text in heard.lines)
    assert heard.end.code == -6
    assert "crashes" in heard.end.reason


async def test_a_ban_that_ended_the_pump_is_told_before_the_end(start: Start, heard: Heard) -> None:
    link = await start("banned")
    await link.gone()
    assert heard.signals[-2] == signals.Banned("105", 60.0)
    assert heard.end.code == 22


async def test_a_terminal_event_is_acknowledged_when_the_host_is_stopped(start: Start, heard: Heard) -> None:
    link = await start("logged_out")
    await until(lambda: len(heard.signals) > 1)
    assert isinstance(heard.signals[1], signals.LoggedOut)
    await link.stop()
    assert any(text == "acknowledged 1" for _, _, text in heard.lines)


async def test_the_first_qr_lasts_a_minute_the_others_twenty_seconds(start: Start, heard: Heard) -> None:
    await start("showing")
    await until(lambda: len(heard.signals) == 3)
    assert heard.signals[1:] == [signals.QrShown("2@first", 60.0), signals.QrShown("2@second", 20.0)]


async def test_a_pairing_code_needs_a_pairing(start: Start) -> None:
    link = await start("good")
    with pytest.raises(NotOnline, match="did not offer"):
        await link.pair_by_code("+12025550123", 0.1)


async def test_a_host_that_says_nothing_did_not_come_up(start: Start, heard: Heard) -> None:
    with pytest.raises(NotOnline, match=r"within 0\.2 s"):
        await start("mute", QUICK.model_copy(update={"hello_timeout": 0.2}))
    assert heard.signals == []


async def test_a_host_that_refuses_says_why_and_is_not_told_as_ended(start: Start, heard: Heard) -> None:
    with pytest.raises(DataUnusable, match="no linked device"):
        await start("unpaired")
    with pytest.raises(NotOnline, match="another process"):
        await start("locked")
    assert heard.signals == []


async def test_a_start_that_is_cancelled_leaves_no_host(start: Start, heard: Heard) -> None:
    starting = asyncio.ensure_future(start("mute"))
    await asyncio.sleep(0.2)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert heard.signals == []


async def test_an_interpreter_that_cannot_be_started_is_not_online(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(NotOnline, match="could be started"):
        await start("good")


def test_a_host_inherits_nothing_of_the_daemons_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_API_TOKEN", "secret")
    monkeypatch.setenv("FIREBASE_SERVICE_ACCOUNT", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy")
    environment = spawn_module.environment()
    assert "secret" not in str(environment)
    assert environment["NEONIZE_BOT_TAG"] == "off"


def test_options_survive_the_command_line() -> None:
    whole = HostOptions(
        fd=7,
        parent=1,
        store=Path("/data dir/a%?#.db"),
        uuid="a-primary",
        props=b"\x00\xff",
        subscriptions=bytes([2, 3, 44]),
        heartbeat=0.5,
        pairing=True,
        emulator=EmulatorEndpoint(1234, bytes(32)),
        timings=(0.2, 0.3, 0.6, 2.0),
    )
    assert HostOptions.parse(whole.arguments()) == whole
    assert HostOptions.parse(options(3).arguments()) == options(3)


async def test_last_words_are_heard_although_the_host_is_gone_when_it_is_spoken_to(start: Start, heard: Heard) -> None:
    link = await start("hasty")
    link.acknowledge(1)
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - the loop is busy while the host speaks and ends
    for sequence in range(2, 10):
        link.acknowledge(sequence)
    await link.gone()
    assert signals.Banned("105", 60.0) in heard.signals
    assert "TemporaryBan" in heard.end.reason
