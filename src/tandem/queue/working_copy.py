"""The outbox as the working copy of documents that several instances share. Part of the outbox.

``policy.shared_outbox`` decides what becomes of a row and its document; here it is decided and done within one
transaction, so that no echo, receipt or expiry comes in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tandem.clock import Clock
from tandem.model.ids import AccountId
from tandem.model.outbox import IdempotencyKey, OutboxRow
from tandem.model.states import OutboxState, Slot
from tandem.policy.outbox import Input
from tandem.policy.shared_outbox import INTERRUPTED, OPEN, Act, Document, Local, decide
from tandem.queue import outbox_rows as rows
from tandem.queue.database import Database
from tandem.queue.outbox import Outbox, claim
from tandem.queue.outbox_rows import IN_STEP, SQL, Move

_GONE = "its document was deleted by somebody"


@dataclass(frozen=True, slots=True)
class Kept:
    """A row and what is known of its document: 0 none, 1 equal, more: moved since."""

    row: OutboxRow
    mark: int

    @property
    def local(self) -> Local:
        return Local(self.row.state, self.mark > rows.NO_DOCUMENT, self.mark > IN_STEP)


@dataclass(frozen=True, slots=True)
class News:
    """A document as a row, and what the policy has to know of it."""

    row: OutboxRow
    document: Document


@dataclass(frozen=True, slots=True)
class Taken:
    """What was done about a document; ``move`` of the row, if it moved or came."""

    act: Act
    move: Move | None = None


class WorkingCopy:
    """Raises StoreUnavailable when the disk refuses; what raised was not done."""

    def __init__(self, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock

    async def row(self, outbox_id: str) -> Kept | None:
        return await self._database.read(lambda connection: _kept(connection, outbox_id))

    async def open_rows(self, account: AccountId) -> Sequence[Kept]:
        """Return those of which something is still to become, in order."""
        return await self._select("open_rows", str(account))

    async def moved(self, limit: int, after: int = 0) -> Sequence[tuple[int, Kept]]:
        """Return rows that have moved since they were equal to their documents, of all accounts, with their places."""

        def operation(connection: sqlite3.Connection) -> list[tuple[int, Kept]]:
            found = connection.execute(SQL["moved_rows"], (after, limit)).fetchall()
            return [(int(each[0]), _kept_of(each[1:])) for each in found]

        return await self._database.read(operation)

    async def key_of(self, outbox_id: str) -> IdempotencyKey | None:
        """Return the idempotency key that made a row here, if one did."""
        found = await self._database.read(lambda connection: connection.execute(SQL["key_of"], (outbox_id,)).fetchone())
        return None if found is None else IdempotencyKey(found[0], bytes(found[1]))

    async def absorb(self, news: Sequence[News], generation: int) -> Sequence[Taken]:
        """Bring rows in step with documents, in order, under the lease of this generation."""
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> list[Taken]:
            return [_absorb(connection, each, generation, now) for each in news]

        return await self._database.write(operation, self._absorbed)

    async def claim(self, outbox_id: str, slot: Slot | None) -> OutboxRow:
        """Commit that the library is about to be called: the document says so already.

        Raises Conflict if the row is not queued any more, or old.
        """
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> OutboxRow:
            after = claim(connection, outbox_id, slot, now).after
            connection.execute(SQL["set_mark"], (IN_STEP, outbox_id))
            return after

        return await self._database.write(operation)

    async def acted(self, before: OutboxRow, after: OutboxRow) -> OutboxRow:
        """Do to a row what was done to its document, unless evidence came meanwhile. Returns the row as it is now."""

        def operation(connection: sqlite3.Connection) -> Move | None:
            kept = _kept(connection, before.id)
            if kept is None:
                return None
            if kept.row.state is not before.state:
                connection.execute(SQL["has_moved"], (before.id,))
                return Move(kept.row, kept.row)
            return _adopt(connection, kept.row, after, IN_STEP)

        move = await self._database.write(operation, lambda move: self._outbox.moved([move] if move else []))
        return after if move is None else move.after

    async def in_step(self, outbox_id: str, mark: int) -> None:
        """Note that the document says what the row said when it bore this mark."""
        await self._database.write(lambda connection: connection.execute(SQL["in_step"], (outbox_id, mark)))

    async def has_document(self, outbox_id: str) -> None:
        """Note that a row has a document, which may say less than the row by now."""
        await self._database.write(lambda connection: connection.execute(SQL["has_moved"], (outbox_id,)))

    async def end(self, outbox_id: str) -> None:
        """Never send a row whose document is gone."""
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> list[Move]:
            kept = _kept(connection, outbox_id)
            if kept is None or kept.row.state not in OPEN:
                return []
            after = replace(kept.row, state=OutboxState.CANCELLED, reason=_GONE, updated_at=now, ended_at=now)
            return [_adopt(connection, kept.row, after, IN_STEP)]

        await self._database.write(operation, self._outbox.moved)

    async def forget(self, account: AccountId | None, *, idle: bool = False) -> int:
        """Forget rows of which something is still to become and that have documents; returns how many they were.

        ``account`` None: of all. ``idle``: only those that wait, and of which nothing is known here that is not in
        their documents.
        """

        def operation(connection: sqlite3.Connection) -> list[str]:
            parameters = {"account": account, "idle": idle}
            found = [str(each[0]) for each in connection.execute(SQL["forgettable"], parameters)]
            connection.executemany(SQL["forget_key"], [(each,) for each in found])
            connection.executemany(SQL["forget_row"], [(each,) for each in found])
            return found

        forgotten: list[str] = await self._database.write(operation, self._outbox.forgotten)
        return len(forgotten)

    async def _select(self, query: str, *parameters: object) -> Sequence[Kept]:
        def operation(connection: sqlite3.Connection) -> list[Kept]:
            return [_kept_of(each) for each in connection.execute(SQL[query], parameters).fetchall()]

        return await self._database.read(operation)

    def _absorbed(self, taken: Iterable[Taken]) -> None:
        moves = [each.move for each in taken if each.move is not None]
        self._outbox.moved(moves)
        for move in moves:
            if move.after.state is OutboxState.QUEUED:
                self._outbox.came(move.after)


def _absorb(connection: sqlite3.Connection, news: News, generation: int, now: float) -> Taken:
    kept = _kept(connection, news.row.id)
    act = decide(news.document, None if kept is None else kept.local, generation)
    if act in {Act.IMPORT_QUEUED, Act.IMPORT_UNKNOWN}:
        return Taken(act, _import(connection, news.row, _as_here(news.row, act, now), now))
    if kept is None or act is Act.STALE:
        return Taken(act)
    if act in {Act.ADOPT, Act.ADOPT_UNKNOWN}:
        return Taken(act, _take_over(connection, kept.row, news.row, _as_here(news.row, act, now), now))
    connection.execute(SQL["has_moved" if act is Act.MIRROR_UP else "has_document"], (kept.row.id,))
    return Taken(act)


def _import(connection: sqlite3.Connection, document: OutboxRow, row: OutboxRow, now: float) -> Move:
    """A row that this instance answers for from now on; what it changes has to be written to the document."""
    rows.insert(connection, row, IN_STEP + (row.state is not document.state))
    return Move(document, rows.with_early_evidence(connection, row, now).after)


def _take_over(
    connection: sqlite3.Connection, before: OutboxRow, document: OutboxRow, row: OutboxRow, now: float
) -> Move:
    row = replace(row, message_id=row.message_id or before.message_id)
    equal = (row.state, row.message_id) == (document.state, document.message_id)
    _adopt(connection, before, row, IN_STEP + (not equal))
    return Move(before, rows.with_early_evidence(connection, row, now).after)


def _as_here(document: OutboxRow, act: Act, now: float) -> OutboxRow:
    """The document's row as it is here. Attempts until now are none that our devices' key stores answer for."""
    row = replace(document, foreign_since=0.0, foreign_attempts=document.attempts)
    if act not in {Act.IMPORT_UNKNOWN, Act.ADOPT_UNKNOWN}:
        return row
    if row.state is OutboxState.SENDING:
        row = rows.moved(row, Input.RESTARTED, now)
        row = replace(row, reason=INTERRUPTED, foreign_attempts=row.attempts)
    return replace(row, foreign_since=now)


def _adopt(connection: sqlite3.Connection, before: OutboxRow, after: OutboxRow, mark: int) -> Move:
    rows.save(connection, after)
    connection.execute(SQL["set_mark"], (mark, after.id))
    return Move(before, after)


def _kept(connection: sqlite3.Connection, outbox_id: str) -> Kept | None:
    found = connection.execute(SQL["kept_row"], (outbox_id,)).fetchone()
    return None if found is None else _kept_of(found)


def _kept_of(found: Sequence[object]) -> Kept:
    mark, *row = found
    return Kept(rows.row_of(row), int(str(mark)))
