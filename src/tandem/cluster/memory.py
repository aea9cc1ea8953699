"""The meeting place's twin in memory, for unit tests and simulation only: the same answers, and weather on the way.

What is under way goes on when whoever asked has given up, has been cancelled or has died: a commit may be done later
than anybody waits for it, as on a network.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from tandem.cluster.port import LostRace, Put, SeenInstance, SeenLease, Sight, Version
from tandem.errors import StoreUnavailable
from tandem.model.cluster import NOBODY, Instance, InstanceId, Lease
from tandem.model.ids import AccountId

_T = TypeVar("_T")
_Key = tuple[type[Instance | Lease], str]


class Act(StrEnum):
    """Where on its way something is when the weather is asked: a request, or the answer after it was done."""

    COMMIT = "commit"
    COMMITTED = "committed"
    READ = "read"
    HAVE_READ = "have read"
    WATCH = "watch"
    TELL = "tell"  # a sight on its way to one who watches; to raise ends the stream


Weather = Callable[[InstanceId, Act], Awaitable[None]]
"""May wait, for ever too, and may raise StoreUnavailable."""


async def fair(instance: InstanceId, act: Act) -> None:
    """Let everything pass at once."""


class MemoryGround:
    """What all instances share: the documents, their versions, and who watches them."""

    def __init__(self) -> None:
        self.documents: dict[_Key, tuple[Instance | Lease, Version]] = {}
        self.watchers: dict[Callable[[Sight], None], None] = {}  # in order: a simulation has to repeat itself
        self._count = 0

    def commit(self, puts: Sequence[Put]) -> list[Version]:
        """Raise LostRace, or do all of it."""
        for put in puts:
            there = self.documents.get(_key(put.document))
            if (there[1] if there else None) != put.expected:
                raise LostRace("another instance changed it first")
        changed = [put.document for put in puts if self._differs(put.document)]
        self._count += 1
        for document in changed:
            self.documents[_key(document)] = (document, (self._count, 0))
        if changed:
            self._tell(self.sight(map(_key, changed)))
        return [self.documents[_key(put.document)][1] for put in puts]

    def remove(self, document: Instance | Lease) -> None:
        """Delete it, as only an operator does."""
        self.documents.pop(_key(document), None)
        self._tell(self.sight([_key(document)]))

    def sight(self, keys: Iterable[_Key], *, whole: bool = False) -> Sight:
        instances: dict[InstanceId, SeenInstance | None] = {}
        leases: dict[AccountId, SeenLease | None] = {}
        for kind, name in keys:
            document, version = self.documents.get((kind, name), (None, (0, 0)))
            if kind is Lease:
                leases[AccountId(name)] = SeenLease(document, version) if isinstance(document, Lease) else None
            elif isinstance(document, Instance):
                instances[InstanceId(name)] = SeenInstance(document, version)
            else:
                instances[InstanceId(name)] = None
        return Sight(instances, leases, whole=whole)

    def _differs(self, document: Instance | Lease) -> bool:
        """Writing what is there changes nothing, in Firestore not even the version."""
        there = self.documents.get(_key(document))
        return there is None or there[0] != document

    def _tell(self, sight: Sight) -> None:
        for watcher in self.watchers:
            watcher(sight)


class MemoryMeeting:
    """An instance's way to the ground."""

    def __init__(self, ground: MemoryGround, instance: InstanceId, weather: Weather = fair) -> None:
        self._ground = ground
        self._instance = instance
        self._weather = weather
        self._under_way: set[asyncio.Task[Any]] = set()
        self._streams: dict[_Stream, None] = {}
        self._open = False

    async def open(self) -> None:
        self._open = True

    async def close(self) -> None:
        """End every watch. What is under way to the ground arrives nevertheless."""
        self._open = False
        for stream in self._streams:
            stream.end()

    async def commit(self, puts: Sequence[Put], timeout: float) -> Sequence[Version]:
        puts = tuple(puts)
        return await self._ask((Act.COMMIT, Act.COMMITTED), lambda: self._ground.commit(puts), timeout)

    async def read(self, instances: Iterable[InstanceId], accounts: Iterable[AccountId], timeout: float) -> Sight:
        keys: list[_Key] = [(Instance, each) for each in instances]
        keys += [(Lease, each) for each in accounts]
        return await self._ask((Act.READ, Act.HAVE_READ), lambda: self._ground.sight(keys), timeout)

    async def watch(self, without: InstanceId = NOBODY) -> AsyncGenerator[Sight, None]:
        self._must_be_open()
        await self._weather(self._instance, Act.WATCH)
        stream = _Stream(lambda: self._weather(self._instance, Act.TELL), without)
        stream.tell(self._ground.sight(self._ground.documents, whole=True))
        self._ground.watchers[stream.tell] = self._streams[stream] = None
        try:
            while True:
                yield await stream.told()
        finally:
            del self._ground.watchers[stream.tell], self._streams[stream]
            stream.end()

    async def _ask(self, acts: tuple[Act, Act], do: Callable[[], _T], timeout: float) -> _T:
        """Whoever asks waits ``timeout`` seconds at most; what was asked stays under way."""
        self._must_be_open()
        task = asyncio.create_task(self._carry(acts, do))
        self._under_way.add(task)
        task.add_done_callback(self._arrived)
        done, _ = await asyncio.wait([task], timeout=timeout)
        if not done:
            raise StoreUnavailable("the meeting place did not answer in time")
        return task.result()

    async def _carry(self, acts: tuple[Act, Act], do: Callable[[], _T]) -> _T:
        there, back = acts
        await self._weather(self._instance, there)
        try:
            return do()
        finally:
            await self._weather(self._instance, back)

    def _arrived(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        _heard(task)

    def _must_be_open(self) -> None:
        if not self._open:
            raise StoreUnavailable("the meeting place is closed")


class _Stream:
    """Sights on their way to one who watches: each has its own weather, and none overtakes another."""

    def __init__(self, weather: Callable[[], Awaitable[None]], without: InstanceId) -> None:
        self._weather = weather
        self._without = without
        self._sights: deque[tuple[asyncio.Task[None], Sight]] = deque()
        self._news = asyncio.Event()
        self._ended = False

    def tell(self, sight: Sight) -> None:
        others = {name: each for name, each in sight.instances.items() if name != self._without}
        sight = replace(sight, instances=others)
        if not (sight.whole or sight.instances or sight.leases):
            return
        task = asyncio.create_task(self._way())
        task.add_done_callback(_heard)
        self._sights.append((task, sight))
        self._news.set()

    async def told(self) -> Sight:
        """Return the next sight. Raises StoreUnavailable when the stream has ended or broken."""
        while not self._sights:
            self._must_go_on()
            self._news.clear()
            await self._news.wait()
        task, sight = self._sights[0]
        await asyncio.wait([task])
        self._must_go_on()
        task.result()
        self._sights.popleft()
        return sight

    def end(self) -> None:
        self._ended = True
        self._news.set()
        for task, _ in self._sights:
            task.cancel()

    async def _way(self) -> None:
        await self._weather()

    def _must_go_on(self) -> None:
        if self._ended:
            raise StoreUnavailable("the meeting place was closed")


def _heard(task: asyncio.Task[Any]) -> None:
    """Let nobody complain of an error that nobody is left to hear."""
    if not task.cancelled():
        task.exception()


def _key(document: Instance | Lease) -> _Key:
    return (Instance, document.id) if isinstance(document, Instance) else (Lease, document.account)
