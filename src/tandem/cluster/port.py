"""Where instances meet, as the rest of the cluster room sees it: two collections of small documents with versions.

``FirestoreMeeting`` is the real one, ``MemoryMeeting`` its twin for unit tests and simulation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tandem.errors import Transient
from tandem.model.cluster import NOBODY, Instance, InstanceId, Lease
from tandem.model.ids import AccountId

Version = tuple[int, int]
"""Which state of a document it is: equal only for the same state; in Firestore seconds and nanoseconds."""


class LostRace(Transient):
    """Somebody else changed a document first: nothing of the commit was done."""

    code = "lost_race"


@dataclass(frozen=True, slots=True)
class SeenInstance:
    instance: Instance
    version: Version


@dataclass(frozen=True, slots=True)
class SeenLease:
    lease: Lease
    version: Version


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen. ``whole``: it is all there is; otherwise only what has changed (a document that is gone: None)."""

    instances: Mapping[InstanceId, SeenInstance | None] = field(default_factory=dict)
    leases: Mapping[AccountId, SeenLease | None] = field(default_factory=dict)
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    """A document as it is to be, on the condition that it still is in state ``expected`` (None: that there is none)."""

    document: Instance | Lease
    expected: Version | None


class Meeting(Protocol):
    """Every call ends within ``timeout`` seconds. StoreUnavailable from ``commit`` leaves open whether it was done."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def commit(self, puts: Sequence[Put], timeout: float) -> Sequence[Version]:
        """Write all or nothing; returns the new versions, in order. Raises LostRace, StoreUnavailable."""
        ...

    async def read(self, instances: Iterable[InstanceId], accounts: Iterable[AccountId], timeout: float) -> Sight:
        """Return these documents as they are now, None for those that do not exist. Raises StoreUnavailable."""
        ...

    def watch(self, without: InstanceId = NOBODY) -> AsyncIterator[Sight]:
        """Yield everything once (``whole``), then each change as it comes, until it raises StoreUnavailable.

        Of the instance ``without`` nothing is told: who watches knows its own heartbeats, and each told is billed.
        Whoever watches calls again then. A stream may die silently: nothing safe may hang on a change being seen.
        """
        ...
