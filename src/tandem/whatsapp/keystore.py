"""A slot's key store, read from outside: the SQLite file that the library keeps its keys in. Standard library only.

The library's table ``whatsmeow_device`` has one row per linked device; a slot's store has one, or none when it is not
paired, or was logged out (the library deletes the row then).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

BUSY_MILLISECONDS = 20_000
_LARGE = 64 * 1024 * 1024


class KeyStoreUnusable(Exception):  # noqa: N818 - names a condition, like the library's
    """The file is there but SQLite finds it damaged, or it cannot be read. The text names no path."""


def database_name(path: Path) -> str:
    """Return what the library is given as a name so that it opens ``path`` with our pragmas.

    It builds ``file:<name>?_foreign_keys=on``; the last parameter here swallows what it appends. WAL with SQLite's
    default synchronous=FULL: a ratchet that went back in time would make messages unreadable.
    """
    pragmas = f"_journal_mode=WAL&_busy_timeout={BUSY_MILLISECONDS}&_txlock=immediate&_foreign_keys=on"
    return f"{quote(str(path.absolute()))}?{pragmas}&_x="


def linked_device(path: Path) -> str:
    """Return the JID (``number:n@s.whatsapp.net``) of the linked device, empty if there is none.

    Raises KeyStoreUnusable.
    """
    if not path.exists() or path.stat().st_size == 0:
        return ""
    try:
        with closing(_open(path)) as database:
            tables = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'whatsmeow_device'")
            if tables.fetchone() is None:
                return ""
            row = database.execute("SELECT jid FROM whatsmeow_device LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise KeyStoreUnusable(str(error)) from None
    return "" if row is None else str(row[0])


def departures(path: Path, secret: bytes) -> set[str]:
    """Return the ids of messages that carry this messageSecret and were about to leave from this device.

    The library commits the row (table ``whatsmeow_message_secrets``) before it touches the network. Raises
    KeyStoreUnusable.
    """
    if not path.exists() or path.stat().st_size == 0:
        return set()
    try:
        with closing(_open(path)) as database:
            rows = database.execute("SELECT message_id FROM whatsmeow_message_secrets WHERE key = ?", (secret,))
            return {str(message_id) for (message_id,) in rows}
    except sqlite3.Error as error:
        raise KeyStoreUnusable(str(error)) from None


def check(path: Path) -> None:
    """Let SQLite look through the file, unless it is so large that this would take long. Raises KeyStoreUnusable."""
    if not path.exists() or not 0 < path.stat().st_size <= _LARGE:
        return
    try:
        with closing(_open(path)) as database:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise KeyStoreUnusable(str(error)) from None
    if verdict != "ok":
        raise KeyStoreUnusable("SQLite found it damaged")


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=2)
