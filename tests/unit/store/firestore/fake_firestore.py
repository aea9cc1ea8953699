"""Firestore's BatchWrite and BatchGetDocuments in memory, as the official emulator was seen to do them, and its faults.

``plan`` is asked before each write request, ``read_plan`` before each read, what goes wrong with it: nothing, LOST
(done, the answer lost), CUT (not done), SLOW (not done, out of time), or HALF (every other write done, the rest
answered with ABORTED).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.timestamp_pb2 import Timestamp

from tandem.store.firestore.client import Outcome, Refused
from tandem.store.firestore.values import Document
from tandem.store.firestore.verdicts import judge

_Code = grpc.StatusCode


class Fault(Enum):
    NONE = auto()
    LOST = auto()
    CUT = auto()
    SLOW = auto()
    HALF = auto()


class FakeFirestore:
    def __init__(
        self, plan: Callable[[], Fault] = lambda: Fault.NONE, read_plan: Callable[[], Fault] = lambda: Fault.NONE
    ) -> None:
        self.documents: dict[str, Any] = {}
        self.requests: list[int] = []
        self.reads = 0
        self.created: list[str] = []
        self.refusing_all = False
        self._plan = plan
        self._read_plan = read_plan
        self._time = 0

    async def batch_write(self, writes: Sequence[Any], timeout: float) -> list[Outcome]:
        assert timeout > 0
        names = [write.update.name for write in writes]
        assert len(set(names)) == len(names), "a document twice in one request"
        self.requests.append(len(writes))
        fault = self._plan()
        self._fail(fault, before=True)
        if self.refusing_all or any("poison" in name for name in names):
            raise Refused(judge(_Code.INVALID_ARGUMENT, "Resource id is invalid"))
        skip = 2 if fault is Fault.HALF else 0
        outcomes = [
            Outcome(judge(_Code.ABORTED, "")) if skip and index % skip else self._apply(write)
            for index, write in enumerate(writes)
        ]
        self._fail(fault, before=False)
        return outcomes

    async def get(self, names: Iterable[str], timeout: float, fields: Sequence[str] = ()) -> Mapping[str, Any]:
        del fields
        assert timeout > 0
        wanted = list(names)
        self.reads += len(wanted)
        self._fail(self._read_plan(), before=True)
        if self.refusing_all:
            raise Refused(judge(_Code.INVALID_ARGUMENT, "Resource name is invalid"))
        return {name: self.documents[name] for name in wanted if name in self.documents}

    def field(self, name: str, field: str) -> Any:
        value = self.documents[name].fields[field]
        return getattr(value, value.WhichOneof("value_type"))

    def _fail(self, fault: Fault, *, before: bool) -> None:
        if before and fault is Fault.CUT:
            raise judge(_Code.UNAVAILABLE, "").unavailable()
        if before and fault is Fault.SLOW:
            raise Refused(judge(_Code.DEADLINE_EXCEEDED, ""))
        if not before and fault is Fault.LOST:
            raise judge(_Code.UNAVAILABLE, "").unavailable()

    def _apply(self, write: Any) -> Outcome:
        name = write.update.name
        known = self.documents.get(name)
        condition = write.current_document
        if condition.WhichOneof("condition_type") == "exists" and known is not None:
            return Outcome(judge(_Code.ALREADY_EXISTS, ""))
        if condition.HasField("update_time") and (known is None or known.update_time != condition.update_time):
            return Outcome(judge(_Code.FAILED_PRECONDITION, ""))
        self._time += 1
        document = self.documents[name] = _merged(name, known, write)
        document.update_time.CopyFrom(Timestamp(seconds=self._time))
        self.created.append(name)
        return Outcome(None, document.update_time)


def _merged(name: str, known: Any, write: Any) -> Any:
    document = Document(name=name)
    if known is not None:
        document.CopyFrom(known)
    for field, value in write.update.fields.items():
        document.fields[field].CopyFrom(value)
    for transform in write.update_transforms:
        kind = transform.WhichOneof("transform_type")
        value, target = getattr(transform, kind).integer_value, document.fields[transform.field_path]
        old = target.integer_value if target.WhichOneof("value_type") else value
        target.integer_value = {"maximum": max, "minimum": min}[kind](old, value)
    return document
