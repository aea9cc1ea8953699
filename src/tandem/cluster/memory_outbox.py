"""The shared outbox in memory: the twin of ``FirestoreRows`` for unit tests and simulation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tandem.cluster.outbox_documents import in_milliseconds
from tandem.cluster.outbox_port import KEYS_KEPT, Change, SeenRow, Stamp
from tandem.cluster.port import LostRace, Version
from tandem.errors import Conflict, StoreUnavailable
from tandem.model.ids import AccountId
from tandem.model.outbox import IdempotencyKey, OutboxRow
from tandem.policy.shared_outbox import OPEN

Weather = Callable[[str], Awaitable[bool]]
"""Awaited before each call, with its name: may wait, or raise StoreUnavailable. True: done, but the answer is lost."""


async def _fair(_act: str) -> bool:
    return False


@dataclass(slots=True)
class Ground:
    """What the instances share. ``history``: every state of every document, in order."""

    rows: dict[tuple[AccountId, str], SeenRow] = field(default_factory=dict)
    keys: dict[tuple[AccountId, str], tuple[bytes, str, float]] = field(default_factory=dict)
    history: list[SeenRow] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    commits: int = 0

    def put(self, row: OutboxRow, place: int, stamp: Stamp) -> SeenRow:
        self.commits += 1
        as_kept = in_milliseconds(replace(row, foreign_since=0.0, foreign_attempts=0))
        seen = SeenRow(as_kept, (self.commits, 0), place, stamp)
        self.rows[row.account, row.id] = seen
        self.history.append(seen)
        return seen


class MemoryRows:
    """An instance's way to the ground. ``weather`` is on it; nothing else is in the way."""

    def __init__(self, ground: Ground, weather: Weather = _fair) -> None:
        self.weather = weather
        self._ground = ground

    async def open(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def create(
        self, row: OutboxRow, place: int, key: IdempotencyKey | None, now: float, timeout: float
    ) -> tuple[SeenRow, bool]:
        lost = await self._reach("create", timeout)
        made = self._made(row.account, key, now) if key else None
        earlier = self._ground.rows.get((row.account, made or row.id))
        if earlier is None:
            if key is not None:
                self._ground.keys[row.account, key.text] = (key.request, row.id, now + KEYS_KEPT)
            self._ground.put(row, place, Stamp())
            await self._tell()
        _answered(lost=lost)
        seen = earlier or self._ground.rows[row.account, row.id]
        return seen, seen.row.id == row.id

    async def keyed(self, account: AccountId, key: IdempotencyKey, now: float, timeout: float) -> SeenRow | None:
        _answered(lost=await self._reach("keyed", timeout))
        made = self._made(account, key, now)
        return None if made is None else self._ground.rows.get((account, made))

    async def get(self, ids: Iterable[tuple[AccountId, str]], timeout: float) -> Mapping[str, SeenRow]:
        _answered(lost=await self._reach("get", timeout))
        return {name: self._ground.rows[account, name] for account, name in ids if (account, name) in self._ground.rows}

    async def page(self, account: AccountId, before: int | None, limit: int, timeout: float) -> Sequence[SeenRow]:
        _answered(lost=await self._reach("page", timeout))
        found = [seen for seen in self._of(account) if before is None or seen.place < before]
        return sorted(found, key=lambda seen: -seen.place)[:limit]

    async def open_rows(self, account: AccountId, timeout: float) -> Sequence[SeenRow]:
        _answered(lost=await self._reach("open_rows", timeout))
        return self._open(account)

    async def change(self, row: OutboxRow, expected: Version, stamp: Stamp, timeout: float) -> Version:
        lost = await self._reach("change", timeout)
        before = self._ground.rows.get((row.account, row.id))
        if before is None or before.version != expected:
            raise LostRace("another instance changed the message first")
        kept = replace(row, content=before.row.content, secret=before.row.secret, created_at=before.row.created_at)
        version = self._ground.put(kept, before.place, stamp).version
        await self._tell()
        _answered(lost=lost)
        return version

    async def watch(self, accounts: Sequence[AccountId]) -> AsyncGenerator[Change, None]:
        told: dict[AccountId, dict[str, Version]] = {}
        while True:
            commits = self._ground.commits
            _answered(lost=await self._reach("watch", 0.0))
            for account in accounts:
                before = told.get(account)
                rows = self._open(account)
                told[account] = {seen.row.id: seen.version for seen in rows}
                fresh = [seen for seen in rows if (before or {}).get(seen.row.id) != seen.version]
                gone = [name for name in before or {} if name not in told[account]]
                if fresh or gone or before is None:
                    yield Change(account, fresh, gone)
            async with self._ground.news:
                await self._ground.news.wait_for(lambda commits=commits: self._ground.commits > commits)  # type: ignore[misc]

    async def _reach(self, act: str, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout or None):
                return await self.weather(act)
        except TimeoutError:
            raise StoreUnavailable("the ground did not answer in time") from None

    async def _tell(self) -> None:
        async with self._ground.news:
            self._ground.news.notify_all()

    def _made(self, account: AccountId, key: IdempotencyKey, now: float) -> str | None:
        request, made, until = self._ground.keys.get((account, key.text), (b"", "", 0.0))
        if until <= now:
            return None
        if request != key.request:
            raise Conflict("this idempotency key was used for another message")
        return made

    def _of(self, account: AccountId) -> list[SeenRow]:
        return [seen for (owner, _), seen in self._ground.rows.items() if owner == account]

    def _open(self, account: AccountId) -> list[SeenRow]:
        found = [seen for seen in self._of(account) if seen.row.state in OPEN]
        return sorted(found, key=lambda seen: seen.place)


def _answered(*, lost: bool) -> None:
    if lost:
        raise StoreUnavailable("the answer was lost")
