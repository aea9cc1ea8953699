from __future__ import annotations

from pathlib import Path

from support.virtual_time import run_virtually
from tandem.message_row import sealed_row
from tandem.model.ids import LID_SERVER, USER_SERVER, AccountId, ChatId, MessageKey, message_key
from tandem.model.message import Message
from tandem.model.states import Slot
from tandem.queue.announcements import WEBHOOK
from tandem.queue.database import SCHEMA
from tandem.queue.held import Held, HeldRows
from tandem.queue.inbox import Copy
from tandem.queue.queue import Queue
from tandem.sqlite_file import SqliteFile
from tandem.sqlite_schema import Schema
from unit.queue.parts import ACCOUNT, ANN, BOB, START_MS, arrival, message, open_queue, put, waiting

OTHER = AccountId("b" * 16)
GROUP = ChatId("120363000000000001@g.us")
LATER = {ACCOUNT: START_MS / 1000 + 1_000, OTHER: START_MS / 1000 + 1_000}


def rows_of(queue: Queue) -> HeldRows:
    return HeldRows(queue.database, queue.inbox, queue._clock)


async def hold(queue: Queue, *messages: Message, pairs: tuple[tuple[str, str], ...] = ()) -> None:
    await queue.inbox.put([arrival(each, held=True, pairs=pairs) for each in messages])


def held(number: int, sequence: int, account: AccountId = ACCOUNT) -> Held:
    return Held(sequence, (account, ANN, message(number).key), START_MS / 1000 + number)


async def test_the_writer_does_not_see_what_is_held_back(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        roused: list[str] = []
        queue.inbox.subscribe(lambda: roused.append("writer"))
        queue.inbox.subscribe_held(roused.append)
        await hold(queue, message(1), message(2))
        assert roused == [ACCOUNT]
        assert queue.inbox.oldest_age == 0
        await put(queue, 3)
        assert roused == [ACCOUNT, "writer"]
        assert await waiting(queue) == ["message 3"]
        assert (queue.inbox.depth, queue.inbox.held, queue.inbox.waiting) == (3, 2, 1)
        assert await put(queue, 1, slot=Slot.BACKUP) == [Copy.DUPLICATE]


async def test_what_is_held_back_is_so_after_a_restart(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await hold(queue, message(1), message(2), message(3, account=OTHER))
        await put(queue, 4)
    async with open_queue(tmp_path) as queue:
        assert queue.inbox.held_of == {ACCOUNT: 2, OTHER: 1}
        assert (queue.inbox.depth, queue.inbox.waiting) == (4, 1)
        assert await waiting(queue) == ["message 4"]


async def test_due_are_those_received_by_their_accounts_bound_in_portions(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await hold(queue, *(message(n, account=OTHER if n % 3 == 0 else ACCOUNT) for n in range(1, 10)))
        bounds = {ACCOUNT: START_MS / 1000 + 5, OTHER: float("inf"), AccountId("c" * 16): float("inf")}
        expected = [held(n, n, OTHER if n % 3 == 0 else ACCOUNT) for n in (1, 2, 3, 4, 5, 6, 9)]
        rows = rows_of(queue)
        assert await rows.due(bounds, 0, 100) == expected
        assert await rows.due(bounds, 0, 3) == expected[:3]
        assert await rows.due(bounds, 3, 100) == expected[3:]
        assert await rows.due({ACCOUNT: START_MS / 1000 + 0.9}, 0, 100) == []


async def test_present_ones_go_missing_ones_go_to_the_writer_in_the_order_they_came(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.deliveries.configure(WEBHOOK, ["hooks.example-1"])
        await hold(queue, *(message(n) for n in (1, 2, 3, 4)))
        assert await queue.deliveries.due("hooks.example-1", 10) == []  # whoever runs the account tells of it
        await put(queue, 5, chat=BOB)
        roused: list[str] = []
        queue.inbox.subscribe(lambda: roused.append("writer"))
        rows = await rows_of(queue).due(LATER, 0, 10)
        await rows_of(queue).settle(rows[:1], [])
        assert (queue.inbox.depth, queue.inbox.held, roused) == (4, 3, [])
        await rows_of(queue).settle([rows[1]], [rows[0], rows[2], rows[3]])
        assert roused == ["writer"]
        assert await waiting(queue) == ["message 3", "message 4", "message 5"]
        assert (queue.inbox.depth, queue.inbox.held, queue.inbox.held_of) == (3, 0, {})
        told = 0
        while found := await queue.deliveries.due("hooks.example-1", 10):
            for delivery in found:
                await queue.deliveries.delivered(delivery)
                told += 1
        assert told == 3


async def test_settling_again_changes_nothing(tmp_path: Path) -> None:
    """An answer of the disk may be lost: the same portion then comes again."""
    async with open_queue(tmp_path) as queue:
        await hold(queue, message(1), message(2))
        rows = await rows_of(queue).due(LATER, 0, 10)
        for _ in range(2):
            await rows_of(queue).settle(rows[:1], rows[1:])
            assert (queue.inbox.depth, queue.inbox.held) == (1, 0)
        await rows_of(queue).settle(rows, [])  # what was released is none of ours any more
        assert await waiting(queue) == ["message 2"]


async def test_the_oldest_that_waits_is_known_of_each_account(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await hold(queue, message(1))
        assert await queue.inbox.oldest_of_each() == {}
        await put(queue, 7, 3, 5)
        await queue.inbox.put([arrival(message(4, account=OTHER))])
        assert await queue.inbox.oldest_of_each() == {ACCOUNT: START_MS + 3000, OTHER: START_MS + 4000}


async def test_a_message_has_the_names_that_its_people_are_known_by(tmp_path: Path) -> None:
    def member(user: str) -> MessageKey:
        return message_key("ID", from_me=False, group=GROUP, participant=user)

    pairs = (("900000000000001", "12025550101"), ("900000000000002", "12025550102"))
    lid_of_bob = ChatId(f"900000000000002@{LID_SERVER}")
    async with open_queue(tmp_path) as queue:
        of_ann, of_bob = message(1, ANN), message(2, lid_of_bob)
        sender = f"12025550101@{USER_SERVER}"
        in_group = message(3, GROUP, key=member("12025550101"), message_id="ID", sender=sender)
        own = message(4, GROUP, from_me=True, key=message_key("ID4", from_me=True, group=GROUP))
        unknown = message(5, ChatId(f"12025550109@{USER_SERVER}"))
        await hold(queue, of_ann, of_bob, in_group, own, unknown, pairs=pairs)
        rows = await rows_of(queue).due(LATER, 0, 10)
        found = await rows_of(queue).other_names(rows)
        assert {name: row.sequence for name, row in found.items()} == {
            (ACCOUNT, ChatId(f"900000000000001@{LID_SERVER}"), of_ann.key): 1,
            (ACCOUNT, BOB, of_bob.key): 2,
            (ACCOUNT, GROUP, member("900000000000001")): 3,
        }


def test_what_waits_from_an_older_release_is_not_held_back(tmp_path: Path) -> None:
    older = Schema("the queue", SCHEMA.application_id, SCHEMA.migrations[:12], {}, "")
    file = SqliteFile(tmp_path / "queue.db", older, START_MS / 1000)
    row = sealed_row(message(1))
    with file.transaction() as connection:
        columns = "account, chat, key, message_id, sender, sender_name, recipient, from_me, kind, text, has_media"
        more = "reply_to, timestamp, received_at, raw, seal"
        connection.execute(f"INSERT INTO inbox ({columns}, {more}) VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - ours
    file.close()

    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            assert await waiting(queue) == ["message 1"]
            assert (queue.inbox.depth, queue.inbox.held) == (1, 0)

    run_virtually(scenario())
