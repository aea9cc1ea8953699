from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tandem.errors import DataUnusable
from tandem.queue.database import SCHEMA
from tandem.sqlite_file import SqliteFile
from tandem.sqlite_schema import Schema, seal
from tandem.store.sqlite import SCHEMA as STORE_SCHEMA

NOW = 1_700_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


def make(path: Path, schema: Schema = SCHEMA) -> None:
    file = SqliteFile(path, schema, NOW)
    row = ("outbox", b"k" * 32)
    with file.transaction() as connection:
        connection.execute("INSERT INTO secrets VALUES (?, ?, ?)", (*row, seal(*row)))
    file.close()


def tamper(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for text in statements:
        connection.execute(text)
    connection.commit()
    connection.close()


def asides(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.glob("*.corrupt-*"))


def test_content_survives_being_opened_again(path: Path) -> None:
    make(path)
    file = SqliteFile(path, SCHEMA, NOW)
    assert file.connection.execute("SELECT value FROM secrets").fetchone()[0] == b"k" * 32
    file.close()


def test_only_this_user_may_read_it(path: Path) -> None:
    make(path)
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: path.write_bytes(b"not a database at all, but long enough to be read as one" * 40), "not a"),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "damaged"),
        (lambda path: path.write_bytes(b""), "missing or empty"),
        (lambda path: path.unlink(), "missing or empty"),
        (lambda path: tamper(path, "UPDATE secrets SET value = x'00'"), "secrets"),
        (lambda path: tamper(path, "UPDATE file SET commits = 0"), "0 commits of 1"),
        (lambda path: tamper(path, "UPDATE file SET version = 777"), "header"),
        (lambda path: tamper(path, "PRAGMA application_id = 7"), "header"),
        (lambda path: tamper(path, "PRAGMA user_version = 0"), "no version"),
        (lambda path: tamper(path, "DROP TABLE early_receipts"), "tables are not"),
        (lambda path: tamper(path, "DELETE FROM file"), "missing"),
    ],
)
def test_a_damaged_file_is_set_aside_and_the_next_start_is_empty(
    path: Path, damage: Callable[[Path], object], named: str
) -> None:
    make(path)
    damage(path)
    before = path.read_bytes() if path.exists() else None

    with pytest.raises(DataUnusable, match=named) as refused:
        SqliteFile(path, SCHEMA, NOW)

    assert "nothing was deleted" in str(refused.value)
    assert "Start again to begin with an empty queue" in str(refused.value)
    assert not path.exists()
    aside = path.parent / "queue.db.corrupt-20231114T221320.000000Z"
    assert (aside.read_bytes() if aside.exists() else None) == before
    assert f"{aside.name}-mark" in asides(path)

    make(path)  # starts empty: a second secret of the same name would be refused


def test_a_newer_file_is_refused_and_left_alone(path: Path) -> None:
    newer = replace(SCHEMA, migrations=(*SCHEMA.migrations, "CREATE TABLE tomorrow (x);"))
    make(path, newer)
    with pytest.raises(
        DataUnusable, match=rf"newer Tandem \(format {SCHEMA.version + 1}, this one knows {SCHEMA.version}\)"
    ):
        SqliteFile(path, SCHEMA, NOW)
    assert asides(path) == []
    SqliteFile(path, newer, NOW).close()


def test_an_older_file_is_brought_forward_with_its_content(path: Path) -> None:
    make(path)
    newer = replace(SCHEMA, migrations=(*SCHEMA.migrations, "ALTER TABLE secrets ADD COLUMN note TEXT DEFAULT 'new';"))
    file = SqliteFile(path, newer, NOW)
    assert file.connection.execute("SELECT name, note FROM secrets").fetchall() == [("outbox", "new")]
    file.close()
    SqliteFile(path, newer, NOW).close()


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    make(path)
    broken = replace(SCHEMA, migrations=(*SCHEMA.migrations, "CREATE TABLE half (x); CREATE TABLE secrets (x);"))
    with pytest.raises(DataUnusable, match="nothing was changed"):
        SqliteFile(path, broken, NOW)
    assert asides(path) == []
    SqliteFile(path, SCHEMA, NOW).close()


def test_a_mark_that_lags_behind_raises_no_alarm(path: Path) -> None:
    """After a power loss the mark may be any older one, or gone, or torn."""
    make(path)
    mark = Path(f"{path}-mark")
    old = mark.read_bytes()
    SqliteFile(path, SCHEMA, NOW).close()
    for content in (old, old[:5], b"\x00" * 12, b""):
        mark.write_bytes(content)
        SqliteFile(path, SCHEMA, NOW).close()


def test_a_log_that_was_cut_short_is_noticed(path: Path) -> None:
    """SQLite alone would open it with the last rows missing, and say nothing."""
    file = SqliteFile(path, SCHEMA, NOW)
    for number in range(5):
        with file.transaction() as connection:
            connection.execute("INSERT INTO secrets VALUES (?, x'', ?)", (str(number), seal(str(number), b"")))
    copy = path.parent / "copy"
    copy.mkdir()
    for suffix in ("", "-wal", "-mark"):
        (copy / f"queue.db{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    file.close()
    log = copy / "queue.db-wal"
    log.write_bytes(log.read_bytes()[:-5_000])

    with pytest.raises(DataUnusable, match="that were synced"):
        SqliteFile(copy / "queue.db", SCHEMA, NOW)


def test_the_schemas_of_queue_and_store_are_told_apart(path: Path) -> None:
    make(path)
    with pytest.raises(DataUnusable, match="header does not fit"):
        SqliteFile(path, STORE_SCHEMA, NOW)


def test_a_file_that_another_process_writes_is_refused_not_set_aside(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tandem.sqlite_file._BUSY_TIMEOUT_MS", 20)
    make(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE file SET commits = commits")
    with pytest.raises(DataUnusable, match="stop that process"):
        SqliteFile(path, SCHEMA, NOW)
    other.close()
    assert asides(path) == []
