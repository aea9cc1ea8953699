"""The store in Firestore, as the rest of Tandem sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tandem.clock import Clock
from tandem.errors import Misconfigured, PoisonMessage, StoreUnavailable
from tandem.model.account import Account
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId, ChatId, MessageKey
from tandem.model.message import Message, StatusUpdate
from tandem.settings import Settings
from tandem.store.firestore.client import Client, Refused
from tandem.store.firestore.credentials import DEFAULT_DATABASE, Target, target_of
from tandem.store.firestore.documents import Names, account_write, event_write, report_write
from tandem.store.firestore.reads import Reads
from tandem.store.firestore.sink import CHECK, Sink
from tandem.store.firestore.verdicts import Kind
from tandem.store.port import Chat, Costs, Name, Poison, StoredMessage

_FIRST_LOOK = 3.0
_SHARE = 0.9
"""Of the deadline that the caller keeps, so that it is ours that passes first and says what was the matter."""


class FirestoreStore:
    """Open and used within one event loop. ``deadline`` in seconds holds for every call.

    ``max_documents`` and ``max_bytes`` bound one request; a chat's write comes on top. Costs: one write a message, one
    write a chat in a batch, one read a chat in the life of a process, nothing while idle.
    """

    def __init__(
        self,
        target: Target,
        clock: Clock,
        *,
        deadline: float = 10.0,
        max_documents: int = 100,
        max_bytes: int = 3_500_000,
    ) -> None:
        names = Names(target.path)
        seconds = deadline * _SHARE
        self._target = target
        self._clock = clock
        self._deadline = seconds
        self._names = names
        self._client = Client(target)
        self._reads = Reads(self._client, names, seconds)
        self._sink = Sink(self._client, names, clock, deadline=seconds, documents=max_documents, size=max_bytes)
        self._writing = asyncio.Lock()

    @classmethod
    def of(
        cls, settings: Settings, clock: Clock, *, project: str = "", database: str = DEFAULT_DATABASE
    ) -> FirestoreStore:
        """Return the store that the settings name, not opened yet. Raises Misconfigured, without any secret."""
        writer = settings.writer
        return cls(
            target_of(settings, project=project, database=database),
            clock,
            deadline=writer.deadline,
            max_documents=writer.max_documents,
            max_bytes=writer.max_bytes,
        )

    @property
    def name(self) -> str:
        return "firestore"

    @property
    def costs(self) -> Costs:
        """What was asked of Firestore since the start."""
        return self._client.costs

    async def open(self) -> None:
        """Look once whether the database lets us in; it costs one read.

        Raises Misconfigured if it does not. A Firestore that does not answer stops nobody: messages wait in the queue.
        """
        self._client.connect()
        problem = await self._first_look()
        if problem is not None:
            await self._client.close()
            raise Misconfigured(problem)

    async def close(self) -> None:
        await self._client.close()

    async def write(self, messages: Sequence[Message], updates: Sequence[StatusUpdate] = ()) -> Sequence[Poison]:
        """One bounded effort. Raises StoreUnavailable if it was not enough; calling again goes on where it ended."""
        async with self._writing:
            return await self._sink.write(messages, updates)

    async def save_account(self, account: Account) -> None:
        await self._commit(account_write(self._names, account))

    async def account(self, account: AccountId) -> Account | None:
        return await self._reads.account(account)

    async def save_event(self, event: Event) -> None:
        """Keep an event for 30 days; the same event again is success. Raises PoisonMessage if it can never be kept."""
        await self._commit(event_write(self._names, event, self._sink.next_sequence()))

    async def chats(self, account: AccountId, limit: int) -> Sequence[Chat]:
        return await self._reads.chats(account, limit)

    async def messages(
        self,
        account: AccountId,
        chat: ChatId,
        limit: int,
        before: int | None = None,
        before_key: MessageKey | None = None,
    ) -> Sequence[StoredMessage]:
        return await self._reads.messages(account, chat, limit, before, before_key)

    async def find(self, account: AccountId, chat: ChatId, message_id: str) -> Sequence[StoredMessage]:
        return await self._reads.find(account, chat, message_id)

    async def present(self, names: Sequence[Name]) -> set[Name]:
        """One read each."""
        return await self._reads.present(names)

    async def events(
        self,
        limit: int,
        type: EventType | None = None,  # noqa: A002 - the field's name everywhere else
        account: AccountId | None = None,
    ) -> Sequence[Event]:
        return await self._reads.events(limit, self._clock.now(), type, account)

    async def save_report(self, day: str, report: Mapping[str, object]) -> bool:
        return await self._commit(report_write(self._names, day, report))

    async def report(self, day: str) -> Mapping[str, object] | None:
        return await self._reads.report(day)

    async def _commit(self, write: Any) -> bool:
        """Return whether it changed anything: what exists already is not created again."""
        try:
            await self._client.commit([write], self._deadline)
        except Refused as refusal:
            verdict = refusal.verdict
            if verdict.kind in {Kind.REFUSED, Kind.TOO_LARGE}:
                raise PoisonMessage(verdict.text) from None
            if verdict.kind is not Kind.EXISTS:
                raise verdict.unavailable() from None
            return False
        return True

    async def _first_look(self) -> str | None:
        """What is wrong with this database for good, in words, or None."""
        timeout = min(_FIRST_LOOK, self._deadline)
        try:
            await self._client.get([self._names.account(CHECK)], timeout)
        except Refused as refusal:
            return None if refusal.verdict.kind is Kind.SLOW else self._named(refusal.verdict.text)
        except StoreUnavailable:
            return None
        return None

    def _named(self, problem: str) -> str:
        return f"{problem} (project {self._target.project}, database {self._target.database})"
