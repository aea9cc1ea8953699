"""Python values as Firestore's values and back, with the limits that Firestore sets. Source: Quotas and limits.

The protobuf classes are used bare: the wrappers around them cost some 40 times as much per document, on the event loop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.cloud.firestore_v1 import types

from tandem.errors import PoisonMessage

Write: Any = type(types.Write.pb(types.Write()))
Document: Any = type(types.Document.pb(types.Document()))

MAX_ID = 1_500
MAX_NAME = 6_144
MAX_VALUE = 1_048_487
MAX_DOCUMENT = 1_048_576
MAX_DEPTH = 20
_RESERVED = re.compile(r"__.*__", re.DOTALL)
_INT64 = range(-(2**63), 2**63)


def usable_id(text: str) -> bool:
    """Whether the text can be one part of a document's name."""
    if not text or "/" in text or text in {".", ".."} or _RESERVED.fullmatch(text):
        return False
    try:
        return len(text.encode()) <= MAX_ID
    except UnicodeEncodeError:
        return False


def fill(document: Any, values: Mapping[str, object]) -> None:
    """Put the values into a document's fields.

    Raises PoisonMessage, naming the field and not its content, for what Firestore could never hold.
    """
    for name, value in values.items():
        try:
            _put(document.fields[name], value, 1)
        except (ValueError, TypeError) as error:
            problem = str(error) if type(error) is ValueError else type(error).__name__
            raise PoisonMessage(f"Firestore cannot hold its {name} ({problem})") from None
    size = document_size(document.name, values)
    if size > MAX_DOCUMENT:
        raise PoisonMessage(f"it would be a document of {size} bytes, Firestore's limit is {MAX_DOCUMENT}")


def read(value: Any) -> Any:
    """Return one value as Python's. Timestamps come as aware datetimes."""
    kind = value.WhichOneof("value_type")
    if kind == "map_value":
        return {name: read(inner) for name, inner in value.map_value.fields.items()}
    if kind == "array_value":
        return [read(inner) for inner in value.array_value.values]
    if kind == "timestamp_value":
        return value.timestamp_value.ToDatetime(tzinfo=UTC)
    return None if kind in {None, "null_value"} else getattr(value, kind)


def fields_of(document: Any) -> dict[str, Any]:
    return {name: read(value) for name, value in document.fields.items()}


def document_size(name: str, values: Mapping[str, object]) -> int:
    """Return the size in bytes that Firestore charges a document with."""
    path = name.partition("/documents/")[2]
    return sum(len(part.encode()) + 1 for part in path.split("/")) + 16 + _size(values) + 32


def _put(target: Any, value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, Mapping):
        _put_map(target, value, depth)
    elif isinstance(value, list | tuple):
        _put_list(target, value, depth)
    else:
        _put_plain(target, value)


def _put_plain(target: Any, value: object) -> None:
    if value is None:
        target.null_value = 0
    elif isinstance(value, bool):
        target.boolean_value = value
    elif isinstance(value, int):
        if value not in _INT64:
            raise ValueError("beyond 64 bits")
        target.integer_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, datetime):
        target.timestamp_value.FromDatetime(value)
    elif isinstance(value, str | bytes):
        _put_bytes(target, value)
    else:
        raise TypeError


def _put_bytes(target: Any, value: str | bytes) -> None:
    encoded = value.encode() if isinstance(value, str) else value
    if len(encoded) > MAX_VALUE:
        raise ValueError(f"{len(encoded)} bytes, the limit is {MAX_VALUE}")
    if isinstance(value, str):
        target.string_value = str(value)
    else:
        target.bytes_value = value


def _put_map(target: Any, value: Mapping[Any, object], depth: int) -> None:
    target.map_value.SetInParent()
    for name, inner in value.items():
        if not isinstance(name, str) or not name or _RESERVED.fullmatch(name) or len(name.encode()) > MAX_ID:
            raise ValueError("a name in it is empty, reserved or too long")
        _put(target.map_value.fields[name], inner, depth + 1)


def _put_list(target: Any, value: Sequence[object], depth: int) -> None:
    target.array_value.SetInParent()
    for inner in value:
        if isinstance(inner, list | tuple):
            raise ValueError("a list directly in a list")  # noqa: TRY004 - the type is fine, the place is not
        _put(target.array_value.values.add(), inner, depth + 1)


def _size(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode()) + 1
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(str(name).encode()) + 1 + _size(inner) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return sum(_size(inner) for inner in value)
    return 1 if value is None or isinstance(value, bool) else 8
