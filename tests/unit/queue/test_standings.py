from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tandem.inbound.intake import Result, Work, _apply
from tandem.model.ids import GROUP_SERVER, LID_SERVER, USER_SERVER, AccountId, ChatId, Jid, own_key
from tandem.model.message import DecodedReceipt, Message, RawEvent, Standing, StatusUpdate
from tandem.model.states import MessageStatus, Slot
from tandem.queue.announcements import MESSAGE_SENT, MESSAGE_STATUS, WEBHOOK
from tandem.queue.queue import Queue
from tandem.queue.standings import receipt_came
from unit.queue.parts import ACCOUNT, ANN, START_MS, arrival, everything, message, open_queue

ANN_JID = Jid("12025550101", USER_SERVER)
ANN_LID = Jid("900000000000001", LID_SERVER)
GROUP = Jid("120363000000000001", GROUP_SERVER)
AT = START_MS // 1000


def own(number: int = 1, chat: ChatId = ANN) -> Message:
    key = own_key(f"3EB0{number:012X}", Jid.parse(chat))
    return message(number, chat, from_me=True, key=key, sender_name="")


def receipt(
    kind: str, at: int, *numbers: int, chat: Jid = ANN_JID, sender: Jid | None = None, from_me: bool = False
) -> DecodedReceipt:
    ids = tuple(f"3EB0{number:012X}" for number in numbers or (1,))
    return DecodedReceipt(ids, chat, sender or chat, from_me, kind, at)


async def take(queue: Queue, *receipts: DecodedReceipt) -> Result:
    event = RawEvent(ACCOUNT, Slot.PRIMARY, 1, 1, 18, b"", START_MS / 1000)
    works = [Work(event, each, None) for each in receipts]
    return await queue.database.write(lambda connection: _apply(connection, works, START_MS / 1000))


async def put_own(queue: Queue, *messages: Message) -> None:
    await queue.inbox.put([arrival(each) for each in messages])


async def store_all(queue: Queue) -> list[Standing]:
    """Let the store take what waits; return where those messages stood when they were written."""
    pending = await queue.inbox.pending(100, everything)
    await queue.inbox.settle(pending)
    return [each.message.standing for each in pending]


async def untold(queue: Queue) -> Sequence[StatusUpdate]:
    return [each.update for each in await queue.standings.untold(100)]


async def test_a_receipt_of_a_stored_message_waits_for_the_store_until_that_has_it(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put_own(queue, own())
        assert await store_all(queue) == [Standing(MessageStatus.SENT)]
        assert await untold(queue) == []
        assert (await take(queue, receipt("delivered", AT + 5))).advanced == 1
    async with open_queue(tmp_path) as queue:
        [update] = await untold(queue)
        assert (update.chat, update.key) == (ANN, own().key)
        assert update.standing == Standing(MessageStatus.DELIVERED, START_MS + 5000)
        assert await queue.standings.count_untold() == 1
        await queue.inbox.settle((), (), [update])
        assert await untold(queue) == []


async def test_what_comes_while_the_store_is_told_is_told_next(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put_own(queue, own())
        await store_all(queue)
        await take(queue, receipt("delivered", AT + 5))
        [update] = await untold(queue)
        await take(queue, receipt("read", AT + 9))
        await queue.inbox.settle((), (), [update])
        [later] = await untold(queue)
        assert later.standing == Standing(MessageStatus.READ, START_MS + 5000, START_MS + 9000)


async def test_a_receipt_before_the_store_has_the_message_goes_with_the_message(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put_own(queue, own())
        await take(queue, receipt("delivered", AT + 5))
        assert await untold(queue) == []  # nothing to update yet
        assert await store_all(queue) == [Standing(MessageStatus.DELIVERED, START_MS + 5000)]
        assert await untold(queue) == []


async def test_a_receipt_while_the_message_is_being_written_follows_it(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put_own(queue, own())
        pending = await queue.inbox.pending(100, everything)
        await take(queue, receipt("read", AT + 5))
        await queue.inbox.settle(pending)
        [update] = await untold(queue)
        assert update.standing.status is MessageStatus.READ


async def test_a_receipt_before_its_message_is_kept_for_it(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await take(queue, receipt("read", AT + 5))
        assert await untold(queue) == []
    async with open_queue(tmp_path) as queue:
        await put_own(queue, own())
        assert await store_all(queue) == [Standing(MessageStatus.READ, START_MS + 5000, START_MS + 5000)]
        assert await untold(queue) == []


async def test_nothing_is_ever_taken_back(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put_own(queue, own())
        await store_all(queue)
        await take(queue, receipt("played", AT + 9), receipt("read", AT + 7), receipt("delivered", AT + 5))
        assert (await take(queue, receipt("delivered", AT + 20), receipt("read", AT + 20))).advanced == 0
        [update] = await untold(queue)
        assert update.standing == Standing(MessageStatus.PLAYED, START_MS + 5000, START_MS + 7000)


async def test_a_receipt_finds_its_message_under_either_name_and_in_its_group_only(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        group = ChatId(str(GROUP))
        await put_own(queue, own(1), own(2, group))
        await store_all(queue)
        await take(queue, receipt("delivered", AT + 5, 1, 2, chat=ANN_LID))
        assert [update.chat for update in await untold(queue)] == [ANN]
        await take(queue, receipt("delivered", AT + 6, 2, chat=GROUP, sender=ANN_LID))
        await take(queue, receipt("delivered", AT + 8, 2, chat=GROUP, sender=ANN_JID))  # the first one counts
        assert [(update.chat, update.standing.delivered_at) for update in await untold(queue)] == [
            (ANN, START_MS + 5000),
            (group, START_MS + 6000),
        ]


async def test_what_says_nothing_of_the_recipient_changes_nothing(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put_own(queue, own())
        await store_all(queue)
        others = [receipt(kind, AT) for kind in ("retry", "sender", "inactive", "server-error")]
        result = await take(queue, receipt("read", AT, from_me=True), *others)
        assert result.advanced == 0
        assert await untold(queue) == []


async def test_a_receipt_without_a_time_counts_from_its_arrival(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put_own(queue, own())
        await take(queue, receipt("delivered", 0), receipt("delivered", 2**62))
        assert await store_all(queue) == [Standing(MessageStatus.DELIVERED, START_MS)]


async def test_receipts_of_nothing_are_forgotten_and_those_to_be_told_are_not(tmp_path: Path) -> None:
    async with open_queue(tmp_path, dedupe_days=1) as queue:
        await put_own(queue, own(1), own(3))
        await store_all(queue)
        await take(queue, receipt("delivered", AT, 1), receipt("delivered", AT, 2))
        clock = queue._clock
        later = clock.now() + 3 * 86_400
        queue.standings._clock = type("Later", (), {"now": staticmethod(lambda: later)})()
        await queue.standings.prune()
        rows = await queue.database.read(
            lambda connection: connection.execute("SELECT key FROM standings ORDER BY seq").fetchall()
        )
        assert rows == [(own(1).key,)]


async def test_webhooks_are_told_in_the_same_transaction_and_in_order(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.deliveries.configure(WEBHOOK, ["hooks.example-1"])
        await put_own(queue, own())
        await put_own(queue, own())  # the other slot's copy is no news
        await take(queue, receipt("read", AT + 7), receipt("delivered", AT + 5), receipt("read", AT + 7))
        await take(queue, receipt("read", AT + 5, 99))  # of a message that nobody knows
        told = []
        while found := await queue.deliveries.due("hooks.example-1", 10):
            assert len(found) == 1  # one chat is one lane
            told.append(json.loads(found[0].parcel.payload))
            await queue.deliveries.delivered(found[0])
        assert [each["type"] for each in told] == [MESSAGE_SENT, MESSAGE_STATUS]
        assert told[0]["data"]["body"] == "message 1"
        assert told[1]["data"] | {"account": ACCOUNT} == {
            "account": ACCOUNT,
            "id": own().message_id,
            "chatId": ANN,
            "status": "read",
            "deliveredAt": START_MS + 7000,
            "readAt": START_MS + 7000,
        }


async def test_webhooks_are_not_told_of_what_another_instance_runs(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.deliveries.configure(WEBHOOK, ["hooks.example-1"])
        event = RawEvent(ACCOUNT, Slot.PRIMARY, 1, 1, 18, b"", START_MS / 1000)
        await queue.inbox.put([arrival(own(), held=True)])
        works = [Work(event, receipt("read", AT + 5), None)]
        others = frozenset({ACCOUNT})
        result = await queue.database.write(lambda connection: _apply(connection, works, float(AT), others))
        assert (result.advanced, result.elsewhere) == (0, {ACCOUNT})
        assert await queue.deliveries.due("hooks.example-1", 10) == []


async def test_only_of_accounts_that_are_run_here_the_store_is_told(tmp_path: Path) -> None:
    accounts = [AccountId(letter * 16) for letter in "abcde"]
    holding: set[AccountId] = {accounts[1], accounts[3]}
    async with open_queue(tmp_path) as queue:
        for number in range(20):
            mine = message(number, from_me=True, account=accounts[number % 5], key=own(number).key)
            await put_own(queue, mine)
            await store_all(queue)
            read = receipt("read", AT + 5, number)
            await queue.database.write(partial(receipt_came, account=mine.account, receipt=read, now=5.0))

        async def told(limit: int) -> list[AccountId]:
            return [each.update.account for each in await queue.standings.untold(limit, lambda one: one in holding)]

        assert await told(3) == [accounts[1], accounts[3], accounts[1]]
        assert await told(100) == [accounts[1], accounts[3]] * 4
        assert queue.standings.elsewhere == set(accounts) - holding
        holding.clear()
        assert await told(100) == []
        holding.update(accounts)
        assert len(await told(100)) == 20
        assert queue.standings.elsewhere == set()

        holding.clear()
        await told(100)
        await queue.standings.forget_told_elsewhere(accounts[0], before=5.0)
        assert await queue.standings.count_untold() == 20, "not what changed then"
        await queue.standings.forget_told_elsewhere(accounts[0], before=5.1)
        assert await queue.standings.count_untold() == 16
        await queue.standings.forget_told_elsewhere(accounts[0], before=5.1)
        assert queue.standings.elsewhere == set(accounts[1:])
