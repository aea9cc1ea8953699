"""What a Listen stream on the two collections tells, put together to what is there.

Firestore tells what is there, then CURRENT, then only what changes; its emulator tells everything again at each change,
after a RESET. In both, a consistent state is reached whenever a read time comes that names no target: only then is
anything passed on, so that a commit over several documents is seen whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from google.cloud.firestore_v1 import types

from tandem.cluster.documents import (
    INSTANCES,
    LEASES,
    Unreadable,
    collection_of,
    id_of,
    instance_name,
    instance_of,
    lease_of,
    version_of,
)
from tandem.cluster.port import SeenInstance, SeenLease, Sight, Version
from tandem.errors import StoreUnavailable
from tandem.model.cluster import NOBODY, InstanceId
from tandem.model.ids import AccountId
from tandem.store.firestore.documents import Names
from tandem.store.firestore.verdicts import BY_NUMBER, judge

_Change = types.TargetChange.TargetChangeType
_NUMBERS = {INSTANCES: 1, LEASES: 2}
_log = structlog.get_logger(__name__)


def targets(names: Names, without: InstanceId = NOBODY) -> list[Any]:
    """Return what to listen to: both collections, of which the heartbeat of one instance may be left out."""
    queries = {each: types.StructuredQuery(from_=[{"collection_id": each}]) for each in _NUMBERS}
    if without:
        queries[INSTANCES].where = types.StructuredQuery.Filter(
            field_filter={
                "field": {"field_path": "__name__"},
                "op": types.StructuredQuery.FieldFilter.Operator.NOT_EQUAL,
                "value": {"reference_value": instance_name(names, without)},
            }
        )
    return [
        types.Target(
            target_id=number,
            query=types.Target.QueryTarget(parent=names.root, structured_query=queries[collection]),
        )
        for collection, number in _NUMBERS.items()
    ]


class Reader:
    """Makes sights of documents. One that cannot be read is left out, and named in the log once.

    Nobody can take such a lease for free: whoever believes that there is none loses the race to create it, and whoever
    has seen it when it could be read no longer knows its version.
    """

    def __init__(self) -> None:
        self._unreadable: set[str] = set()

    def sight(self, documents: Iterable[Any], gone: Iterable[str] = (), *, whole: bool = False) -> Sight:
        """Return a sight of these documents; ``gone`` are the full names of those that are not there."""
        instances: dict[InstanceId, SeenInstance | None] = {}
        leases: dict[AccountId, SeenLease | None] = {}
        for name in gone:
            self._unreadable.discard(name)
            if collection_of(name) == LEASES:
                leases[AccountId(id_of(name))] = None
            else:
                instances[InstanceId(id_of(name))] = None
        for document in documents:
            seen = self._read(document)
            if isinstance(seen, SeenLease):
                leases[seen.lease.account] = seen
            elif seen is not None:
                instances[seen.instance.id] = seen
        return Sight(instances, leases, whole=whole)

    def _read(self, document: Any) -> SeenInstance | SeenLease | None:
        name = document.name
        try:
            seen = lease_of(document) if collection_of(name) == LEASES else instance_of(document)
        except Unreadable as problem:
            if name not in self._unreadable:
                place = f"{collection_of(name)}/{id_of(name)}"
                _log.error("cluster_document_unreadable", document=place, reason=str(problem))
                self._unreadable.add(name)
            return None
        self._unreadable.discard(name)
        return seen


class Picture:
    """Takes the answers of one stream, in order."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._there: dict[int, set[str]] = {number: set() for number in _NUMBERS.values()}
        self._current: set[int] = set()
        self._versions: dict[str, Version] = {}
        self._news: dict[str, Any] = {}
        self._told = False

    def take(self, answer: Any) -> Sight | None:
        """Return what is new, if the answer completes it. Raises StoreUnavailable if the stream cannot be believed."""
        kind = answer.WhichOneof("response_type")
        if kind == "target_change":
            return self._changed(answer.target_change)
        if kind == "document_change":
            self._documented(answer.document_change)
        elif kind in {"document_delete", "document_remove"}:
            self._gone(getattr(answer, kind).document)
        elif kind == "filter" and answer.filter.count != len(self._there.get(answer.filter.target_id, ())):
            raise StoreUnavailable("the stream of changes has missed something")
        return None

    def _documented(self, change: Any) -> None:
        document = change.document
        if change.removed_target_ids:
            self._gone(document.name)
            return
        self._there[_NUMBERS[collection_of(document.name)]].add(document.name)
        version = version_of(document.update_time)
        if self._versions.get(document.name) != version:
            self._versions[document.name] = version
            self._news[document.name] = document

    def _gone(self, name: str) -> None:
        self._there[_NUMBERS[collection_of(name)]].discard(name)
        if self._versions.pop(name, None) is not None:
            self._news[name] = None

    def _changed(self, change: Any) -> Sight | None:
        numbers = set(change.target_ids) or set(self._there)
        if change.target_change_type == _Change.REMOVE:
            raise judge(BY_NUMBER.get(change.cause.code), change.cause.message).unavailable()
        if change.target_change_type == _Change.RESET:
            self._current -= numbers
            self._there.update((number, set()) for number in numbers)
        elif change.target_change_type == _Change.CURRENT:
            self._current |= numbers
            self._forget(numbers)
        consistent = change.HasField("read_time") and not change.target_ids
        return self._settled() if consistent and len(self._current) == len(self._there) else None

    def _forget(self, numbers: set[int]) -> None:
        """What was not told again after a reset is gone."""
        there = {name for number in numbers for name in self._there[number]}
        for name in [name for name in self._versions if _NUMBERS[collection_of(name)] in numbers]:
            if name not in there:
                self._gone(name)

    def _settled(self) -> Sight | None:
        news, self._news = self._news, {}
        if self._told and not news:
            return None
        whole, self._told = not self._told, True
        gone = () if whole else [name for name, document in news.items() if document is None]
        return self._reader.sight((each for each in news.values() if each is not None), gone, whole=whole)
