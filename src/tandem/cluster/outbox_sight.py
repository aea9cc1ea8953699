"""What a Listen stream tells of an account's open messages, made into changes.

In production the stream tells what has changed; the emulator answers each change with RESET, everything, CURRENT.
"""

from __future__ import annotations

from typing import Any

import structlog
from google.cloud.firestore_v1 import types

from tandem.cluster import outbox_documents as documents
from tandem.cluster.outbox_port import Change, SeenRow
from tandem.cluster.port import Version
from tandem.errors import StoreUnavailable
from tandem.model.ids import AccountId

_log = structlog.get_logger(__name__)
_Kinds = types.TargetChange.TargetChangeType


class Sight:
    """What is known of an account's open documents, from one stream.

    Told are whole states only: what has gathered until the server says CURRENT, or says that nothing more comes now.
    """

    def __init__(self, account: AccountId) -> None:
        self._account = account
        self._versions: dict[str, Version] = {}
        self._before: dict[str, Version] | None = {}
        self._whole = False
        self._rows: list[SeenRow] = []
        self._gone: list[str] = []

    def told(self, answer: Any, number: int) -> Change | None:
        kind = answer.WhichOneof("response_type")
        if kind == "target_change":
            change = answer.target_change
            return self._target(change, number) if not change.target_ids or number in change.target_ids else None
        if kind == "document_change" and number in answer.document_change.target_ids:
            self._seen(answer.document_change.document)
        elif kind == "document_change" and number in answer.document_change.removed_target_ids:
            self._lost(answer.document_change.document.name)
        elif kind in {"document_delete", "document_remove"} and number in getattr(answer, kind).removed_target_ids:
            self._lost(getattr(answer, kind).document)
        return None if self._before is not None else self._take()

    def _target(self, change: Any, number: int) -> Change | None:
        if change.target_change_type == _Kinds.REMOVE and number in change.target_ids:
            raise StoreUnavailable("Firestore ended the watch of outgoing messages")
        if change.target_change_type == _Kinds.RESET:
            self._before, self._versions = self._versions, {}
        if change.target_change_type == _Kinds.CURRENT and self._before is not None:
            self._gone += [_id(name) for name in self._before if name not in self._versions]
            self._before, first, self._whole = None, not self._whole, True
            return self._take(empty=first)
        return None

    def _seen(self, document: Any) -> None:
        version, before = documents.version_of(document), (self._before or {}).get(document.name)
        if version != self._versions.get(document.name) and version != before:
            seen = understood(document)
            self._rows += [seen] if seen is not None else []
        self._versions[document.name] = version

    def _lost(self, name: str) -> None:
        if self._versions.pop(name, None) is not None:
            self._gone.append(_id(name))

    def _take(self, *, empty: bool = False) -> Change | None:
        rows, gone = sorted(self._rows, key=lambda seen: seen.place), self._gone
        self._rows, self._gone = [], []
        return Change(self._account, rows, gone) if rows or gone or empty else None


def understood(document: Any) -> SeenRow | None:
    """What no release has written is nobody's to send; it stays, and others go on."""
    try:
        return documents.row_of(document)
    except (KeyError, ValueError, TypeError) as error:
        _log.error("outbox_document_unreadable", outbox_id=_id(document.name), reason=type(error).__name__)
        return None


def _id(name: str) -> str:
    return name.rpartition("/")[2]
