from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.whatsapp.loglines import LogLine, PingTimer, read_log_entry, redacted
from wa_library import package

TEXTS = st.text(max_size=300)


def entry(message: str, level: str = "DEBUG", name: str = "Client/Send") -> bytes:
    return bytes(package.proto("Neonize_pb2").LogEntry(Message=message, Level=level, Name=name).SerializeToString())


def line(message: str, name: str) -> LogLine:
    return LogLine(message.encode(), b"DEBUG", name.encode())


@given(TEXTS, TEXTS, TEXTS)
def test_log_entries_are_read_as_protobuf_reads_them(message: str, level: str, name: str) -> None:
    read = read_log_entry(entry(message, level, name))
    assert (read.message.decode(), read.level.decode(), read.name.decode()) == (message, level, name)


@given(st.binary(max_size=60))
def test_garbage_is_refused(garbage: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_log_entry(garbage)


def test_a_truncated_entry_is_refused_or_lacks_a_field() -> None:
    whole = entry("a message", "DEBUG", "Client")
    for end in range(len(whole)):
        with contextlib.suppress(ValueError):
            assert read_log_entry(whole[:end]) != read_log_entry(whole)


def ping(number: str) -> LogLine:
    return line(f'<iq id="{number}" to="s.whatsapp.net" type="get" xmlns="w:p"/>', "Client/Send")


def pong(number: str) -> LogLine:
    return line(f'<iq from="s.whatsapp.net" id="{number}" type="result"/>', "Client/Recv")


def test_the_round_trip_of_the_librarys_own_ping_is_read() -> None:
    timer = PingTimer()
    assert timer.observe(ping("12.34-5"), 10.0) is None
    assert timer.observe(pong("other"), 10.1) is None
    assert timer.observe(pong("12.34-5"), 10.25) == pytest.approx(250.0)
    assert timer.observe(pong("12.34-5"), 10.3) is None


@pytest.mark.parametrize(
    "other",
    [
        line('<iq id="1" to="s.whatsapp.net" type="get" xmlns="encrypt"/>', "Client/Send"),
        line('<message id="1" xmlns="w:p"/>', "Client/Send"),
        line('<iq id="1" xmlns="w:p"/>', "Client/Recv"),
        line('<iq to="s.whatsapp.net" xmlns="w:p"/>', "Client/Send"),
        line("Dispatching event", "Client"),
    ],
)
def test_other_stanzas_are_no_pings(other: LogLine) -> None:
    timer = PingTimer()
    timer.observe(other, 1.0)
    assert timer.observe(pong("1"), 2.0) is None


def test_unanswered_pings_do_not_pile_up() -> None:
    timer = PingTimer()
    for number in range(1000):
        timer.observe(ping(str(number)), float(number))
    assert timer.observe(pong("1"), 1001.0) is None
    assert timer.observe(pong("999"), 1001.0) == pytest.approx(2000.0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Successfully paired 12025550123:1@s.whatsapp.net", "Successfully paired [number]:1@s.whatsapp.net"),
        ("call +1 202-555-0123 now", "call +[number] now"),
        ("from 101350386409827@lid", "from [number]@lid"),
        ("code 515, reconnecting", "code 515, reconnecting"),
        ("2@AbCdEfGhIjKl,noise,identity", "[a line with a QR text was withheld]"),
        ("https://wa.me/settings/linked_devices#x", "[a line with a QR text was withheld]"),
        ("key q83vq83vq83vq83vq83vq83vq83vq83vq83vq83vq80= end", "key [secret] end"),
        ("bytes 00112233445566778899aabbccddeeff", "bytes [secret]"),
        ("pairing code ABCD-1234", "pairing code [secret]"),
        ("two\nlines", "two lines"),
    ],
)
def test_nothing_private_is_left_in_a_line(text: str, shown: str) -> None:
    assert redacted(text) == shown


@given(st.from_regex(r"\+?1[ .-]?202[ .-]?555[ .-]?01\d\d", fullmatch=True), st.text(max_size=30))
def test_no_phone_number_survives_whatever_is_around_it(number: str, around: str) -> None:
    assert number not in redacted(f"{around} {number} {around}")


def test_long_lines_are_cut() -> None:
    assert len(redacted("word " * 10_000)) < 700
