"""The queue's database: one writer thread with group commit, one reader thread, one owner.

Callers hand in operations, functions of a connection. While one transaction is being synced the next operations gather;
then they share one transaction and one sync. A caller is resumed only after the sync of the transaction that holds its
operation.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tandem.clock import Clock
from tandem.queue.lock import DirectoryLock
from tandem.queue.statistics import Histogram
from tandem.sqlite_file import SqliteFile, open_reader, trouble, unavailable
from tandem.sqlite_schema import load_schema

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

_TITLE = "the queue"
_LARGEST_GROUP = 2_048
SCHEMA = load_schema(
    "tandem.queue",
    title=_TITLE,
    application_id=0x54414E51,
    lost=(
        "Start again to begin with an empty queue: adding a number again finds its paired session again, and what a "
        "device host had journaled is imported; messages that waited in the damaged file stay in it."
    ),
)


def statement(sql: str, *parameters: tuple[object, ...]) -> Operation[None]:
    """An operation that runs one statement with each of the parameter rows."""

    def run(connection: sqlite3.Connection) -> None:
        connection.executemany(sql, parameters)

    return run


@dataclass(slots=True)
class _Pending(Generic[T]):
    """An operation, who waits for it, since when (monotonic), and what to do on the loop once it is durable."""

    operation: Operation[T]
    future: asyncio.Future[T]
    since: float
    committed: Callable[[T], None] | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    error: Exception | None = None


class Database:
    """``queue.db`` in the data directory. Open it before anything else, close it after everything else."""

    def __init__(self, directory: Path, clock: Clock, lock: DirectoryLock | None = None) -> None:
        """``lock``: the directory's, if the caller has taken it already; ``close`` releases it in any case."""
        self.path = directory / "queue.db"
        self.commit_seconds = Histogram((0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0))
        self.group_sizes = Histogram((1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000))
        self.failed_commits = 0
        self._clock = clock
        self._lock = lock or DirectoryLock(directory)
        self._writer = ThreadPoolExecutor(1, "queue-writer")
        self._reader = ThreadPoolExecutor(1, "queue-reader")
        self._file: SqliteFile | None = None
        self._read_connection: sqlite3.Connection | None = None
        self._pending: list[_Pending[Any]] = []
        self._committing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take the directory and open the file. Raises DataUnusable, saying what to do (see SqliteFile)."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._writer, self._lock.take)
            now = self._clock.now()
            self._file = await loop.run_in_executor(self._writer, SqliteFile, self.path, SCHEMA, now)
            self._read_connection = await loop.run_in_executor(self._reader, open_reader, self.path)
        except BaseException:
            await self.close()
            raise

    @property
    def origin(self) -> str:
        """See DirectoryLock."""
        return self._lock.origin

    async def close(self) -> None:
        """Commit what was handed in, then let the file and the directory go."""
        while self._committing is not None:
            await asyncio.wait([self._committing])
        loop = asyncio.get_running_loop()
        file, self._file = self._file, None
        reader, self._read_connection = self._read_connection, None
        if reader is not None:
            await loop.run_in_executor(self._reader, reader.close)
        if file is not None:
            await loop.run_in_executor(self._writer, file.close)
        self._lock.release()
        self._writer.shutdown(wait=False)
        self._reader.shutdown(wait=False)

    async def write(self, operation: Operation[T], committed: Callable[[T], None] | None = None) -> T:
        """Run an operation in a transaction; return what it returned once that is on the disk.

        The operation runs in another thread, and again if a neighbour of its group failed: it must do nothing but use
        the connection. What it raises undoes it alone and is raised here. ``committed`` is called on the event loop
        with its result even if this call was cancelled meanwhile. Raises StoreUnavailable when the file cannot be
        written; then nothing is known to be durable and it makes sense to try again.
        """
        if self._file is None:
            raise unavailable(_TITLE, "it is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(operation, future, self._clock.monotonic(), committed))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_groups())
        return await future

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation on a connection that sees every commit and cannot write."""
        if self._read_connection is None:
            raise unavailable(_TITLE, "it is closed")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._reader, operation, self._read_connection)
        except sqlite3.Error as error:
            if problem := trouble(error):
                raise unavailable(_TITLE, problem) from error
            raise

    async def _commit_groups(self) -> None:
        try:
            while self._pending:
                group, self._pending = self._pending[:_LARGEST_GROUP], self._pending[_LARGEST_GROUP:]
                await self._commit(group)
        finally:
            self._committing = None

    async def _commit(self, group: list[_Pending[Any]]) -> None:
        operations = [pending.operation for pending in group]
        loop = asyncio.get_running_loop()
        try:
            outcomes = await loop.run_in_executor(self._writer, self._run, operations)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers have to hear of it
            self.failed_commits += 1
            problem = trouble(error)
            failure = unavailable(_TITLE, problem) if problem else error
            outcomes = [_Outcome(error=failure)] * len(group)
        self.commit_seconds.add(self._clock.monotonic() - group[0].since)
        self.group_sizes.add(len(group))
        for pending, outcome in zip(group, outcomes, strict=True):
            _resume(pending, outcome)

    def _run(self, operations: list[Operation[Any]]) -> list[_Outcome]:
        """Run a group at once; only if one of them fails, again with each in a savepoint of its own."""
        if self._file is None:
            raise unavailable(_TITLE, "it is closed")
        try:
            with self._file.transaction() as connection:
                return [_Outcome(operation(connection)) for operation in operations]
        except Exception as error:
            if trouble(error):
                raise
            if len(operations) == 1:
                return [_Outcome(error=error)]
        with self._file.transaction() as connection:
            return [_run_apart(connection, operation) for operation in operations]


def _run_apart(connection: sqlite3.Connection, operation: Operation[Any]) -> _Outcome:
    connection.execute("SAVEPOINT operation")
    try:
        outcome = _Outcome(operation(connection))
    except Exception as error:
        if trouble(error):
            raise
        connection.execute("ROLLBACK TO operation")
        outcome = _Outcome(error=error)
    connection.execute("RELEASE operation")
    return outcome


def _resume(pending: _Pending[Any], outcome: _Outcome) -> None:
    """Tell the caller; the effects of a commit count whether or not the caller still waits."""
    error = outcome.error
    if error is None and pending.committed is not None:
        try:
            pending.committed(outcome.value)
        except Exception as failure:  # noqa: BLE001 - belongs to this caller, not to the group
            error = failure
    if pending.future.done():
        return
    if error is None:
        pending.future.set_result(outcome.value)
    else:
        pending.future.set_exception(error)
