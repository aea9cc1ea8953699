from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tandem.errors import PoisonMessage
from tandem.inbound.intake import Intake, work_of
from tandem.queue.database import SCHEMA
from tandem.queue.dead_letters import LetterKind
from tandem.queue.delivery_rows import Parcel, announce
from tandem.queue.queue import Queue
from unit.queue.parts import ACCOUNT, open_queue

HERE, THERE = "here.example-1", "there.example-2"


def parcel(number: int, lane: str = "ann") -> Parcel:
    return Parcel(f"id-{number}", lane, ACCOUNT, f'{{"n":{number}}}'.encode())


async def due(queue: Queue, endpoint: str = HERE, limit: int = 100) -> list[str]:
    return [delivery.parcel.id for delivery in await queue.deliveries.due(endpoint, limit)]


async def test_each_endpoint_gets_each_parcel_and_each_lane_waits_for_its_first(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.deliveries.configure("webhook", [HERE, THERE])
        await queue.deliveries.configure("alert", ["pager"])
        await queue.deliveries.put("webhook", [parcel(1, "ann"), parcel(2, "ann"), parcel(3, "bob")])
        assert await due(queue) == await due(queue, THERE) == ["id-1", "id-3"]
        assert await due(queue, limit=1) == ["id-1"]
        assert await due(queue, "pager") == []

        first, _ = await queue.deliveries.due(HERE, 10)
        await queue.deliveries.delivered(first)
        assert await due(queue) == ["id-2", "id-3"]
        assert await due(queue, THERE) == ["id-1", "id-3"]
        await queue.deliveries.refresh()
        assert (queue.deliveries.figures[HERE].delivered, queue.deliveries.figures[HERE].waiting) == (1, 2)


async def test_a_failed_one_holds_its_lane_until_its_time_and_no_other(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.deliveries.configure("webhook", [HERE])
        await queue.deliveries.put("webhook", [parcel(1, "ann"), parcel(2, "ann"), parcel(3, "bob")])
        first, _ = await queue.deliveries.due(HERE, 10)
        assert await queue.deliveries.next_time(HERE) is None  # all that can go is due
        await queue.deliveries.postpone(first, first.created_at + 10_000)
        assert await due(queue) == ["id-3"]
        await queue.deliveries.postpone((await queue.deliveries.due(HERE, 10))[0], first.created_at + 5_000)
        assert await queue.deliveries.next_time(HERE) == first.created_at + 5_000
    async with open_queue(tmp_path) as queue:
        assert await due(queue) == []  # remembered over a restart
        await queue.deliveries.put("webhook", [parcel(4, "eve")])
        assert await due(queue) == ["id-4"]


async def test_what_is_announced_in_a_transaction_that_fails_is_not_told(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.deliveries.configure("webhook", [HERE])

        def fail(connection: sqlite3.Connection) -> None:
            assert announce(connection, "webhook", parcel(1), 1.0) == 1
            raise ArithmeticError

        with pytest.raises(ArithmeticError):
            await queue.database.write(fail)
        assert await due(queue) == []


async def test_what_is_given_up_can_be_read_and_replayed(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.deliveries.configure("webhook", [HERE])
        await queue.deliveries.put("webhook", [parcel(1), parcel(2)])
        [delivery] = await queue.deliveries.due(HERE, 10)
        assert await queue.deliveries.give_up(delivery, "it answered 500") == 1
        assert await due(queue) == ["id-2"]  # the next of the lane is free
        [letter] = await queue.dead_letters.list()
        assert (letter.kind, letter.reason, letter.account) == (LetterKind.DELIVERY, "it answered 500", ACCOUNT)

        roused: list[int] = []
        queue.deliveries.subscribe(lambda: roused.append(1))
        intake = Intake(queue, queue._clock)
        await intake.replay(letter.id, lambda event: work_of(event, lambda _: None, None))
        assert roused
        assert await queue.dead_letters.count() == 0
        await queue.deliveries.delivered((await queue.deliveries.due(HERE, 10))[0])
        [again] = await queue.deliveries.due(HERE, 10)
        assert (again.parcel, again.attempts) == (parcel(1), 0)


async def test_all_that_is_too_old_goes_with_it(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.deliveries.configure("webhook", [HERE, THERE])
        await queue.deliveries.put("webhook", [parcel(n, f"lane {n}") for n in range(5)])
        first, *_ = await queue.deliveries.due(HERE, 10)
        assert await queue.deliveries.give_up(first, "down", all_before=first.created_at + 1) == 5
        assert await due(queue) == []
        assert len(await due(queue, THERE)) == 5
        assert queue.deliveries.figures[HERE].dead == 5


async def test_beyond_the_bound_the_oldest_become_dead_letters(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.deliveries.configure("webhook", [HERE, THERE])
        await queue.deliveries.put("webhook", [parcel(n, f"lane {n}") for n in range(5)])
        assert await queue.deliveries.trim(HERE, 3) == 2
        assert await queue.deliveries.trim(HERE, 3) == 0
        assert await due(queue) == ["id-2", "id-3", "id-4"]
        assert len(await due(queue, THERE)) == 5
        assert await queue.dead_letters.count() == 2


async def test_an_endpoint_that_is_gone_leaves_dead_letters_that_stay_until_it_is_back(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.deliveries.configure("webhook", [HERE])
        await queue.deliveries.put("webhook", [parcel(1)])
        assert await queue.deliveries.configure("webhook", [THERE]) == 1
        [letter] = await queue.dead_letters.list()
        intake = Intake(queue, queue._clock)
        with pytest.raises(PoisonMessage, match="not configured"):
            await intake.replay(letter.id, lambda event: work_of(event, lambda _: None, None))
        assert await queue.dead_letters.count() == 1
        await queue.deliveries.configure("webhook", [HERE, THERE])
        await intake.replay(letter.id, lambda event: work_of(event, lambda _: None, None))
        assert await due(queue) == ["id-1"]


def test_letters_keep_their_ids_when_the_table_learns_a_new_kind() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript("CREATE TABLE file (commits INTEGER, version INTEGER);" + SCHEMA.migrations[0])
    add = "INSERT INTO dead_letters (kind, reason, account, slot, code, payload, arrived_at, created_at, seal)"
    for _ in range(3):
        connection.execute(f"{add} VALUES ('event', '', '', '', 0, '', 0, 0, 0)")
    connection.execute("DELETE FROM dead_letters WHERE id <> 2")
    connection.executescript(SCHEMA.migrations[1])
    connection.execute(f"{add} VALUES ('delivery', '', '', '', 0, '', 0, 0, 0)")
    assert connection.execute("SELECT id, kind FROM dead_letters ORDER BY id").fetchall() == [
        (2, "event"),
        (4, "delivery"),
    ]
    connection.close()
