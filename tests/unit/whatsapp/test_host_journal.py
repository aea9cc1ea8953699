from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.whatsapp import journal as journal_module
from tandem.whatsapp.journal import Journal
from tandem.whatsapp.records import MAGIC, START, JournalUnusable, parse, read

EVENTS = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "primary.journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


def write(path: Path, *payloads: bytes) -> None:
    opened = Journal(path)
    for payload in payloads:
        opened.append(17, payload)
    opened.close()


def payloads(path: Path) -> list[bytes]:
    return [record.payload for record in read(path).records]


@settings(deadline=None)
@given(EVENTS, st.integers(0, 8))
def test_what_was_written_and_not_acknowledged_is_read_back(events: list[tuple[int, bytes]], acknowledged: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        opened = Journal(path)
        written = [opened.append(code, payload) for code, payload in events]
        opened.acknowledge(acknowledged)
        opened.close()
        assert list(read(path).records) == written[acknowledged:]
        assert [record.sequence for record in written] == list(range(1, len(events) + 1))


@settings(deadline=None)
@given(EVENTS)
def test_truncated_at_any_offset_the_records_before_it_are_kept(events: list[tuple[int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        opened = Journal(path)
        ends = [(opened.append(code, payload), opened.size)[1] for code, payload in events]
        opened.close()
        data = path.read_bytes()
    whole = parse(data).records
    for cut in range(len(data) + 1):
        contents = parse(data[:cut])
        assert contents.records == whole[: sum(end <= cut for end in ends)]
        assert contents.intact + contents.torn == cut


def test_a_bit_flip_anywhere_keeps_what_precedes_it(path: Path) -> None:
    write(path, b"first", b"second", b"third")
    data = bytearray(path.read_bytes())
    whole = parse(bytes(data)).records
    for at in range(len(data)):
        for bit in range(8):
            data[at] ^= 1 << bit
            try:
                found = parse(bytes(data)).records
                assert found == whole[: len(found)]
                assert len(found) == 3 or at >= START
            except JournalUnusable:
                assert at < len(MAGIC)
            data[at] ^= 1 << bit


@given(st.binary(max_size=200))
def test_garbage_behind_the_head_is_torn_not_fatal(garbage: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        write(path, b"kept")
        contents = parse(path.read_bytes() + garbage)
    assert [record.payload for record in contents.records][:1] == [b"kept"]


def test_a_torn_tail_is_set_aside_and_counted(path: Path) -> None:
    write(path, b"kept")
    with path.open("ab") as file:
        file.write(b"torn tail")
    opened = Journal(path)
    assert opened.torn == 9
    assert [record.payload for record in opened.leftover] == [b"kept"]
    assert opened.append(17, b"next").sequence == 2
    opened.close()
    assert payloads(path) == [b"kept", b"next"]
    assert path.with_name(path.name + ".torn").read_bytes() == b"torn tail"


def test_another_file_is_left_alone(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0 and more")
    with pytest.raises(JournalUnusable):
        Journal(path)
    assert path.read_bytes() == b"SQLite format 3\0 and more"


def test_a_missing_file_is_an_empty_journal(path: Path) -> None:
    assert read(path).records == ()
    assert not path.exists()


def test_sequences_go_on_growing_over_restarts_even_when_it_was_emptied(path: Path) -> None:
    write(path, b"1", b"2")
    opened = Journal(path)
    assert opened.append(17, b"3").sequence == 3
    opened.acknowledge(3)
    opened.tidy()
    assert path.stat().st_size == START
    opened.close()
    again = Journal(path)
    assert again.leftover == ()
    assert again.append(17, b"4").sequence == 4
    again.close()


def test_it_is_emptied_only_when_everything_is_acknowledged(journal: Journal, path: Path) -> None:
    journal.append(17, b"1")
    journal.append(17, b"2")
    journal.acknowledge(1)
    journal.tidy()
    assert journal.unacknowledged == 1
    assert payloads(path) == [b"2"]
    journal.acknowledge(2)
    journal.tidy()
    assert journal.size == path.stat().st_size == START


def test_acknowledging_more_than_there_is_forgets_nothing_later(journal: Journal, path: Path) -> None:
    journal.append(17, b"1")
    journal.acknowledge(99)
    journal.append(17, b"2")
    assert payloads(path) == [b"2"]


def test_it_is_compacted_when_acks_lag(journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_ABOVE", 1000)
    for number in range(20):
        journal.append(17, bytes([number]) * 100)
    journal.acknowledge(15)
    before = path.stat().st_size
    journal.tidy()
    assert path.stat().st_size == journal.size < before / 2
    journal.append(17, b"after")
    assert [record.sequence for record in read(path).records] == [16, 17, 18, 19, 20, 21]
    journal.acknowledge(21)
    journal.tidy()
    assert journal.size == START
    assert not list(path.parent.glob("*.new"))


def test_many_unacknowledged_events_are_never_compacted_away(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_ABOVE", 1000)
    for _ in range(20):
        journal.append(17, bytes(100))
    journal.tidy()
    assert len(read(path).records) == journal.unacknowledged == 20
    assert journal.unacknowledged_bytes == journal.size - START


def test_a_full_disk_leaves_the_journal_as_it_was(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(17, b"1")
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: real(file, data[: len(data) // 2], at))
    with pytest.raises(OSError, match="only"):
        journal.append(17, b"does not fit")
    monkeypatch.undo()
    assert read(path).torn == 0
    assert journal.append(17, b"2").sequence == 2
    assert payloads(path) == [b"1", b"2"]


def test_an_event_that_could_not_be_written_leaves_no_gap(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="No space"):
        journal.append(17, b"lost")
    monkeypatch.undo()
    assert journal.append(17, b"kept").sequence == 1
    assert payloads(path) == [b"kept"]


def test_a_damaged_mark_repeats_events_rather_than_forgetting_them(path: Path) -> None:
    write(path, b"1", b"2")
    opened = Journal(path)
    opened.acknowledge(2)
    opened.close()
    data = bytearray(path.read_bytes())
    data[len(MAGIC) + 9] ^= 1
    assert len(parse(bytes(data)).records) == 2


def test_it_is_private(path: Path) -> None:
    Journal(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
