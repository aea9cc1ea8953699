"""Which data directory this is, and whether a process can have run beside another one on it."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.virtual_time import VirtualClock
from tandem.queue.database import Database
from tandem.queue.identity import identity
from tandem.queue.lock import DirectoryLock, DirectoryTaken


@asynccontextmanager
async def _opened(directory: Path) -> AsyncIterator[Database]:
    database = Database(directory, VirtualClock())
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def _who(directory: Path) -> tuple[str, str]:
    async with _opened(directory) as database:
        first = await identity(database)
        assert await identity(database) == first
        return first, database.origin


async def _origin_in_another_process(directory: Path) -> str:
    code = (
        "import sys\nfrom pathlib import Path\nfrom tandem.queue.lock import DirectoryLock\n"
        "lock = DirectoryLock(Path(sys.argv[1]))\nlock.take()\nprint(lock.origin)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(directory), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode().strip()


async def test_a_directory_keeps_its_name_and_its_origin_over_reopening(tmp_path: Path) -> None:
    name, origin = await _who(tmp_path)
    assert await _who(tmp_path) == (name, origin)
    assert await _origin_in_another_process(tmp_path) == origin
    assert len(bytes.fromhex(name)) == 8


async def test_every_directory_has_a_name_of_its_own(tmp_path: Path) -> None:
    (one, origin), (other, another) = await _who(tmp_path / "one"), await _who(tmp_path / "other")
    assert one != other
    assert origin != another


async def test_a_copy_has_the_name_of_the_original_and_betrays_itself_by_its_origin(tmp_path: Path) -> None:
    name, origin = await _who(tmp_path / "original")
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    assert await _who(tmp_path / "copy") == (name, (await _who(tmp_path / "copy"))[1])
    assert (await _who(tmp_path / "copy"))[1] != origin
    (tmp_path / "original").rename(tmp_path / "moved")
    assert await _who(tmp_path / "moved") == (name, origin)


async def test_a_directory_that_another_daemon_has_is_taken_until_that_one_lets_it_go(tmp_path: Path) -> None:
    async with _opened(tmp_path):
        with pytest.raises(DirectoryTaken, match="used by another tandem"):
            DirectoryLock(tmp_path).take()
        with pytest.raises(DirectoryTaken):
            await Database(tmp_path, VirtualClock()).open()
    DirectoryLock(tmp_path).take()
