"""A full disk: a refusal that says so, nothing acknowledged is lost, and work goes on when there is space again."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from support.virtual_time import VirtualClock
from tandem.errors import StoreUnavailable
from tandem.model.message import Message
from tandem.queue.queue import Queue
from tandem.store.sqlite import SqliteStore
from unit.queue.parts import ACCOUNT, ANN, accept_text, arrival, message, open_queue, waiting

LIMIT = 1_500_000


class SmallDisk(Protocol):
    """A directory that takes about a megabyte and a half, until it is relieved."""

    directory: Path

    def relieve(self) -> None: ...


class LimitedFiles:
    """No file may grow: what everybody can do. The error is another one (EFBIG) than that of a full disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, self._before[1]))

    def relieve(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)

    def remove(self) -> None:
        self.relieve()


class FullDisk:
    """A file system in memory with hardly any room (ENOSPC). Needs root."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "small"
        self.directory.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={2 * LIMIT}", "tandem-test", str(self.directory)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        self._ballast = self.directory / "ballast"
        self._ballast.write_bytes(bytes(LIMIT))

    def relieve(self) -> None:
        self._ballast.unlink()

    def remove(self) -> None:
        subprocess.run(["umount", str(self.directory)], check=True)


@pytest.fixture(params=["file size limit", "full file system"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    if request.param == "full file system" and os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    disk = LimitedFiles(tmp_path) if request.param == "file size limit" else FullDisk(tmp_path)
    yield disk
    disk.remove()


def content(number: int) -> Message:
    return message(number, raw=bytes(20_000))


async def fill_inbox(queue: Queue, acknowledged: list[str]) -> None:
    for number in range(10_000):
        await queue.inbox.put([arrival(content(number))])
        acknowledged.append(content(number).text)


async def fill_store(store: SqliteStore, written: list[int]) -> None:
    for number in range(10_000):
        await store.write([content(number)])
        written.append(number)


async def test_a_full_disk_refuses_loses_nothing_and_recovers(disk: SmallDisk) -> None:
    acknowledged: list[str] = []
    async with open_queue(disk.directory) as queue:
        with pytest.raises(StoreUnavailable, match="disk") as refused:
            await fill_inbox(queue, acknowledged)
        assert len(acknowledged) > 10
        assert refused.value.retry_after > 0
        depth = queue.inbox.depth
        assert depth == len(acknowledged)
        with pytest.raises(StoreUnavailable):
            await accept_text(queue, ANN, "x" * 100_000)
        assert queue.outbox.depth == 0
        assert await waiting(queue) == acknowledged  # what is there can still be read
        assert queue.database.failed_commits >= 2

        disk.relieve()
        await queue.inbox.put([arrival(content(10_001))])
        acknowledged.append(content(10_001).text)
        await accept_text(queue, ANN, "x" * 100_000)
    async with open_queue(disk.directory) as queue:
        assert await waiting(queue) == acknowledged
        assert queue.outbox.depth == 1


async def test_a_full_store_is_an_outage_and_recovers(disk: SmallDisk) -> None:
    store = SqliteStore(disk.directory, VirtualClock())
    await store.open()
    numbers: list[int] = []
    with pytest.raises(StoreUnavailable, match="disk"):
        await fill_store(store, numbers)
    written = len(numbers)
    assert written > 10
    assert len(await store.messages(ACCOUNT, ANN, 10_000)) == written
    disk.relieve()
    await store.write([content(number) for number in range(written + 5)])
    await store.close()

    again = SqliteStore(disk.directory, VirtualClock())
    await again.open()
    assert len(await again.messages(ACCOUNT, ANN, 10_000)) == written + 5
    await again.close()
