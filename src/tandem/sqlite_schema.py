"""SQL kept in ``.sql`` files beside the code: migrations, named queries, and checks of what a file must hold.

A package keeps them in its folder ``sql``: ``migrations/0001_….sql`` (forward only, numbered without gaps),
``<module>.sql`` with queries that each follow a line ``-- name: <name>``, and ``checks.sql`` with queries that each
count the rows that contradict themselves. A migration never changes once it was released.
"""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: *(\w+) *$", re.MULTILINE)
_SEPARATOR = "\x1f"

# Every file has this one row: how many transactions it holds, and its version once more (see sqlite_file).
_BOOKKEEPING = """
CREATE TABLE file (commits INTEGER NOT NULL, version INTEGER NOT NULL);
INSERT INTO file VALUES (0, 0);
"""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file must be. ``title`` and ``lost`` are for people: what the file is, and what its loss means."""

    title: str
    application_id: int
    migrations: tuple[str, ...]
    checks: Mapping[str, str]
    lost: str

    @property
    def version(self) -> int:
        return len(self.migrations)

    def migrate(self, connection: sqlite3.Connection, version: int) -> None:
        """Bring a file from ``version`` (0: new) to the newest, one transaction a step."""
        for number, script in enumerate(self.migrations[version:], version + 1):
            _run(connection, (_BOOKKEEPING if number == 1 else "") + script, number, self.application_id)

    def definition(self, version: int) -> list[tuple[str, str]]:
        """What ``sqlite_schema`` holds in a file of this version that nothing has damaged."""
        return _definition(self.migrations[:version])


def load_schema(package: str, *, title: str, application_id: int, lost: str) -> Schema:
    folder = files(package) / "sql" / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    scripts = tuple((folder / name).read_text(encoding="utf-8") for name in names)
    return Schema(title, application_id, scripts, load_queries(package, "checks"), lost)


def load_queries(package: str, name: str) -> Mapping[str, str]:
    """Return the named queries of ``sql/<name>.sql``."""
    text = (files(package) / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return {parts[i]: parts[i + 1].strip().removesuffix(";") for i in range(0, len(parts), 2)}


def seal(*values: object) -> int:
    """CRC-32 of a row's values, blobs last. Integers for booleans and floats for times, as SQLite gives them back."""
    texts = [str(value) for value in values if not isinstance(value, bytes)]
    crc = zlib.crc32(_SEPARATOR.join(texts).encode())
    for value in values:
        if isinstance(value, bytes):
            crc = zlib.crc32(value, crc)
    return crc


def stored_definition(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
    return [(str(name), str(sql)) for name, sql in rows]


def _run(connection: sqlite3.Connection, script: str, number: int, application_id: int) -> None:
    """Run one migration as one transaction, its version numbers included."""
    end = (
        f"UPDATE file SET version = {number}; PRAGMA user_version = {number}; PRAGMA application_id = {application_id};"  # noqa: S608 - two integers of ours
    )
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n;{end}\nCOMMIT;")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@cache
def _definition(migrations: tuple[str, ...]) -> list[tuple[str, str]]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.create_function("seal", -1, seal, deterministic=True)
    try:
        for number, script in enumerate(migrations, 1):
            _run(connection, (_BOOKKEEPING if number == 1 else "") + script, number, 0)
        return stored_definition(connection)
    finally:
        connection.close()
