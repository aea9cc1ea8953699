"""A SQLite file that opens whole or not at all: checked, migrated, synced, and set aside when it is damaged.

What SQLite promises by itself is not enough for a queue: a bit flipped in a message body passes ``integrity_check``,
and a write-ahead log that is cut short or damaged in its middle reads as a shorter history. So every file carries

* a counter of its commits, and beside the file a mark with the counter of the last commit that was synced. A file that
  knows fewer commits than its mark has lost synced rows. The mark is written after the sync and not synced itself: it
  may lag behind, never run ahead, so it raises no false alarm after a power loss;
* a seal (CRC-32) in every row whose content matters, verified on opening;
* its schema twice: as it is in the file, and as the migrations make it. They must agree.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tandem.errors import DataUnusable, StoreUnavailable, Transient
from tandem.sqlite_schema import Schema, seal, stored_definition

_BUSY_TIMEOUT_MS = 5_000
_LOG_KEPT_BYTES = 16_777_216
_PRIVATE = 0o600
_MARK = struct.Struct(">Q")
_MARK_SEAL = struct.Struct(">I")

_DAMAGED = "it is damaged: restart Tandem, which sets it aside and says where it went"
_SURROUNDINGS = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "it is read-only: check its permissions and the mount",
    sqlite3.SQLITE_PERM: "access is denied: check its permissions",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check its permissions and the limit of open files",
    sqlite3.SQLITE_IOERR: "the disk reports an error: check the volume and its free space",
    sqlite3.SQLITE_BUSY: "another process holds it: stop that process",
    sqlite3.SQLITE_LOCKED: "another connection holds it",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}


class _Damaged(Exception):  # noqa: N818 - internal: becomes DataUnusable
    """What is wrong with the file."""


def trouble(error: Exception) -> str | None:
    """Say what is wrong with the file's surroundings if that is what failed, and nothing about the statement."""
    return _SURROUNDINGS.get(_code(error)) if isinstance(error, sqlite3.Error) else None


def unavailable(title: str, text: str) -> Transient:
    return StoreUnavailable(f"{title} cannot be used now, {text}", retry_after=5.0)


class SqliteFile:
    """One file with one connection for writing, used by one thread at a time. ``now`` is in Unix seconds."""

    def __init__(self, path: Path, schema: Schema, now: float) -> None:
        """Open the file, making or migrating it if need be.

        Raises DataUnusable: for a damaged file (then it was set aside, with its log and mark), for a newer one, and
        for one that cannot be read or written.
        """
        self.path = path
        self._schema = schema
        self._mark = Path(f"{path}-mark")
        self._mark_file = -1
        self._commits = 0
        self._connection: sqlite3.Connection | None = None
        try:
            self._open()
        except _Damaged as damage:
            self.close()
            raise DataUnusable(self._set_aside(str(damage), now)) from None
        except UnicodeDecodeError:
            self.close()
            raise DataUnusable(self._set_aside("it holds text that is none", now)) from None
        except sqlite3.Error as error:
            self.close()
            if _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or trouble(error) is None:
                raise DataUnusable(self._set_aside(str(error), now)) from None
            raise DataUnusable(f"{schema.title} {path} cannot be used, {trouble(error)}") from None
        except OSError as error:
            self.close()
            raise DataUnusable(f"{schema.title} {path} cannot be used: {error.strerror}") from None
        except BaseException:
            self.close()
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise unavailable(self._schema.title, "it is closed")
        return self._connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit on leaving, roll back on any exception. When it has been left the commit is on the disk."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        commits = self._commits + 1
        try:
            yield connection
            connection.execute("UPDATE file SET commits = ?", (commits,))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._commits = commits
        _write_mark(self._mark_file, commits)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._mark_file >= 0:
            os.close(self._mark_file)
            self._mark_file = -1

    def _open(self) -> None:
        marked = _read_mark(self._mark)
        self._refuse_missing(marked)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, _PRIVATE))
        connection = self._connection = _connect(self.path)
        version = _number(connection, "PRAGMA user_version")
        if version:
            self._check(connection, version)
        elif stored_definition(connection):
            raise _Damaged("it has tables but no version")
        _set_durable(connection, self._schema.title)
        self._migrate(connection, version)
        self._commits = _number(connection, "SELECT commits FROM file")
        if self._commits < marked:
            raise _Damaged(f"it holds {self._commits} commits of {marked} that were synced")
        self._mark_file = os.open(self._mark, os.O_RDWR | os.O_CREAT, _PRIVATE)
        _sync_folder(self.path.parent)

    def _refuse_missing(self, marked: int) -> None:
        """An absent or empty file makes SQLite delete its log: ask before it is opened."""
        size = self.path.stat().st_size if self.path.exists() else 0
        log = Path(f"{self.path}-wal")
        if size == 0 and (marked or (log.exists() and log.stat().st_size)):
            raise _Damaged("it is missing or empty, while its log or its mark is there")

    def _migrate(self, connection: sqlite3.Connection, version: int) -> None:
        try:
            self._schema.migrate(connection, version)
        except sqlite3.Error as error:
            if trouble(error):
                raise
            raise DataUnusable(
                f"{self._schema.title} {self.path} cannot be brought to format {self._schema.version} ({error}): "
                "go back to the release that wrote it; nothing was changed"
            ) from None

    def _check(self, connection: sqlite3.Connection, version: int) -> None:
        problems = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
        if problems != ["ok"]:
            raise _Damaged(problems[0])
        known = _number(connection, "SELECT version FROM file")
        if known != version or _number(connection, "PRAGMA application_id") != self._schema.application_id:
            raise _Damaged("its header does not fit its content")
        if version > self._schema.version:
            raise DataUnusable(
                f"{self._schema.title} {self.path} was written by a newer Tandem (format {version}, this one knows "
                f"{self._schema.version}): run that release again; nothing was changed"
            )
        if stored_definition(connection) != self._schema.definition(version):
            raise _Damaged("its tables are not the ones that were made")
        if version == self._schema.version:
            self._check_rows(connection)

    def _check_rows(self, connection: sqlite3.Connection) -> None:
        for name, query in self._schema.checks.items():
            if count := _number(connection, query):
                raise _Damaged(f"{count} damaged rows ({name})")

    def _set_aside(self, damage: str, now: float) -> str:
        """Rename the file and what belongs to it, never deleting anything. Return what the operator has to know."""
        moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = Path(f"{self.path}.corrupt-{moment}")
        try:
            for suffix in ("", "-wal", "-shm", "-mark"):
                source = Path(f"{self.path}{suffix}")
                if source.exists():
                    source.rename(f"{aside}{suffix}")
        except OSError as error:
            return (
                f"{self._schema.title} {self.path} is damaged ({damage}) and cannot be set aside ({error.strerror}): "
                "move it away by hand; nothing was deleted"
            )
        return (
            f"{self._schema.title} {self.path} is damaged ({damage}). "
            f"It was set aside as {aside}, nothing was deleted. {self._schema.lost}"
        )


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, for a thread of its own."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_MS / 1000)
    connection.create_function("seal", -1, seal, deterministic=True)
    return connection


def _set_durable(connection: sqlite3.Connection, title: str) -> None:
    """Ask for durability and read the answers back: SQLite ignores a pragma that it cannot follow."""
    journal = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_KEPT_BYTES}")
    full = _number(connection, "PRAGMA synchronous") == 2  # noqa: PLR2004 - SQLite's number for FULL
    if journal != "wal" or not full or not _number(connection, "PRAGMA foreign_keys"):
        raise DataUnusable(f"{title} needs a local file system with write-ahead logging (got {journal})")


def _number(connection: sqlite3.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    if row is None or not isinstance(row[0], int):
        raise _Damaged("a row that every file has is missing")
    return row[0]


def _code(error: sqlite3.Error) -> int:
    """The primary result code; the extended one has details in its upper bits."""
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _write_mark(file: int, commits: int) -> None:
    """A mark that cannot be written only notices less: the commit itself is durable."""
    body = _MARK.pack(commits)
    with contextlib.suppress(OSError):
        os.pwrite(file, body + _MARK_SEAL.pack(zlib.crc32(body)), 0)


def _read_mark(path: Path) -> int:
    """The number of commits that were synced, 0 when nothing is known."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0
    body, crc = data[: _MARK.size], data[_MARK.size : _MARK.size + _MARK_SEAL.size]
    return int(_MARK.unpack(body)[0]) if crc == _MARK_SEAL.pack(zlib.crc32(body)) and len(body) == _MARK.size else 0


def _sync_folder(folder: Path) -> None:
    """A new file's name is durable only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
