"""Outgoing messages that several instances share, as the rest of the cluster room sees them.

``FirestoreRows`` is the real one, ``MemoryRows`` its twin for unit tests and simulation. A document is the truth about
a message of which something is still to become; every change of it names the state that it was in before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tandem.cluster.port import Version
from tandem.model.cluster import NOBODY, InstanceId
from tandem.model.ids import AccountId
from tandem.model.outbox import IdempotencyKey, OutboxRow

KEYS_KEPT = 48 * 3600.0
"""Seconds for which an idempotency key means the message that it made."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who changed a document last, under which lease. Nobody, 0: it is as it was accepted."""

    holder: InstanceId = NOBODY
    generation: int = 0


@dataclass(frozen=True, slots=True)
class SeenRow:
    """A document, and which state of it. ``place`` orders an account's documents as they were accepted."""

    row: OutboxRow
    version: Version
    place: int
    stamp: Stamp = Stamp()


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed among an account's open documents; ``gone``: the ids of those that are open no more."""

    account: AccountId
    rows: Sequence[SeenRow] = ()
    gone: Sequence[str] = ()


class SharedRows(Protocol):
    """Every call ends within ``timeout`` seconds. StoreUnavailable from one that writes leaves open whether it did."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def create(
        self, row: OutboxRow, place: int, key: IdempotencyKey | None, now: float, timeout: float
    ) -> tuple[SeenRow, bool]:
        """Create a document, and remember what its key made; if that made one before, return that one and False.

        May be repeated after StoreUnavailable: it is the same document. ``now`` in Unix seconds. Raises Conflict if
        the key came with another request, Rejected for what no document can hold.
        """
        ...

    async def keyed(self, account: AccountId, key: IdempotencyKey, now: float, timeout: float) -> SeenRow | None:
        """Return what this request made before, if it did. Raises Conflict if the key came with another."""
        ...

    async def get(self, ids: Iterable[tuple[AccountId, str]], timeout: float) -> Mapping[str, SeenRow]:
        """Return the documents that exist, by the ids of their messages. Each costs one read, missing ones too."""
        ...

    async def page(self, account: AccountId, before: int | None, limit: int, timeout: float) -> Sequence[SeenRow]:
        """Return the newest documents before a place, newest first."""
        ...

    async def open_rows(self, account: AccountId, timeout: float) -> Sequence[SeenRow]:
        """Return the documents of which something is still to become, in the order in which they were accepted."""
        ...

    async def change(self, row: OutboxRow, expected: Version, stamp: Stamp, timeout: float) -> Version:
        """Let a document say what the row says. Raises LostRace if it is not in the expected state any more."""
        ...

    def watch(self, accounts: Sequence[AccountId]) -> AsyncGenerator[Change, None]:
        """Yield all open documents of each account once, then what changes, until it raises StoreUnavailable.

        A stream may die silently: nothing safe may hang on a change being seen. Close it when it is not followed to
        its end.
        """
        ...
