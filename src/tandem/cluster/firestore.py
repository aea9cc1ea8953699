"""Where instances meet, in Firestore.

On a channel of its own, so that a heartbeat never waits behind the store's batches. It costs one write a heartbeat, a
document; and for each that watches, one read for each document of others that changes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

from tandem.cluster.documents import instance_name, lease_name, version_of, write_of
from tandem.cluster.picture import Picture, Reader, targets
from tandem.cluster.port import LostRace, Put, Sight, Version
from tandem.model.cluster import NOBODY, InstanceId
from tandem.model.ids import AccountId
from tandem.settings import Settings
from tandem.store.firestore.client import Client, Refused
from tandem.store.firestore.credentials import Target, target_of
from tandem.store.firestore.documents import Names
from tandem.store.firestore.verdicts import Kind
from tandem.store.port import Costs

_LOST = frozenset({Kind.LOST_RACE, Kind.EXISTS, Kind.MISSING})


class FirestoreMeeting:
    """Open and used within one event loop."""

    def __init__(self, target: Target) -> None:
        self._client = Client(target)
        self._names = Names(target.path)
        self._reader = Reader()

    @classmethod
    def of(cls, settings: Settings) -> FirestoreMeeting:
        """Return the meeting in the database that the settings name. Raises Misconfigured, without any secret."""
        return cls(target_of(settings, project=settings.firestore.project, database=settings.firestore.database))

    @property
    def costs(self) -> Costs:
        """What was asked of Firestore since the start."""
        return self._client.costs

    async def open(self) -> None:
        """Asks nothing of Firestore, so nothing fails here."""
        self._client.connect()

    async def close(self) -> None:
        await self._client.close()

    async def commit(self, puts: Sequence[Put], timeout: float) -> Sequence[Version]:
        """Write all or nothing; a document that already was as it is to be keeps its version.

        Raises LostRace; StoreUnavailable; PoisonMessage for what Firestore could never hold.
        """
        writes = [write_of(self._names, put) for put in puts]
        try:
            return [version_of(time) for time in await self._client.commit(writes, timeout)]
        except Refused as refusal:
            if refusal.verdict.kind in _LOST:
                raise LostRace("another instance changed it first") from None
            raise refusal.verdict.unavailable() from None

    async def read(self, instances: Iterable[InstanceId], accounts: Iterable[AccountId], timeout: float) -> Sight:
        wanted = [instance_name(self._names, each) for each in instances]
        wanted += [lease_name(self._names, each) for each in accounts]
        if not wanted:
            return Sight()
        try:
            found = await self._client.get(wanted, timeout)
        except Refused as refusal:
            raise refusal.verdict.unavailable() from None
        return self._reader.sight(found.values(), [name for name in wanted if name not in found])

    async def watch(self, without: InstanceId = NOBODY) -> AsyncGenerator[Sight, None]:
        """Changes that follow each other closely may be told as one."""
        picture = Picture(self._reader)
        try:
            async with aclosing(self._client.listen(targets(self._names, without))) as answers:
                async for answer in answers:
                    sight = picture.take(answer)
                    if sight is not None:
                        yield sight
        except Refused as refusal:
            raise refusal.verdict.unavailable() from None
