"""The shared outbox in Firestore.

A message costs one write as it is accepted (two with a key), one as it is claimed, and one for each state that it comes
to. Watching costs one read for each open document as it begins, and one for each change.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from google.cloud.firestore_v1 import types

from tandem.cluster import outbox_documents as documents
from tandem.cluster.outbox_port import Change, SeenRow, Stamp
from tandem.cluster.outbox_sight import Sight, understood
from tandem.cluster.port import LostRace, Version
from tandem.errors import Conflict, PoisonMessage, Rejected, StoreUnavailable
from tandem.model.ids import AccountId
from tandem.model.outbox import IdempotencyKey, OutboxRow
from tandem.store.firestore.client import Client, Refused
from tandem.store.firestore.credentials import Target
from tandem.store.firestore.documents import Names
from tandem.store.firestore.values import usable_id
from tandem.store.firestore.verdicts import Kind
from tandem.store.port import Costs

_Query = types.StructuredQuery
_RACES = {Kind.EXISTS, Kind.LOST_RACE, Kind.MISSING}
_NEVER = {Kind.REFUSED, Kind.TOO_LARGE}


class FirestoreRows:
    """On a channel of its own. Open and used within one event loop."""

    def __init__(self, target: Target) -> None:
        self._client = Client(target)
        self._names = Names(target.path)

    @property
    def costs(self) -> Costs:
        return self._client.costs

    async def open(self) -> None:
        self._client.connect()

    async def close(self) -> None:
        await self._client.close()

    async def create(
        self, row: OutboxRow, place: int, key: IdempotencyKey | None, now: float, timeout: float
    ) -> tuple[SeenRow, bool]:
        async with _within(timeout):
            writes, replaces = [self._creation(row, place)], None
            while True:
                remembered = [documents.key_creation(self._names, row, key, now, replaces)] if key else []
                try:
                    version = await self._commit(writes + remembered, timeout)
                except LostRace:
                    earlier, replaces = await self._there(row, key, now, timeout)
                    if earlier is not None:
                        return earlier, earlier.row.id == row.id
                else:
                    return SeenRow(row, version, place), True

    async def keyed(self, account: AccountId, key: IdempotencyKey, now: float, timeout: float) -> SeenRow | None:
        async with _within(timeout):
            made, _ = await self._key(account, key, now, timeout)
            return None if made is None else (await self.get([(account, made)], timeout)).get(made)

    async def get(self, ids: Iterable[tuple[AccountId, str]], timeout: float) -> Mapping[str, SeenRow]:
        wanted = [
            documents.row_name(self._names, account, each)
            for account, each in ids
            if usable_id(account) and usable_id(each)
        ]
        found = await self._get(wanted, timeout) if wanted else {}
        return {seen.row.id: seen for document in found.values() if (seen := understood(document)) is not None}

    async def page(self, account: AccountId, before: int | None, limit: int, timeout: float) -> Sequence[SeenRow]:
        if not usable_id(account) or limit <= 0:
            return []
        order = {"field": {"field_path": "position"}, "direction": _Query.Direction.DESCENDING}
        query = _Query(from_=[{"collection_id": "outbox"}], order_by=[order], limit=limit)
        if before is not None:
            query.where = _field("position", "LESS_THAN", {"string_value": documents.position_of(before)})
        return await self._query(account, query, timeout)

    async def open_rows(self, account: AccountId, timeout: float) -> Sequence[SeenRow]:
        return sorted(await self._query(account, _open(), timeout), key=lambda seen: seen.place)

    async def change(self, row: OutboxRow, expected: Version, stamp: Stamp, timeout: float) -> Version:
        return await self._commit([documents.change(self._names, row, expected, stamp)], timeout)

    async def watch(self, accounts: Sequence[AccountId]) -> AsyncGenerator[Change, None]:
        sights = {number: Sight(account) for number, account in enumerate(accounts, 1)}
        stream: Any = self._client.listen([self._target(*each) for each in enumerate(accounts, 1)])
        try:
            async with aclosing(stream):
                async for answer in stream:
                    for change in [sight.told(answer, number) for number, sight in sights.items()]:
                        if change is not None:
                            yield change
        except Refused as refusal:
            raise refusal.verdict.unavailable() from None

    def _creation(self, row: OutboxRow, place: int) -> Any:
        try:
            return documents.creation(self._names, row, place)
        except PoisonMessage as error:
            raise Rejected(f"the message cannot be shared with other instances: {error}") from None

    async def _there(
        self, row: OutboxRow, key: IdempotencyKey | None, now: float, timeout: float
    ) -> tuple[SeenRow | None, Version | None]:
        """What was there before: this row itself, if its answer was lost, or what the key made; or an old key."""
        made, replaces = await self._key(row.account, key, now, timeout) if key is not None else (None, None)
        identifier = made or row.id
        return (await self.get([(row.account, identifier)], timeout)).get(identifier), replaces

    async def _key(
        self, account: AccountId, key: IdempotencyKey, now: float, timeout: float
    ) -> tuple[str | None, Version | None]:
        """The message that a key made, or the version of a key whose time is over."""
        found = await self._get([documents.key_name(self._names, account, key)], timeout)
        for document in found.values():
            remembered = documents.key_of(document, now)
            if remembered is None:
                return None, documents.version_of(document)
            if remembered[0] != key.request:
                raise Conflict("this idempotency key was used for another message")
            return remembered[1], None
        return None, None

    async def _commit(self, writes: Sequence[Any], timeout: float) -> Version:
        """Return the first document's new version. Raises LostRace, Rejected, StoreUnavailable."""
        try:
            first, *_ = await self._client.commit(writes, timeout)
        except Refused as refusal:
            if refusal.verdict.kind in _RACES:
                raise LostRace("another instance changed the message first") from None
            if refusal.verdict.kind in _NEVER:
                raise Rejected("the message cannot be shared with other instances: it is too large") from None
            raise refusal.verdict.unavailable() from None
        return first.seconds, first.nanos

    async def _get(self, names: Sequence[str], timeout: float) -> Mapping[str, Any]:
        try:
            return await self._client.get(names, timeout)
        except Refused as refusal:
            raise refusal.verdict.unavailable() from None

    async def _query(self, account: AccountId, query: Any, timeout: float) -> list[SeenRow]:
        try:
            found = await self._client.query(self._names.account(account), query, timeout)
        except Refused as refusal:
            raise refusal.verdict.unavailable() from None
        return [seen for document in found if (seen := understood(document)) is not None]

    def _target(self, number: int, account: AccountId) -> Any:
        query = types.Target.QueryTarget(parent=self._names.account(account), structured_query=_open())
        return types.Target(target_id=number, query=query)


def _open() -> Any:
    return _Query(from_=[{"collection_id": "outbox"}], where=_field("open", "EQUAL", {"boolean_value": True}))


def _field(name: str, operator: str, value: dict[str, object]) -> Any:
    filter_ = {"field": {"field_path": name}, "op": _Query.FieldFilter.Operator[operator], "value": value}
    return _Query.Filter(field_filter=filter_)


@asynccontextmanager
async def _within(timeout: float) -> AsyncIterator[None]:
    """Several calls in one: together no longer than ``timeout`` seconds. Raises StoreUnavailable."""
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError:
        raise StoreUnavailable("Firestore did not answer in time") from None
