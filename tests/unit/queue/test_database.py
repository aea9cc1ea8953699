from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.virtual_time import VirtualClock
from tandem.errors import DataUnusable, StoreUnavailable
from tandem.queue.database import Database, statement

INSERT = "INSERT INTO secrets (name, value, seal) VALUES (?, ?, 0)"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path, VirtualClock())
    await database.open()
    yield database
    await database.close()


def names(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT name FROM secrets ORDER BY name")]


async def test_every_commit_is_synced(database: Database) -> None:
    assert await database.write(lambda connection: connection.execute("PRAGMA synchronous").fetchone()[0]) == 2
    assert await database.read(lambda connection: connection.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"


async def test_operations_that_come_together_share_a_commit(database: Database) -> None:
    await asyncio.gather(*(database.write(statement(INSERT, (f"{n:03}", b""))) for n in range(200)))

    assert len(await database.read(names)) == 200
    assert database.group_sizes.count <= 2


async def test_a_failing_operation_leaves_its_neighbours_alone(database: Database) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, ("half", b""))
        raise ValueError("no")

    results = await asyncio.gather(
        database.write(statement(INSERT, ("a", b""))),
        database.write(fails),
        database.write(statement(INSERT, ("a", b""))),  # the name is taken
        database.write(statement(INSERT, ("b", b""))),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [type(None), ValueError, sqlite3.IntegrityError, type(None)]
    assert await database.read(names) == ["a", "b"]


async def test_what_was_handed_in_is_committed_though_the_caller_is_gone(database: Database) -> None:
    committed = []
    call = asyncio.create_task(database.write(statement(INSERT, ("a", b"")), lambda _: committed.append("a")))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await database.write(statement(INSERT, ("b", b"")))

    assert await database.read(names) == ["a", "b"]
    assert committed == ["a"]


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(StoreUnavailable, match="read-only"):
        await database.read(statement(INSERT, ("a", b"")))


async def test_closing_waits_for_what_was_handed_in(tmp_path: Path) -> None:
    database = Database(tmp_path, VirtualClock())
    await database.open()
    call = asyncio.create_task(database.write(statement(INSERT, ("a", b""))))
    await asyncio.sleep(0)
    await database.close()
    await call

    with pytest.raises(StoreUnavailable, match="closed"):
        await database.write(statement(INSERT, ("b", b"")))
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.read(names)


async def test_a_second_daemon_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom tandem.queue.lock import DirectoryLock\n"
        "DirectoryLock(Path(sys.argv[1])).take()\nprint('taken', flush=True)\ntime.sleep(60)\n"
    )
    pipe = asyncio.subprocess.PIPE
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(tmp_path), stdout=pipe)
    assert other.stdout is not None
    await other.stdout.readline()
    with pytest.raises(DataUnusable, match=rf"used by another tandem \(pid {other.pid}\)"):
        await Database(tmp_path, VirtualClock()).open()
    other.kill()
    await other.wait()
    database = Database(tmp_path, VirtualClock())
    await database.open()
    await database.close()


async def test_a_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataUnusable, match="TANDEM_DATA_DIR"):
        await Database(tmp_path / "file" / "data", VirtualClock()).open()


async def test_commits_are_measured(database: Database) -> None:
    await database.write(statement(INSERT, ("a", b"")))
    await database.write(statement(INSERT, ("b", b"")))

    assert database.commit_seconds.count == 2
    assert 0 < database.commit_seconds.quantile(0.99) <= 5
    assert database.group_sizes.total == 2
