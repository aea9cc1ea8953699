"""The embedded store: one SQLite file beside the queue, for everybody who has no Firestore."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tandem.clock import Clock
from tandem.message_row import message_of, sealed_row, standing_of
from tandem.model.account import Account
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId, ChatId, MessageKey, Number, message_key
from tandem.model.message import Message, StatusUpdate
from tandem.model.states import Slot
from tandem.sqlite_file import SqliteFile, open_reader, trouble, unavailable
from tandem.sqlite_schema import load_queries, load_schema
from tandem.store.port import Chat, Name, Poison, StoredMessage, display_name, name_from, preview

T = TypeVar("T")

_TITLE = "the store"
_SQL = load_queries("tandem.store", "store")
_SLOTS = {str(slot): slot for slot in Slot}
_EVENT_DAYS = 30
_DAY = 86_400.0
_END_OF_TIME = 2**62
SCHEMA = load_schema(
    "tandem.store",
    title=_TITLE,
    application_id=0x54414E53,
    lost="Start again to begin with an empty store; conversations that were stored stay in the damaged file.",
)


class SqliteStore:
    """``store.db`` in the data directory. One writer and one reader, each a thread of its own."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.path = directory / "store.db"
        self._clock = clock
        self._writer = ThreadPoolExecutor(1, "store-writer")
        self._reader = ThreadPoolExecutor(1, "store-reader")
        self._file: SqliteFile | None = None
        self._read_connection: sqlite3.Connection | None = None

    @property
    def name(self) -> str:
        return "sqlite"

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._file = await loop.run_in_executor(self._writer, SqliteFile, self.path, SCHEMA, self._clock.now())
        self._read_connection = await loop.run_in_executor(self._reader, open_reader, self.path)

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        file, self._file = self._file, None
        reader, self._read_connection = self._read_connection, None
        if reader is not None:
            await loop.run_in_executor(self._reader, reader.close)
        if file is not None:
            await loop.run_in_executor(self._writer, file.close)
        self._writer.shutdown(wait=False)
        self._reader.shutdown(wait=False)

    async def write(self, messages: Sequence[Message], updates: Sequence[StatusUpdate] = ()) -> Sequence[Poison]:
        """All of them in one transaction; what SQLite cannot hold is poison."""
        rows, poison = _rows(messages)
        stored_at = int(self._clock.now() * 1000)

        def operation(connection: sqlite3.Connection) -> None:
            newest: dict[tuple[AccountId, ChatId], Message] = {}
            names: dict[tuple[AccountId, ChatId], str] = {}
            for message, row in rows:
                standing = _standing(StatusUpdate(message.account, message.chat, message.key, message.standing))
                created = connection.execute(_SQL["create_message"], (*row, *standing[:3], stored_at))
                if created.rowcount == 1:
                    _note(message, newest, names)
                elif message.from_me:
                    connection.execute(_SQL["advance"], standing)
            connection.executemany(_SQL["advance"], [_standing(update) for update in updates])
            for place, message in newest.items():
                row = (*map(str, place), names.get(place, ""), preview(message), message.timestamp)
                connection.execute(_SQL["touch_chat"], row)

        await self._write(operation)
        return poison

    async def save_account(self, account: Account) -> None:
        row = (str(account.id), str(account.number), account.name, float(account.created_at))
        await self._write(lambda connection: connection.execute(_SQL["save_account"], row))

    async def account(self, account: AccountId) -> Account | None:
        found = await self._read(_SQL["account"], (str(account),))
        return next((Account(AccountId(each[0]), Number(each[1]), each[2], each[3]) for each in found), None)

    async def save_event(self, event: Event) -> None:
        """Keep an event for 30 days. Each event that is kept makes room by forgetting a few that are older."""
        row, now = _event_row(event), self._clock.now()

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute(_SQL["save_event"], row)
            connection.execute(_SQL["forget_events"], (now,))

        await self._write(operation)

    async def chats(self, account: AccountId, limit: int) -> Sequence[Chat]:
        found = await self._read(_SQL["chats"], (str(account), limit))
        return [Chat(ChatId(chat), display_name(chat, name), last, at) for chat, name, last, at in found]

    async def messages(
        self,
        account: AccountId,
        chat: ChatId,
        limit: int,
        before: int | None = None,
        before_key: MessageKey | None = None,
    ) -> Sequence[StoredMessage]:
        query = _SQL["messages"] if before_key is None else _SQL["messages_before"]
        until = _END_OF_TIME if before is None else before
        place = {"account": str(account), "chat": str(chat), "limit": limit, "before": until, "key": before_key}
        found = await self._read(query, place)
        return [StoredMessage(message_of(row[:-4], standing_of(*row[-4:-1])), row[-1]) for row in reversed(found)]

    async def find(self, account: AccountId, chat: ChatId, message_id: str) -> Sequence[StoredMessage]:
        low = message_key(message_id, from_me=False).removesuffix("in")
        place = {"account": str(account), "chat": str(chat), "message_id": message_id, "low": low, "high": f"{low}~"}
        found = await self._read(_SQL["find"], place)
        return [StoredMessage(message_of(row[:-4], standing_of(*row[-4:-1])), row[-1]) for row in found]

    async def present(self, names: Sequence[Name]) -> set[Name]:
        connection = self._read_connection
        if connection is None:
            raise unavailable(_TITLE, "it is closed")
        return await self._guarded(self._reader, _present, connection, names)

    async def events(
        self,
        limit: int,
        type: EventType | None = None,  # noqa: A002 - the field's name everywhere else
        account: AccountId | None = None,
    ) -> Sequence[Event]:
        wanted = {"now": self._clock.now(), "type": type and str(type), "account": account, "limit": limit}
        return [_event_of(row) for row in await self._read(_SQL["events"], wanted)]

    async def save_report(self, day: str, report: Mapping[str, object]) -> bool:
        await self._write(lambda connection: connection.execute(_SQL["save_report"], (day, json.dumps(report))))
        return await self.report(day) == report

    async def report(self, day: str) -> Mapping[str, object] | None:
        found = await self._read(_SQL["report"], (day,))
        return json.loads(found[0][0]) if found else None

    async def _write(self, operation: Callable[[sqlite3.Connection], object]) -> None:
        file = self._file
        if file is None:
            raise unavailable(_TITLE, "it is closed")
        await self._guarded(self._writer, _in_transaction, file, operation)

    async def _read(self, query: str, parameters: Any) -> list[Any]:
        connection = self._read_connection
        if connection is None:
            raise unavailable(_TITLE, "it is closed")
        return await self._guarded(self._reader, _fetch, connection, query, parameters)

    async def _guarded(self, thread: ThreadPoolExecutor, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, function, *arguments)
        except sqlite3.Error as error:
            raise unavailable(_TITLE, trouble(error) or f"it failed ({type(error).__name__})") from error


def _rows(messages: Sequence[Message]) -> tuple[list[tuple[Message, tuple[object, ...]]], list[Poison]]:
    """The rows to write, and what can be no row: text that is no Unicode, numbers beyond 64 bits."""
    rows, poison = [], []
    for message in messages:
        try:
            row = sealed_row(message)
            _check_range(message.timestamp, message.received_at)
        except (ValueError, TypeError, OverflowError) as error:
            poison.append(Poison(message.account, message.key, f"SQLite cannot hold it ({type(error).__name__})"))
        else:
            rows.append((message, row))
    return rows, poison


def _standing(update: StatusUpdate) -> tuple[object, ...]:
    standing = update.standing
    place = (str(update.account), str(update.chat), str(update.key))
    return (standing.status.number, standing.delivered_at, standing.read_at, *place)


def _check_range(*numbers: int) -> None:
    if any(not -(2**63) <= number < 2**63 for number in numbers):
        raise OverflowError


def _note(
    message: Message,
    newest: dict[tuple[AccountId, ChatId], Message],
    names: dict[tuple[AccountId, ChatId], str],
) -> None:
    """Remember what a batch's one write of a chat has to say: its newest message and the newest name."""
    place = (message.account, message.chat)
    if place not in newest or message.timestamp >= newest[place].timestamp:
        newest[place] = message
    if name := name_from(message):
        names[place] = name


def _in_transaction(file: SqliteFile, operation: Callable[[sqlite3.Connection], object]) -> None:
    with file.transaction() as connection:
        operation(connection)


def _fetch(connection: sqlite3.Connection, query: str, parameters: Any) -> list[Any]:
    return connection.execute(query, parameters).fetchall()


def _present(connection: sqlite3.Connection, names: Sequence[Name]) -> set[Name]:
    found = set()
    for name in names:
        with contextlib.suppress(UnicodeEncodeError):  # what SQLite cannot hold is not there
            if connection.execute(_SQL["present"], name).fetchone() is not None:
                found.add(name)
    return found


def _event_row(event: Event) -> tuple[object, ...]:
    return (
        event.id,
        str(event.type),
        event.account,
        str(event.slot) if event.slot else None,
        event.generation,
        event.reason,
        event.message,
        json.dumps(dict(event.data), default=str),
        float(event.timestamp),
        float(event.timestamp) + _EVENT_DAYS * _DAY,
        event.instance,
        event.correlation,
    )


def _event_of(row: Sequence[Any]) -> Event:
    identifier, kind, message, timestamp, account, slot, generation, reason, data, instance, correlation = row
    return Event(
        id=identifier,
        type=EventType(kind),
        message=message,
        timestamp=timestamp,
        account=account,
        slot=_SLOTS.get(slot),
        generation=generation,
        reason=reason,
        data=json.loads(data),
        instance=instance,
        correlation=correlation,
    )
