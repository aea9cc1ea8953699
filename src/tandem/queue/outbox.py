"""The durable outbox: a message is on the disk before it counts as accepted, and so is every step of its way.

Implements the API's ``Outgoing``. A row is named by its id for people and by its secret for WhatsApp: the secret
travels in the message, so that the echo on the account's other device names the row.
"""

from __future__ import annotations

import heapq
import hmac
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tandem.clock import Clock, Random
from tandem.errors import Conflict, NotFound, Overloaded, Rejected
from tandem.model.ids import AccountId, ChatId
from tandem.model.outbox import Content, IdempotencyKey, IfUnknown, OutboxRow, SendOutcome, SendResult, Target, Wanted
from tandem.model.states import OutboxState, Slot
from tandem.policy.outbox import Input
from tandem.queue import outbox_rows as rows
from tandem.queue.database import Database
from tandem.queue.inbox import Inbox, Verdict
from tandem.queue.outbox_content import dump
from tandem.queue.outbox_rows import SQL, Move
from tandem.queue.own_messages import keep_sent
from tandem.queue.references import known
from tandem.queue.statistics import Took, nobody
from tandem.sqlite_schema import seal

_KEY_BYTES = 32
_KEYS_KEPT = 48 * 3600.0
_RECEIPTS_KEPT = 24 * 3600.0
_ECHOES_KEPT, _MOST_ECHOES = 48 * 3600.0, 100_000
_ROWS_KEPT = 30 * 24 * 3600.0
_NOTHING = (0.0, 0.0)
_WAITING = frozenset({OutboxState.QUEUED, OutboxState.SENDING})


@dataclass(frozen=True, slots=True)
class _Recorded:
    move: Move
    kept: list[Verdict]


class Outbox:
    """Raises StoreUnavailable when the disk refuses; what raised was not done."""

    def __init__(
        self, database: Database, inbox: Inbox, clock: Clock, random: Random, *, max_backlog: int, expiry: float
    ) -> None:
        self.sent: Counter[AccountId] = Counter()
        self.took: Took = nobody
        self.shared = False
        """Whether other instances send for these accounts, too."""
        self._database = database
        self._inbox = inbox
        self._clock = clock
        self._random = random
        self._max_backlog = max_backlog
        self._expiry = expiry
        self._key = b""
        self._waiting: dict[str, tuple[float, float]] = {}
        self._expiries: list[tuple[float, str]] = []
        self._listeners: list[Callable[[AccountId], None]] = []

    @property
    def depth(self) -> int:
        """Messages that wait to be sent or are being sent."""
        return len(self._waiting)

    @property
    def oldest_age(self) -> float:
        """Seconds since the oldest of them was accepted; 0 when none waits."""
        oldest, _ = next(iter(self._waiting.values()), (None, None))
        return 0.0 if oldest is None else max(0.0, self._clock.now() - oldest)

    @property
    def overdue(self) -> bool:
        """Whether a message that waits has reached its age. Known without asking the disk."""
        while self._expiries and self._waiting.get(self._expiries[0][1], _NOTHING)[1] != self._expiries[0][0]:
            heapq.heappop(self._expiries)
        return bool(self._expiries) and self._expiries[0][0] <= self._clock.now()

    def subscribe(self, listener: Callable[[AccountId], None]) -> Callable[[], None]:
        """Have ``listener`` called on the event loop when an account may have something to send. It must not block.

        Returns what ends it.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def restore(self) -> int:
        """Settle what a restart interrupted and return how many messages wait. Call once, before anything connects."""
        now = self._clock.now()
        fresh = secrets.token_bytes(_KEY_BYTES)

        def operation(connection: sqlite3.Connection) -> tuple[bytes, list[tuple[str, float, float]]]:
            rows.restart(connection, now, None)
            return _key(connection, fresh), connection.execute(SQL["waiting"]).fetchall()

        self._key, waiting = await self._database.write(operation)
        for identifier, created_at, expires_at in waiting:
            self._waits(identifier, created_at, expires_at)
        return len(self._waiting)

    async def accept(
        self,
        account: AccountId,
        chat: ChatId,
        content: Content,
        key: IdempotencyKey | None = None,
        *,
        expires_in: float | None = None,
        if_unknown: IfUnknown = IfUnknown.RESEND,
    ) -> tuple[OutboxRow, bool]:
        """Commit a message for sending. With a key that was used in the last 48 hours: the row it made, and False.

        ``expires_in`` seconds it is given up if it was not sent; None: the setting's. Raises Conflict if the key came
        with another request, Overloaded when the account's backlog is full, Rejected for what is no text.
        """
        try:
            dump(content)
        except UnicodeEncodeError:
            raise Rejected("the message is no valid Unicode text") from None
        row = self._new_row(account, chat, content, self._expiry if expires_in is None else expires_in, if_unknown)

        def operation(connection: sqlite3.Connection) -> tuple[OutboxRow, bool]:
            if key is not None:
                earlier = _earlier(connection, account, key)
                if earlier is not None:
                    return earlier, False
                key_row = (str(account), key.text, key.request, row.id, row.created_at)
                connection.execute(SQL["remember_key"], (*key_row, seal(*key_row)))
            self._refuse_when_full(connection, account)
            rows.insert(connection, row)
            return row, True

        return await self._database.write(operation, self._accepted)

    async def repeated(self, account: AccountId, key: IdempotencyKey) -> OutboxRow | None:
        """Return the row that this request made before, if it did. Raises Conflict if the key came with another."""
        return await self._database.read(lambda connection: _earlier(connection, account, key))

    async def get(self, outbox_id: str) -> OutboxRow:
        row = await self._database.read(lambda connection: rows.find(connection, "id", outbox_id))
        if row is None:
            raise NotFound("there is no such outgoing message")
        return row

    async def counts(self) -> Mapping[OutboxState, int]:
        """How many rows are in each state."""
        found = await self._database.read(lambda connection: connection.execute(SQL["counts"]).fetchall())
        return {rows.STATES[state]: count for state, count in found}

    async def known(self, account: AccountId, chat: ChatId, message_id: str) -> Sequence[Target]:
        """Return the chat's messages of this id that were sent from here or are not in the store yet."""
        return await self._database.read(lambda connection: known(connection, account, chat, message_id))

    async def page(self, wanted: Wanted, limit: int) -> tuple[Sequence[OutboxRow], int | None]:
        """Return rows, newest first, and where the next page begins, None when there is none."""
        return await self._database.read(lambda connection: rows.page(connection, wanted, limit))

    async def cancel(self, outbox_id: str) -> OutboxRow:
        """Do not send a message that is queued. Raises Conflict for any other, saying in which state it is."""
        return await self._act(outbox_id, Input.CANCEL)

    async def resend(self, outbox_id: str) -> OutboxRow:
        """Queue an unknown send again, with its whole time before it, on the operator's word: it may arrive twice.

        Raises Conflict if it is not unknown.
        """
        return await self._act(outbox_id, Input.RESEND)

    async def give_up(self, outbox_id: str) -> OutboxRow:
        """Never send an unknown one again. Raises Conflict if it is not unknown."""
        return await self._act(outbox_id, Input.GIVE_UP)

    async def _act(self, outbox_id: str, happened: Input) -> OutboxRow:
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> Move:
            row = _row(connection, outbox_id)
            if happened is not Input.RESEND:
                return rows.move(connection, row, happened, now)
            renewed = now + row.expires_at - row.created_at
            return rows.move(connection, row, happened, now, expires_at=renewed, message_id="")

        return (await self._database.write(operation, lambda move: self.moved([move]))).after

    async def sendable(self, account: AccountId, hold: float, busy: Iterable[ChatId] = ()) -> OutboxRow | None:
        """Return the account's oldest queued row, None if nothing may go.

        Left out are the chats in ``busy``, and those in which an earlier message is being sent, or became unknown less
        than ``hold`` seconds ago.
        """
        now, chats = self._clock.now(), tuple(busy)
        return await self._database.read(lambda connection: rows.sendable(connection, account, now, now - hold, chats))

    async def conversed(self, account: AccountId, chat: ChatId) -> bool:
        """Whether the chat has been written to before, or its other side is known from messages that came in."""
        wanted = {"account": str(account), "chat": str(chat), "user": chat.partition("@")[0]}
        return await self._database.read(
            lambda connection: bool(connection.execute(SQL["conversed"], wanted).fetchone()[0])
        )

    async def interrupted(self, account: AccountId) -> None:
        """Make an account's sends that nobody works on any more unknown. Only while no dispatcher of it runs."""
        now = self._clock.now()
        await self._database.write(lambda connection: rows.restart(connection, now, account), self.moved)

    async def mark_sending(self, outbox_id: str, slot: Slot | None) -> OutboxRow:
        """Commit that the library is about to be called. Raises Conflict if the row is not queued any more, or old."""
        now = self._clock.now()
        return (await self._database.write(lambda connection: claim(connection, outbox_id, slot, now))).after

    async def record(self, outbox_id: str, result: SendResult) -> Move:
        """Commit what a send came to. What the server took becomes part of the conversation in the same instant."""
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> _Recorded:
            move = rows.record(connection, _row(connection, outbox_id), result, now)
            accepted = result.outcome is SendOutcome.ACCEPTED and bool(move.after.message_id)
            return _Recorded(move, keep_sent(connection, move.after, result.timestamp, now) if accepted else [])

        return (await self._database.write(operation, self._recorded)).move

    async def expire(self) -> Sequence[Move]:
        """Give up on what is still queued after its time."""
        now = self._clock.now()
        return await self._database.write(lambda connection: rows.expire(connection, now), self.moved)

    async def prune(self) -> None:
        """Forget idempotency keys, unclaimed receipts and echoes, and finished rows that are old."""
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute(SQL["forget_keys"], (now - _KEYS_KEPT,))
            connection.execute(SQL["forget_receipts"], (now - _RECEIPTS_KEPT,))
            connection.execute(SQL["forget_echoes"], {"before": now - _ECHOES_KEPT, "most": _MOST_ECHOES})
            connection.execute(SQL["forget_rows"], (now - _ROWS_KEPT,))

        await self._database.write(operation)

    def moved(self, moves: Iterable[Move]) -> None:
        """Account for committed moves. For operations that move rows themselves (echoes and receipts)."""
        for move in moves:
            row = move.after
            if row.state in _WAITING:
                self._waits(row.id, row.created_at, row.expires_at)
            else:
                self._waiting.pop(row.id, None)
            if move.newly_sent:
                self.sent[row.account] += 1
                self.took(row.account, "outbound", row.updated_at - row.created_at)
            if move.entered and row.state is not OutboxState.SENDING:
                self._rouse(row.account)

    def forgotten(self, outbox_ids: Iterable[str]) -> None:
        """Account for rows that were deleted. For operations that delete rows themselves."""
        for outbox_id in outbox_ids:
            self._waiting.pop(outbox_id, None)

    def came(self, row: OutboxRow) -> None:
        """Account for a committed row that is to be sent. For operations that insert rows themselves."""
        self._waits(row.id, row.created_at, row.expires_at)
        self._rouse(row.account)

    def proven(self, moves: Iterable[Move], kept: Iterable[Verdict]) -> None:
        """Account for committed moves, and for the messages that were kept because of them."""
        self.moved(moves)
        self._inbox.came_in(kept)

    def _accepted(self, result: tuple[OutboxRow, bool]) -> None:
        row, new = result
        if new:
            self.came(row)

    def _waits(self, identifier: str, created_at: float, expires_at: float) -> None:
        if identifier not in self._waiting:
            self._waiting[identifier] = (created_at, expires_at)
            heapq.heappush(self._expiries, (expires_at, identifier))

    def _recorded(self, recorded: _Recorded) -> None:
        self.moved([recorded.move])
        self._inbox.came_in(recorded.kept)

    def _rouse(self, account: AccountId) -> None:
        for listener in tuple(self._listeners):
            listener(account)

    async def refuse_when_full(self, account: AccountId) -> None:
        """Raise Overloaded when the account's backlog is full."""
        await self._database.read(lambda connection: self._refuse_when_full(connection, account))

    def _refuse_when_full(self, connection: sqlite3.Connection, account: AccountId) -> None:
        waiting = connection.execute(SQL["backlog"], (str(account),)).fetchone()[0]
        if waiting >= self._max_backlog:
            raise Overloaded(f"{waiting} messages of this account wait to be sent", retry_after=5.0)

    def _new_row(
        self, account: AccountId, chat: ChatId, content: Content, expires_in: float, if_unknown: IfUnknown
    ) -> OutboxRow:
        now = float(self._clock.now())
        identifier = self._random.token()
        return OutboxRow(
            id=identifier,
            account=account,
            chat=chat,
            content=content,
            secret=hmac.digest(self._key, identifier.encode(), "sha256"),
            state=OutboxState.QUEUED,
            reason="",
            created_at=now,
            expires_at=now + expires_in,
            updated_at=now,
            if_unknown=if_unknown,
        )


def claim(connection: sqlite3.Connection, outbox_id: str, slot: Slot | None, now: float) -> Move:
    """Mark a row as being sent. Raises Conflict if it is not queued any more, or old."""
    row = _row(connection, outbox_id)
    if row.expires_at <= now:
        raise Conflict("its time is over")
    return rows.move(connection, row, Input.CLAIM, now, slot=slot, foreign_since=0.0)


def _row(connection: sqlite3.Connection, outbox_id: str) -> OutboxRow:
    row = rows.find(connection, "id", outbox_id)
    if row is None:
        raise NotFound("there is no such outgoing message")
    return row


def _earlier(connection: sqlite3.Connection, account: AccountId, key: IdempotencyKey) -> OutboxRow | None:
    """The row that this idempotency key made, if it was used and the row still exists."""
    found = connection.execute(SQL["find_key"], (str(account), key.text)).fetchone()
    if found is None:
        return None
    if found[1] != key.request:
        raise Conflict("this idempotency key was used for another message")
    return _row(connection, found[0])


def _key(connection: sqlite3.Connection, fresh: bytes) -> bytes:
    """The key of all secrets: made once, kept with the rows that depend on it."""
    found = connection.execute(SQL["secret"], ("outbox",)).fetchone()
    if found is not None:
        return bytes(found[0])
    connection.execute(SQL["save_secret"], ("outbox", fresh, seal("outbox", fresh)))
    return fresh
