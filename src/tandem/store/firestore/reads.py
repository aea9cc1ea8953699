"""The reads of the API: one query each, and no index but those that Firestore makes by itself.

Only events of one type or one account need a composite index (config/firestore.indexes.json).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.cloud.firestore_v1 import types

from tandem.errors import StoreUnavailable
from tandem.model.account import Account
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId, ChatId, MessageKey, message_key
from tandem.store.firestore.client import Client, Refused
from tandem.store.firestore.documents import (
    EVENT_DAYS,
    Names,
    account_of,
    chat_of,
    event_of,
    message_of,
    report_of,
    start_of,
)
from tandem.store.firestore.values import MAX_NAME, fields_of, usable_id
from tandem.store.port import Chat, Name, StoredMessage

_Query = types.StructuredQuery
_ASCENDING, _DESCENDING = _Query.Direction.ASCENDING, _Query.Direction.DESCENDING
_DAY = 86_400
_MOST = 2**31 - 1
_MOST_OF_ONE_ID = 10
_MOST_AT_ONCE = 100
_LEAST = ("schemaVersion",)
"""A field to ask for when it only matters whether a document is there."""


class Reads:
    """``deadline`` in seconds holds for each call."""

    def __init__(self, client: Client, names: Names, deadline: float) -> None:
        self._client = client
        self._names = names
        self._deadline = deadline

    async def account(self, account: AccountId) -> Account | None:
        if not usable_id(account):
            return None
        name = self._names.account(account)
        try:
            document = (await self._client.get([name], self._deadline)).get(name)
        except Refused as refusal:
            raise refusal.verdict.unavailable() from None
        return None if document is None else account_of(document)

    async def chats(self, account: AccountId, limit: int) -> Sequence[Chat]:
        if not usable_id(account):
            return []
        query = _list("chats", "recency", _ASCENDING, limit)
        return [chat_of(document) for document in await self._query(self._names.account(account), query)]

    async def messages(
        self, account: AccountId, chat: ChatId, limit: int, before: int | None, before_key: MessageKey | None
    ) -> Sequence[StoredMessage]:
        if not (usable_id(account) and usable_id(chat)):
            return []
        query = _list("messages", "position", _DESCENDING, limit)
        if before_key is not None:
            end = await self._position(account, chat, before_key)
            if end is None:
                return []
            _where(query, _field("position", "LESS_THAN", end))
        elif before is not None:
            _where(query, _field("position", "LESS_THAN", start_of(before)))
        found = await self._query(self._names.chat(account, chat), query)
        return [message_of(document) for document in reversed(found)]

    async def find(self, account: AccountId, chat: ChatId, message_id: str) -> Sequence[StoredMessage]:
        if not (usable_id(account) and usable_id(chat)):
            return []
        low = message_key(message_id, from_me=False).removesuffix("in")  # keys are documents' names: always indexed
        query = _Query(from_=[{"collection_id": "messages"}], limit=_MOST_OF_ONE_ID)
        ends = (("GREATER_THAN", low), ("LESS_THAN", f"{low}~"))
        _where(query, *(_named(operator, self._names.message(account, chat, key)) for operator, key in ends))
        found = [message_of(document) for document in await self._query(self._names.chat(account, chat), query)]
        return [stored for stored in found if stored.message.message_id == message_id]

    async def present(self, names: Sequence[Name]) -> set[Name]:
        named = {self._names.message(*name): name for name in names if all(map(usable_id, name))}
        wanted = {document: name for document, name in named.items() if len(document.encode()) <= MAX_NAME}
        try:
            found = [await self._client.get(part, self._deadline, _LEAST) for part in _parts(list(wanted))]
        except Refused as refusal:
            raise _unavailable(refusal) from None
        return {wanted[document] for part in found for document in part}

    async def events(
        self, limit: int, now: float, type_: EventType | None, account: AccountId | None
    ) -> Sequence[Event]:
        """Those younger than 30 days at ``now`` (Unix seconds): TTL deletes late, and what expired is not shown."""
        if account is not None and not usable_id(account):
            return []
        query = _list("monitoring_events", "position", _DESCENDING, limit)
        oldest = start_of(int((now - EVENT_DAYS * _DAY) * 1000) + 1)
        filters = [_field("position", "GREATER_THAN_OR_EQUAL", oldest)]
        filters += [
            _field(name, "EQUAL", str(value)) for name, value in (("type", type_), ("account", account)) if value
        ]
        _where(query, *filters)
        return [event_of(document) for document in await self._query(self._names.root, query)]

    async def report(self, day: str) -> Mapping[str, object] | None:
        name = self._names.report(day)
        try:
            found = await self._client.get([name], self._deadline)
        except Refused as refusal:
            raise _unavailable(refusal) from None
        return report_of(found[name]) if name in found else None

    async def _position(self, account: AccountId, chat: ChatId, key: MessageKey) -> str | None:
        if not usable_id(key):
            return None
        name = self._names.message(account, chat, key)
        try:
            found = await self._client.get([name], self._deadline, ("position",))
        except Refused as refusal:
            raise _unavailable(refusal) from None
        return fields_of(found[name]).get("position") if name in found else None

    async def _query(self, parent: str, query: Any) -> list[Any]:
        if not query.limit:
            return []
        try:
            return await self._client.query(parent, query, self._deadline)
        except Refused as refusal:
            raise _unavailable(refusal) from None


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _MOST_AT_ONCE):
        yield names[start : start + _MOST_AT_ONCE]


def _list(collection: str, field: str, direction: Any, limit: int) -> Any:
    """All documents of a collection by one field, at most ``limit`` (negative: all, as in SQL)."""
    name = {"field": {"field_path": "__name__"}, "direction": direction}
    return _Query(
        from_=[{"collection_id": collection}],
        order_by=[{"field": {"field_path": field}, "direction": direction}, name],
        limit=min(limit, _MOST) if limit >= 0 else _MOST,
    )


def _field(name: str, operator: str, value: str) -> Any:
    return _Query.Filter(
        field_filter={
            "field": {"field_path": name},
            "op": _Query.FieldFilter.Operator[operator],
            "value": {"string_value": value},
        }
    )


def _named(operator: str, name: str) -> Any:
    return _Query.Filter(
        field_filter={
            "field": {"field_path": "__name__"},
            "op": _Query.FieldFilter.Operator[operator],
            "value": {"reference_value": name},
        }
    )


def _where(query: Any, *filters: Any) -> None:
    query.where = _Query.Filter(composite_filter={"op": _Query.CompositeFilter.Operator.AND, "filters": list(filters)})


def _unavailable(refusal: Refused) -> StoreUnavailable:
    return refusal.verdict.unavailable()
