from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.inbound.held import HeldBack
from tandem.inbound.intake import Work, _apply
from tandem.inbound.writer import Writer
from tandem.model.ids import LID_SERVER, AccountId, ChatId
from tandem.model.message import DecodedReceipt, Message, RawEvent, Standing
from tandem.model.states import MessageStatus, Slot
from tandem.policy.batching import Caps
from tandem.queue.queue import Queue
from tandem.store.memory import MemoryStore
from tandem.store.port import Name
from unit.queue.parts import ACCOUNT, ANN, START_MS, Told, arrival, message, open_queue
from unit.queue.test_standings import AT, own, receipt

OTHER = AccountId("b" * 16)


class AskedStore(MemoryStore):
    """Notes what it is asked for, and can fail at that in a way of its own."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.asked: list[int] = []
        self.error: Exception | None = None
        self.seconds = 0.0

    async def present(self, names: Sequence[Name]) -> set[Name]:
        self.asked.append(len(names))
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return await super().present(names)

    async def texts(self, chat: ChatId = ANN) -> list[str]:
        return [stored.message.text for stored in await self.messages(ACCOUNT, chat, 10_000)]


@dataclass
class Rig:
    """A passive instance; its holder's mark is ``lag`` seconds behind the clock, or there is none."""

    queue: Queue
    store: AskedStore
    held: HeldBack
    writer: Writer
    holding: set[AccountId] = field(default_factory=set)
    lag: float | None = 0.0

    async def hold(self, *messages: Message) -> None:
        await self.queue.inbox.put([arrival(each, held=each.account not in self.holding) for each in messages])

    async def take_over(self) -> None:
        self.holding |= {ACCOUNT, OTHER}
        self.held.wake(ACCOUNT)
        await asyncio.sleep(0.001)

    async def hears(self, *receipts: DecodedReceipt) -> None:
        event = RawEvent(ACCOUNT, Slot.PRIMARY, 1, 1, 18, b"", START_MS / 1000)
        works, now = [Work(event, each, None) for each in receipts], VirtualClock().now()
        others = frozenset({ACCOUNT} - self.holding)
        result = await self.queue.database.write(lambda connection: _apply(connection, works, now, others))
        self.queue.standings.came_in(result.advanced, result.elsewhere)

    def mark(self, account: AccountId) -> float:
        return 0.0 if self.lag is None or account in self.holding else VirtualClock().now() - self.lag


def run(directory: Path, scenario: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    @asynccontextmanager
    async def rig() -> AsyncIterator[Rig]:
        clock, store = VirtualClock(), AskedStore()
        async with open_queue(directory) as queue:
            common: dict[str, Any] = {"deadline": 10.0, "clock": clock, "random": SeededRandom(5)}

            def holds(account: AccountId) -> bool:
                return account in parts.holding

            def mark(account: AccountId) -> float:
                return parts.mark(account)

            held = HeldBack(queue, store, holds, mark, **common)
            writer = Writer(queue, store, Caps(100, 3_500_000), publish=Told(), holds=holds, **common)
            parts = Rig(queue, store, held, writer)
            tasks = [asyncio.create_task(part.run()) for part in (held, writer)]
            try:
                yield parts
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def whole() -> None:
        async with rig() as parts:
            await scenario(parts)

    run_virtually(whole())


def test_a_message_is_asked_for_once_when_the_mark_has_passed_it_and_dropped(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.hold(message(0))
        await rig.store.write([message(0)])  # the holder's work
        await asyncio.sleep(9.9)
        assert rig.store.asked == []
        await asyncio.sleep(5.2)
        assert rig.store.asked == [1]
        assert rig.queue.inbox.depth == 0
        assert (rig.held.dropped[ACCOUNT], rig.held.released[ACCOUNT]) == (1, 0)
        await asyncio.sleep(10_000)
        assert rig.store.asked == [1]

    run(tmp_path, scenario)


def test_what_the_holder_has_missed_is_written_here_a_minute_behind_its_mark(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.hold(message(0), message(1))
        await rig.store.write([message(1)])
        with capture_logs() as logs:
            await asyncio.sleep(59)
            assert rig.store.asked == [1, 1]
            assert rig.queue.inbox.depth == 1
            assert await rig.store.texts() == ["message 1"]
            await asyncio.sleep(7)
        assert rig.store.asked == [1, 1, 1], "asked when it was due, and once more before the holder was given up"
        assert await rig.store.texts() == ["message 0", "message 1"]
        assert rig.queue.inbox.depth == 0
        assert (rig.held.dropped[ACCOUNT], rig.held.released[ACCOUNT]) == (1, 1)
        [line] = [log for log in logs if log["event"] == "copies_released"]
        assert (line["log_level"], line["account"], line["count"]) == ("warning", ACCOUNT, 1)

    run(tmp_path, scenario)


def test_a_holder_that_lags_is_waited_for(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.lag = 600.0
        await rig.hold(message(0))
        await asyncio.sleep(609)
        assert rig.store.asked == []
        await asyncio.sleep(8)
        assert rig.store.asked == [1]

    run(tmp_path, scenario)


def test_without_any_mark_nothing_is_asked_for_an_hour_and_then_it_is_written(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.lag = None
        await rig.hold(message(0))
        await asyncio.sleep(3_599)
        assert rig.store.asked == []
        await asyncio.sleep(7)
        assert await rig.store.texts() == ["message 0"]

    run(tmp_path, scenario)


def test_a_takeover_looks_everything_up_at_once_and_writes_what_is_missing_in_order(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        everything = [message(n, account=OTHER if n % 4 == 3 else ACCOUNT) for n in range(250)]
        await rig.hold(*everything)
        await rig.store.write([each for number, each in enumerate(everything) if number % 2])
        rig.store.batches.clear()
        with capture_logs() as logs:
            await rig.take_over()
        assert rig.store.asked == [100, 100, 50]
        assert await rig.store.texts() == [each.text for each in everything if each.account == ACCOUNT]
        assert sum(rig.store.batches) == 125, "only what was missing"
        assert rig.held.dropped == {ACCOUNT: 63, OTHER: 62}
        assert rig.held.released == {ACCOUNT: 125}
        assert (rig.queue.inbox.depth, rig.queue.inbox.held) == (0, 0)
        assert [log["event"] for log in logs if log["event"].startswith("copies")] == ["copies_taken_over"] * 3
        await rig.hold(message(251))
        await asyncio.sleep(0.001)
        assert "message 251" in await rig.store.texts()

    run(tmp_path, scenario)


def test_a_takeover_goes_on_when_the_store_is_back(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.hold(*(message(n) for n in range(150)))
        rig.store.failing = True
        await rig.take_over()
        await asyncio.sleep(300)
        assert 30 < len(rig.store.asked) < 3_000
        rig.store.failing = False
        await asyncio.sleep(20)
        assert len(await rig.store.texts()) == 150
        assert rig.queue.inbox.depth == 0

    run(tmp_path, scenario)


def test_a_store_that_fails_or_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.hold(message(0))
        rig.store.error = ArithmeticError("what the store has to say of it")
        with capture_logs() as logs:
            await rig.take_over()
        assert {log["event"] for log in logs} == {"store_failed", "copies_not_looked_up"}
        rig.store.error, rig.store.seconds = None, 3_600
        await asyncio.sleep(30)
        rig.store.seconds = 0.0
        await asyncio.sleep(30)
        assert await rig.store.texts() == ["message 0"]

    run(tmp_path, scenario)


def test_a_message_that_comes_in_as_held_during_a_takeover_is_not_left_behind(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await asyncio.sleep(1)
        rig.holding.add(ACCOUNT)
        rig.held.wake(ACCOUNT)
        await asyncio.sleep(0.001)
        await rig.queue.inbox.put([arrival(message(0), held=True)])  # it was decided a moment earlier
        await asyncio.sleep(0.001)
        assert await rig.store.texts() == ["message 0"]

    run(tmp_path, scenario)


def test_a_lease_that_is_lost_during_the_look_leaves_the_message_held_back(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.hold(message(0))
        rig.store.seconds = 2.0
        await rig.take_over()
        await asyncio.sleep(1)
        rig.holding.clear()
        await asyncio.sleep(3)
        assert (rig.queue.inbox.held, rig.held.released[ACCOUNT]) == (1, 0)
        await asyncio.sleep(80)
        assert (rig.queue.inbox.held, rig.held.released[ACCOUNT]) == (0, 1)

    run(tmp_path, scenario)


def test_a_message_that_is_stored_under_a_persons_other_name_is_no_second_one(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        lid = ChatId(f"900000000000001@{LID_SERVER}")
        await rig.store.write([message(0, lid)])  # its holder did not know the number
        known = (("900000000000001", "12025550101"),)
        await rig.queue.inbox.put([arrival(message(0), held=True, pairs=known)])
        await rig.take_over()
        assert (rig.held.dropped[ACCOUNT], rig.queue.inbox.depth) == (1, 0)
        assert await rig.store.texts() == []
        assert await rig.store.texts(lid) == ["message 0"]

    run(tmp_path, scenario)


def test_receipts_are_left_to_the_holder_and_told_after_a_takeover(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.hold(own(0), own(1))
        await rig.store.write([own(0)])
        await rig.hears(receipt("delivered", AT + 1, 0, 1))
        await asyncio.sleep(20)
        await rig.hears(receipt("read", AT + 20, 0))
        await asyncio.sleep(20)
        assert [each.message.standing.status for each in await rig.store.messages(ACCOUNT, ANN, 9)] == [
            MessageStatus.SENT
        ], "nobody but the holder writes a status"
        await rig.take_over()
        assert [each.message.standing for each in await rig.store.messages(ACCOUNT, ANN, 9)] == [
            Standing(MessageStatus.READ, START_MS + 1000, START_MS + 20_000),
            Standing(MessageStatus.DELIVERED, START_MS + 1000),
        ]
        assert await rig.queue.standings.count_untold() == 0

    run(tmp_path, scenario)


def test_receipts_a_minute_behind_the_mark_are_forgotten(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.hold(own(0))
        await rig.store.write([own(0)])
        await rig.hears(receipt("delivered", AT + 1, 0))
        await asyncio.sleep(50)
        assert await rig.queue.standings.count_untold() == 1
        await rig.hears(receipt("read", AT + 50, 0))
        await asyncio.sleep(55)
        assert await rig.queue.standings.count_untold() == 1, "its last change counts"
        await asyncio.sleep(20)
        assert await rig.queue.standings.count_untold() == 0
        assert rig.queue.standings.elsewhere == set()

    run(tmp_path, scenario)


def test_an_idle_instance_asks_neither_store_nor_disk(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.holding.add(ACCOUNT)
        await asyncio.sleep(1)
        reads: list[object] = []
        real = rig.queue.database.read

        async def read(operation: Callable[[Any], Any]) -> Any:
            reads.append(operation)
            return await real(operation)

        rig.queue.database.read = read  # type: ignore[method-assign]
        await asyncio.sleep(100_000)
        assert (reads, rig.store.asked) == ([], [])

    run(tmp_path, scenario)
