"""The durable inbox: every message once, from its arrival until it is in the store.

A message is known by (account, message key). The first copy becomes a row that waits for the writer; its key is
remembered long after the row is gone, so that the partner's copy, a redelivery or a history copy is a duplicate. A copy
that could not be decrypted is remembered apart and never counts as the first.

Where another instance runs the account, a message is *held back*: it does not go to the writer (see ``queue.held``).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import blake2s
from typing import Any

from tandem.clock import Clock
from tandem.errors import Overloaded
from tandem.message_row import message_of, sealed_row, standing_of
from tandem.model.ids import AccountId, MessageKey
from tandem.model.message import Message, RawEvent, StatusUpdate
from tandem.model.states import Slot
from tandem.queue import standings, unread
from tandem.queue.announcements import announce_message
from tandem.queue.database import Database
from tandem.queue.dead_letters import bury_message
from tandem.sqlite_schema import load_queries, seal

_SQL = load_queries("tandem.queue", "inbox")
_PUT, _REMEMBER, _FIND, _LEARN = _SQL["put"], _SQL["remember"], _SQL["find"], _SQL["learn"]
_NUMBER_OF, _RECOVERED, _UNDECRYPTABLE = _SQL["number_of"], _SQL["recovered"], _SQL["undecryptable"]
_SENT_FROM_HERE = 0
_STRETCH = 5_000
_DAY_MS = 86_400_000

Lookup = Callable[[str], str | None]
"""User part of a LID → user part of the phone-number address, if known."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message and the slot it came from (None: it was sent from here).

    ``aliases`` are other keys under which a copy may have come, because a person has two names. ``event`` is kept of a
    message that could not be decrypted.
    """

    message: Message
    slot: Slot | None
    aliases: tuple[MessageKey, ...] = ()
    undecryptable: bool = False
    event: RawEvent | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message on its way in: the pairs (LID, number) that it teaches, and its canonical form once they are known.

    ``held``: another instance runs the account, so it is not for us to write it or to tell of it.
    """

    account: AccountId
    pairs: tuple[tuple[str, str], ...]
    entry: Callable[[Lookup], Entry]
    held: bool = False


class Copy(Enum):
    FIRST = "first"
    DUPLICATE = "duplicate"
    UNDECRYPTABLE = "undecryptable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an arrival was. A duplicate from the partner slot has its lag behind the first copy, in milliseconds.

    ``held`` is the account for which a first copy is held back.
    """

    copy: Copy
    lag_ms: int | None = None
    held: AccountId | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A message that waits for the store. ``sequence`` orders all of them by arrival."""

    sequence: int
    message: Message


class Inbox:
    """Raises StoreUnavailable when the disk refuses, Overloaded at the bound; never takes a message silently.

    ``depth`` counts all messages in it, ``held_of`` those of them that are held back, by account.
    """

    def __init__(self, database: Database, clock: Clock, *, max_depth: int, dedupe_days: int) -> None:
        self.depth = 0
        self.held_of: Counter[AccountId] = Counter()
        self._oldest_ms: int | None = None
        self._database = database
        self._clock = clock
        self._max_depth = max_depth
        self._remembered_ms = dedupe_days * _DAY_MS
        self._pruned_to = b""
        self._listeners: list[Callable[[], None]] = []
        self._keepers: list[Callable[[AccountId], None]] = []

    @property
    def held(self) -> int:
        """How many messages are held back."""
        return self.held_of.total()

    @property
    def waiting(self) -> int:
        """How many messages wait for the writer."""
        return self.depth - self.held

    @property
    def oldest_age(self) -> float:
        """Seconds since the oldest message arrived that waits for the writer; 0 when none waits."""
        return 0.0 if self._oldest_ms is None else max(0.0, self._clock.now() - self._oldest_ms / 1000)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called on the event loop whenever there is news for the writer. It must not block."""
        self._listeners.append(listener)

    def subscribe_held(self, keeper: Callable[[AccountId], None]) -> None:
        """Have ``keeper`` called on the event loop when messages of an account were held back. It must not block."""
        self._keepers.append(keeper)

    async def restore(self) -> int:
        """Return how many messages wait from before the restart. Call once, before anything comes in."""
        self.depth, self._oldest_ms, self.held_of = await self._database.read(_found)
        return self.depth

    async def oldest_of_each(self) -> dict[AccountId, int]:
        """When the oldest message of each account arrived that waits for the writer, in Unix milliseconds."""
        return await self._database.read(
            lambda connection: {AccountId(name): at for name, at in connection.execute(_SQL["oldest_of_each"])}
        )

    async def put(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        """Make messages durable, in order. Returns, when they are on the disk, what each was."""
        self.refuse_when_full()
        now = self._clock.now()
        return await self._database.write(lambda connection: put(connection, arrivals, now), self.came_in)

    def refuse_when_full(self) -> None:
        if self.depth >= self._max_depth:
            raise Overloaded(f"the inbox holds {self.depth} messages that the store has not taken", retry_after=5.0)

    def came_in(self, verdicts: Iterable[Verdict]) -> None:
        """Account for committed arrivals. For operations that call ``put`` themselves."""
        first = [verdict for verdict in verdicts if verdict.copy is Copy.FIRST]
        held = Counter(verdict.held for verdict in first if verdict.held is not None)
        self.depth += len(first)
        self.held_of.update(held)
        if len(first) > held.total():
            if self._oldest_ms is None:
                self._oldest_ms = int(self._clock.now() * 1000)
            self._tell()
        for account in held:
            for keeper in self._keepers:
                keeper(account)

    def let_go(self, dropped: Counter[AccountId], released: Counter[AccountId], oldest_ms: int | None) -> None:
        """Account for messages that are held back no more; with released ones, for the oldest one that waits now."""
        self.depth -= dropped.total()
        self.held_of -= dropped + released
        if released:
            self._oldest_ms = oldest_ms
            self._tell()

    async def pending(self, limit: int, fits: Callable[[int, int, int], bool]) -> list[Pending]:
        """Return the oldest messages, in order, as long as ``fits(count, bytes, next bytes)``; at least one."""
        return await self._database.read(lambda connection: _pending(connection, limit, fits))

    async def settle(
        self,
        written: Sequence[Pending],
        poison: Sequence[tuple[Pending, str]] = (),
        told: Sequence[StatusUpdate] = (),
    ) -> None:
        """Take out what the store has, and move what it can never have to the dead letters with the reason.

        ``told`` are the standings of earlier messages that the store has, too.
        """
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> tuple[int, int | None]:
            for pending, reason in poison:
                bury_message(connection, pending.message, reason, now)
            for pending in written:
                if pending.message.from_me:
                    standings.written(connection, pending.message)
            for update in told:
                standings.told(connection, update)
            done = [pending.sequence for pending in (*written, *(each for each, _ in poison))]
            taken = connection.executemany(_SQL["take_out"], [(sequence,) for sequence in done]).rowcount
            return taken, oldest(connection)

        await self._database.write(operation, self._taken_out)

    async def undecryptable(self) -> int:
        """How many messages came in unreadable and have not been delivered readable since."""
        count = await self._database.read(lambda connection: _first(connection, _SQL["count_undecryptable"]))
        return count or 0

    async def prune(self) -> int:
        """Forget keys that are too old. Each call looks through the next stretch of them only: it must hold up nobody.

        Returns how many were forgotten.
        """
        before = int(self._clock.now() * 1000) - self._remembered_ms
        start = self._pruned_to

        def operation(connection: sqlite3.Connection) -> tuple[bytes, int]:
            connection.execute(_SQL["forget_undecryptable"], (before,))
            end = connection.execute(_SQL["stretch"], (start, _STRETCH)).fetchone()[0]
            if end is None:
                return b"", 0
            return bytes(end), connection.execute(_SQL["forget"], (start, end, before)).rowcount

        self._pruned_to, forgotten = await self._database.write(operation)
        return forgotten

    def _taken_out(self, result: tuple[int, int | None]) -> None:
        taken, self._oldest_ms = result
        self.depth -= taken

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def put(connection: sqlite3.Connection, arrivals: Sequence[Arrival], now: float) -> list[Verdict]:
    """Put arrivals into the inbox within the caller's transaction. ``now`` in Unix seconds."""
    return [_put(connection, arrival, now) for arrival in arrivals]


def put_again(connection: sqlite3.Connection, message: Message) -> None:
    """Put a message back that is known already, for a replay from the dead letters."""
    connection.execute(_PUT, (*sealed_row(message), 0))


def oldest(connection: sqlite3.Connection) -> int | None:
    """When the oldest message arrived that waits for the writer, in Unix milliseconds."""
    return _first(connection, _SQL["oldest"])


def look_up(connection: sqlite3.Connection, account: AccountId) -> Lookup:
    def number_of(lid: str) -> str | None:
        row = connection.execute(_NUMBER_OF, (account, lid)).fetchone()
        return None if row is None else str(row[0])

    return number_of


def _put(connection: sqlite3.Connection, arrival: Arrival, now: float) -> Verdict:
    for lid, number in arrival.pairs:
        row = (str(arrival.account), lid, number)
        connection.execute(_LEARN, (*row, seal(*row)))
    entry = arrival.entry(look_up(connection, arrival.account))
    message = entry.message
    digest = _digest(message.account, message.key)
    known = _known(connection, entry, digest)
    if known is not None:
        return _duplicate(entry, *known)
    if entry.undecryptable:
        known_as = (digest, str(message.account), str(message.chat), message.message_id, message.received_at)
        connection.execute(_UNDECRYPTABLE, (*known_as, seal(*known_as)))
        if entry.event is not None:
            unread.keep(connection, digest, entry.event)
        return Verdict(Copy.UNDECRYPTABLE)
    connection.execute(_PUT, (*sealed_row(message), int(arrival.held)))
    digests = [digest, *(_digest(message.account, alias) for alias in entry.aliases)]
    if connection.executemany(_RECOVERED, [(each,) for each in digests]).rowcount:
        unread.recovered(connection, digests)
    if message.from_me:
        message = replace(message, standing=standings.message_came(connection, message))
    if arrival.held:
        return Verdict(Copy.FIRST, held=message.account)
    announce_message(connection, message, now)
    return Verdict(Copy.FIRST)


def _known(connection: sqlite3.Connection, entry: Entry, digest: bytes) -> tuple[int, int] | None:
    """Slot and arrival of the first copy; without one, this one is remembered as the first if it can be read."""
    message = entry.message
    for alias in entry.aliases:
        row = connection.execute(_FIND, (_digest(message.account, alias),)).fetchone()
        if row is not None:
            return int(row[0]), int(row[1])
    if not entry.undecryptable:
        slot = entry.slot.number if entry.slot else _SENT_FROM_HERE
        if connection.execute(_REMEMBER, (digest, slot, message.received_at)).rowcount == 1:
            return None
    row = connection.execute(_FIND, (digest,)).fetchone()
    return None if row is None else (int(row[0]), int(row[1]))


def _duplicate(entry: Entry, first_slot: int, first_at: int) -> Verdict:
    partner = entry.slot is not None and first_slot not in {_SENT_FROM_HERE, entry.slot.number}
    return Verdict(Copy.DUPLICATE, entry.message.received_at - first_at if partner else None)


def _pending(connection: sqlite3.Connection, limit: int, fits: Callable[[int, int, int], bool]) -> list[Pending]:
    taken: list[Pending] = []
    size = 0
    cursor = connection.execute(_SQL["pending"], (limit,))
    for sequence, *row in cursor:
        message = message_with_standing(row)
        weight = weight_of(message)
        if taken and not fits(len(taken), size, weight):
            break
        taken.append(Pending(sequence, message))
        size += weight
    cursor.close()
    return taken


def message_with_standing(row: Sequence[Any]) -> Message:
    """A message of the inbox, after where it stands: status, delivered and read, if that is known."""
    status, delivered_at, read_at, *message = row
    return message_of(message, None if status is None else standing_of(status, delivered_at, read_at))


def weight_of(message: Message) -> int:
    """About how many bytes a message takes in a write: its content, and what its names and fields cost."""
    return len(message.raw) + 4 * len(message.text) + 512


def _found(connection: sqlite3.Connection) -> tuple[int, int | None, Counter[AccountId]]:
    held = {AccountId(account): int(count) for account, count in connection.execute(_SQL["held_of_each"])}
    return _first(connection, _SQL["depth"]) or 0, oldest(connection), Counter(held)


def _first(connection: sqlite3.Connection, query: str) -> int | None:
    row = connection.execute(query).fetchone()
    return None if row is None else int(row[0])


def _digest(account: AccountId, key: MessageKey) -> bytes:
    return blake2s(f"{account}\n{key}".encode(), digest_size=16).digest()
