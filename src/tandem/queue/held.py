"""Messages that are held back in the inbox, because another instance runs their account.

They leave it in one of two ways: dropped, when the store is known to have them, or released, and then they are like
any other message that waits for the writer.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tandem.clock import Clock
from tandem.model.ids import LID_SERVER, PEOPLE, USER_SERVER, AccountId, ChatId, MessageKey, message_key
from tandem.model.message import Message, Standing
from tandem.queue import standings
from tandem.queue.announcements import announce_message
from tandem.queue.database import Database
from tandem.queue.inbox import Inbox, message_with_standing, oldest
from tandem.sqlite_schema import load_queries

_SQL = load_queries("tandem.queue", "held")
_END_OF_TIME = 2**62

Name = tuple[AccountId, ChatId, MessageKey]


@dataclass(frozen=True, slots=True)
class Held:
    """A message that is held back. ``sequence`` names its row, ``received_at`` is in Unix seconds."""

    sequence: int
    name: Name
    received_at: float

    @property
    def account(self) -> AccountId:
        return self.name[0]


@dataclass(frozen=True, slots=True)
class _LetGo:
    """What was done, and when the oldest message arrived that waits for the writer then, if that may have changed."""

    dropped: Counter[AccountId]
    released: Counter[AccountId]
    oldest_ms: int | None


class HeldRows:
    """Raises StoreUnavailable when the disk refuses."""

    def __init__(self, database: Database, inbox: Inbox, clock: Clock) -> None:
        self._database = database
        self._inbox = inbox
        self._clock = clock

    async def due(self, latest: Mapping[AccountId, float], after: int, limit: int) -> list[Held]:
        """Return the next messages behind row ``after`` that were received at the ``latest`` then (Unix seconds)."""
        bounds = {account: int(min(at * 1000, _END_OF_TIME)) for account, at in latest.items()}
        wanted = {"latest": json.dumps(bounds), "after": after, "limit": limit}
        return await self._database.read(
            lambda connection: [
                Held(sequence, (AccountId(account), ChatId(chat), MessageKey(key)), received_at / 1000)
                for sequence, account, chat, key, received_at in connection.execute(_SQL["due"], wanted)
            ]
        )

    async def other_names(self, rows: Sequence[Held]) -> dict[Name, Held]:
        """Return the names under which an instance that knows less of the people's two names stored the messages."""
        return await self._database.read(
            lambda connection: {name: row for row in rows for name in _other_names(connection, row)}
        )

    async def settle(self, present: Iterable[Held], missing: Iterable[Held]) -> None:
        """Drop what is ``present`` in the store, release what is ``missing`` and announce it, in one transaction."""
        dropped, released, now = tuple(present), tuple(missing), self._clock.now()

        def operation(connection: sqlite3.Connection) -> _LetGo:
            gone = Counter(row.account for row in dropped if _drop(connection, row))
            freed = Counter(row.account for row in released if _release(connection, row, now))
            return _LetGo(gone, freed, oldest(connection) if freed else None)

        await self._database.write(
            operation, lambda done: self._inbox.let_go(done.dropped, done.released, done.oldest_ms)
        )


def _drop(connection: sqlite3.Connection, row: Held) -> bool:
    """What was known of it by receipts stays to be told, until the holder has surely done so."""
    message = _message(connection, row)
    if message is None:
        return False
    if message.from_me:
        standings.written(connection, replace(message, standing=Standing.first(from_me=True)))
    connection.execute(_SQL["drop"], (row.sequence,))
    return True


def _release(connection: sqlite3.Connection, row: Held, now: float) -> bool:
    message = _message(connection, row)
    if message is None:
        return False
    connection.execute(_SQL["release"], (row.sequence,))
    announce_message(connection, message, now)
    return True


def _message(connection: sqlite3.Connection, row: Held) -> Message | None:
    found = connection.execute(_SQL["message"], (row.sequence,)).fetchone()
    return None if found is None else message_with_standing(found)


def _other_names(connection: sqlite3.Connection, row: Held) -> list[Name]:
    message = _message(connection, row)
    if message is None:
        return []
    user, _, server = message.chat.partition("@")
    if server in PEOPLE:
        others = _namesakes(connection, message.account, user)
        return [(message.account, ChatId(f"{other}@{there}"), message.key) for other, there in others]
    if message.from_me:
        return []
    others = _namesakes(connection, message.account, message.sender.partition("@")[0])
    return [(message.account, message.chat, _member_key(message, other)) for other, _ in others]


def _namesakes(connection: sqlite3.Connection, account: AccountId, user: str) -> list[tuple[str, str]]:
    """The other user parts of a person's addresses, each with its server."""
    found = connection.execute(_SQL["other_names"], {"account": str(account), "user": user}).fetchall()
    both = {(lid, LID_SERVER) for lid, _ in found} | {(number, USER_SERVER) for _, number in found}
    return sorted(each for each in both if each[0] != user)


def _member_key(message: Message, user: str) -> MessageKey:
    return message_key(message.message_id, from_me=False, group=str(message.chat), participant=user)
