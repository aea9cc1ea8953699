from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.errors import Rejected, StoreUnavailable
from tandem.inbound.writer import Writer
from tandem.model.event import EventType
from tandem.model.message import Message, StatusUpdate
from tandem.policy.batching import caps
from tandem.queue.queue import Queue
from tandem.store.memory import MemoryStore
from tandem.store.port import Poison
from unit.queue.parts import ACCOUNT, ANN, BOB, Told, message, open_queue, put, waiting


class SlowStore(MemoryStore):
    """Takes its time, and can be told to fail in ways of its own."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.seconds = 0.0
        self.refuse: Callable[[Sequence[Message]], Exception | None] = lambda _: None

    async def write(self, messages: Sequence[Message], updates: Sequence[StatusUpdate] = ()) -> Sequence[Poison]:
        await asyncio.sleep(self.seconds)
        if error := self.refuse(messages):
            raise error
        return await super().write(messages, updates)

    async def texts(self) -> list[str]:
        return [stored.message.text for chat in (ANN, BOB) for stored in await self.messages(ACCOUNT, chat, 10_000)]


@dataclass
class Rig:
    queue: Queue
    store: SlowStore
    writer: Writer
    told: Told


def run(
    directory: Path,
    scenario: Callable[[Rig], Coroutine[Any, Any, None]],
    *,
    documents: int = 100,
    batching: bool = True,
) -> None:
    @asynccontextmanager
    async def rig() -> AsyncIterator[Rig]:
        told, store = Told(), SlowStore()
        async with open_queue(directory, told) as queue:
            limit = caps(batching=batching, documents=documents, size=3_500_000)
            writer = Writer(
                queue,
                store,
                limit,
                deadline=10.0,
                clock=VirtualClock(),
                random=SeededRandom(5),
                publish=told,
            )
            task = asyncio.create_task(writer.run())
            try:
                yield Rig(queue, store, writer, told)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def whole() -> None:
        async with rig() as parts:
            await scenario(parts)

    run_virtually(whole())


def test_a_lone_message_is_written_at_once(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        before = asyncio.get_running_loop().time()
        await put(rig.queue, 1)
        assert await rig.writer.drain(10) == 0
        assert asyncio.get_running_loop().time() == before  # no timer stands between arrival and write
        assert await rig.store.texts() == ["message 1"]
        assert rig.queue.inbox.depth == 0

    run(tmp_path, scenario)


def test_what_comes_during_a_write_shares_the_next(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.store.seconds = 1.0
        await put(rig.queue, 0)
        await asyncio.sleep(0.5)
        assert rig.writer.in_flight == 1
        await put(rig.queue, *range(1, 251))
        assert await rig.writer.drain(60) == 0
        assert rig.store.batches == [1, 100, 100, 50]
        assert await rig.store.texts() == [f"message {n}" for n in range(251)]
        assert rig.writer.stored[ACCOUNT] == 251
        assert [told["count"] for told in rig.told.of(EventType.BATCH_SAVED)] == [1, 100, 100, 50]

    run(tmp_path, scenario)


def test_without_batching_each_message_goes_alone_the_same_way(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await put(rig.queue, *range(5))
        await rig.writer.drain(60)
        assert rig.store.batches == [1] * 5

    run(tmp_path, scenario, batching=False)


def test_an_outage_is_told_once_waited_out_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.store.failing = True
        for number in range(50):
            await put(rig.queue, number)
            await asyncio.sleep(12)
        assert rig.writer.degraded_since is not None
        rig.store.failing = False
        back = asyncio.get_running_loop().time()
        assert await rig.writer.drain(60) == 0
        assert asyncio.get_running_loop().time() - back <= 30
        assert await rig.store.texts() == [f"message {n}" for n in range(50)]
        assert len(rig.told.of(EventType.STORE_DEGRADED)) == 1
        [restored] = rig.told.of(EventType.STORE_RESTORED)
        assert restored["seconds"] >= 588
        assert rig.writer.degraded_since is None

    run(tmp_path, scenario)


def test_a_store_that_does_not_answer_is_an_outage_after_the_deadline(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.store.seconds = 3600
        await put(rig.queue, 1)
        await asyncio.sleep(11)
        [degraded] = rig.told.of(EventType.STORE_DEGRADED)
        assert "did not answer within 10 s" in degraded["reason"]
        rig.store.seconds = 0
        assert await rig.writer.drain(60) == 0

    run(tmp_path, scenario)


def test_an_unknown_defect_of_the_store_never_loses_a_message(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.store.refuse = lambda _: RuntimeError("confidential")
        await put(rig.queue, 1)
        await asyncio.sleep(60)
        assert await waiting(rig.queue) == ["message 1"]
        assert "confidential" not in str(rig.told.events)
        rig.store.refuse = lambda _: None
        assert await rig.writer.drain(60) == 0

    run(tmp_path, scenario)


def test_poison_that_the_store_names_becomes_a_dead_letter(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.store.poison = {message(2).key: "too large"}
        await put(rig.queue, 1, 2, 3)
        assert await rig.writer.drain(60) == 0
        assert await rig.store.texts() == ["message 1", "message 3"]
        [letter] = await rig.queue.dead_letters.list()
        assert (letter.reason, letter.message()) == ("too large", message(2))
        [told] = rig.told.of(EventType.DEAD_LETTER)
        assert told["account"] == ACCOUNT
        assert rig.writer.stored[ACCOUNT] == 2

    run(tmp_path, scenario)


@pytest.mark.parametrize("error", [Rejected("no such field"), ValueError("confidential"), OverflowError()])
def test_poison_that_spoils_its_batch_is_found_and_its_neighbours_proceed(tmp_path: Path, error: Exception) -> None:
    async def scenario(rig: Rig) -> None:
        bad = {message(13).key, message(77).key}
        calls: list[int] = []

        def refuse(messages: Sequence[Message]) -> Exception | None:
            calls.append(len(messages))
            return error if bad & {each.key for each in messages} else None

        rig.store.refuse = refuse
        await put(rig.queue, *range(100))
        assert await rig.writer.drain(60) == 0
        assert await rig.store.texts() == [f"message {n}" for n in range(100) if n not in {13, 77}]
        letters = await rig.queue.dead_letters.list()
        assert {letter.message().key for letter in letters} == bad
        assert all("confidential" not in letter.reason for letter in letters)
        assert len(calls) <= 4 * 7 + 1  # about 2 log2(n) calls for each

    run(tmp_path, scenario)


def test_an_outage_in_the_middle_of_the_search_for_poison_does_not_start_it_over(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        calls: list[int] = []

        def refuse(messages: Sequence[Message]) -> Exception | None:
            calls.append(len(messages))
            if len(calls) % 3 == 0:
                return StoreUnavailable("cut")
            return ValueError() if message(99).key in {each.key for each in messages} else None

        rig.store.refuse = refuse
        await put(rig.queue, *range(100))
        assert await rig.writer.drain(1_000) == 0
        assert len(await rig.store.texts()) == 99
        assert sum(rig.store.batches) == 99  # no message was written twice

    run(tmp_path, scenario)


def test_order_within_a_chat_holds_through_failures(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        written: list[str] = []
        calls = iter(range(10_000))

        def refuse(messages: Sequence[Message]) -> Exception | None:
            if next(calls) % 2:
                return StoreUnavailable("cut")
            written.extend(each.text for each in messages)
            return None

        rig.store.refuse = refuse
        for number in range(40):
            await put(rig.queue, number)
            if number % 3 == 0:
                await asyncio.sleep(0.3)
        await rig.writer.drain(1_000)
        assert written == [f"message {n}" for n in range(40)]

    run(tmp_path, scenario, documents=4)


def test_what_cannot_be_drained_in_time_stays_for_the_next_start(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.store.failing = True
        await put(rig.queue, 1, 2)
        assert await rig.writer.drain(3) == 2

    run(tmp_path, scenario)

    async def again(rig: Rig) -> None:
        assert await rig.writer.drain(3) == 0
        assert await rig.store.texts() == ["message 1", "message 2"]

    run(tmp_path, again)


def test_a_write_whose_commit_in_the_queue_failed_is_repeated_without_a_double(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(rig: Rig) -> None:
        real, failures = rig.queue.inbox.settle, iter([True, True])

        async def settle(*arguments: Any) -> None:
            if next(failures, False):
                raise StoreUnavailable("the disk is full")
            await real(*arguments)

        monkeypatch.setattr(rig.queue.inbox, "settle", settle)
        await put(rig.queue, 1)
        assert await rig.writer.drain(60) == 0
        assert rig.store.batches == [1, 1, 1]
        assert await rig.store.texts() == ["message 1"]

    run(tmp_path, scenario)
