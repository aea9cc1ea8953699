"""The state file: an SQLite database that follows the emulator's objects closely enough to survive a kill.

Changes are noted in memory; ``durable`` writes all that have gathered in one transaction. Every connection waits for it
before it sends, so a client never knows more than the file does. (Write-ahead log, ``synchronous=NORMAL``: a killed
process loses nothing; a power cut may, which no test of a loopback server is about.)
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import Final

from wa_emulator.journal import Record

_VERSION: Final = 1
_LATEST_SECONDS: Final = 0.05
"""How long a change waits at most if nobody asks for durability."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS records (
    position INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (kind, key)
)"""
_UPSERT: Final = """
INSERT INTO records (kind, key, value) VALUES (?, ?, ?)
ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value"""
_DELETE: Final = "DELETE FROM records WHERE kind = ? AND key = ?"
_SELECT: Final = "SELECT key, value FROM records WHERE kind = ? ORDER BY position"

_log = logging.getLogger("wa_emulator")


class StateUnusable(Exception):  # noqa: N818 - it names the file's condition
    """The state file cannot be used: it is no state file, of another version, or another emulator has it open."""


class StateFile:
    """A journal that writes. Raises StateUnusable when it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted = self._written = 0
        self._dirty: dict[tuple[str, str], Record | None] = {}
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            self._database = self._open()
        except sqlite3.Error as error:
            raise StateUnusable(f"state file {path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0)
        database.execute("PRAGMA locking_mode = EXCLUSIVE")  # one emulator a file
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(_SCHEMA)
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise StateUnusable(f"state file {self._path} is of version {version}, this emulator writes {_VERSION}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
        return database

    def load(self, kind: str) -> list[tuple[str, bytes]]:
        """Return the keys and records of a kind, in the order they were first saved."""
        return self._database.execute(_SELECT, (kind,)).fetchall()

    def save(self, kind: str, key: str, record: Record) -> None:
        self._note((kind, key), record)

    def delete(self, kind: str, key: str) -> None:
        self._note((kind, key), None)

    async def durable(self) -> None:
        """Return when all changes noted before the call are written. A caller that is cancelled disturbs nobody."""
        goal = self._noted
        while self._written < goal:
            if self._writing is None:
                self._writing = asyncio.create_task(self._flush())
            await asyncio.shield(self._writing)

    async def _flush(self) -> None:
        """Write what is noted now, all at once. One at a time: the connection is shared."""
        noted, dirty = self._noted, self._dirty
        self._dirty = {}
        try:
            rows = [(kind, key, record() if record else None) for (kind, key), record in dirty.items()]
            await asyncio.to_thread(self._write, rows)
            self._written = noted
        except Exception:
            self._dirty = dirty | self._dirty
            raise
        finally:
            self._writing = None

    async def close(self) -> None:
        """Write what is left and let go of the file."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._tasks)
        await self.durable()
        self._database.close()

    def _note(self, name: tuple[str, str], record: Record | None) -> None:
        self._dirty[name] = record
        self._noted += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LATEST_SECONDS, self._write_soon)

    def _write_soon(self) -> None:
        self._timer = None
        task = asyncio.create_task(self.durable())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _write(self, rows: list[tuple[str, str, bytes | None]]) -> None:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany(_DELETE, [(kind, key) for kind, key, value in rows if value is None])
            database.executemany(_UPSERT, [row for row in rows if row[2] is not None])
        except sqlite3.Error:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")
