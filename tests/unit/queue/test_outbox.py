from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from support.virtual_time import run_virtually
from tandem.errors import Conflict, NotFound, Overloaded, Rejected
from tandem.model.ids import AccountId, ChatId, Jid, message_key
from tandem.model.message import DecodedMessage, DecodedReceipt
from tandem.model.outbox import OutboxRow, SendOutcome, SendResult, Target, Text, Wanted
from tandem.model.states import OutboxState, Slot
from tandem.queue.queue import Queue
from tandem.queue.settlement import settle_echo, settle_receipt
from unit.queue.parts import (
    ACCOUNT,
    ANN,
    BOB,
    NUMBER,
    accept_text,
    arrival,
    everything,
    message,
    open_queue,
    sendable,
    text_of,
    waiting,
)

ACCEPTED = SendResult(SendOutcome.ACCEPTED, "3EB0AA", 1_700_000_001)
UNKNOWN = SendResult(SendOutcome.UNKNOWN, error="no ack")
NOT_SENT = SendResult(SendOutcome.NOT_SENT, error="offline")


def echo(secret: bytes, message_id: str = "3EB0AA", **changes: Any) -> DecodedMessage:
    fields: dict[str, Any] = {
        "message_id": message_id,
        "chat": Jid("998877", "lid"),
        "sender": Jid("12025550100", "s.whatsapp.net", 3),
        "sender_alt": None,
        "recipient_alt": Jid("12025550101", "s.whatsapp.net"),
        "from_me": True,
        "is_group": False,
        "push_name": "",
        "timestamp": 1_700_000_001_000,
        "kind": "text",
        "text": "hi",
        "has_media": False,
        "reply_to": "",
        "secret": secret,
        "raw": b"",
    }
    return DecodedMessage(**(fields | changes))


def receipt(kind: str, *message_ids: str, from_me: bool = False) -> DecodedReceipt:
    ann = Jid("12025550101", "s.whatsapp.net")
    return DecodedReceipt(message_ids or ("3EB0AA",), ann, ann, from_me, kind, 1_700_000_002)


async def hear(queue: Queue, heard: DecodedMessage | DecodedReceipt, account: AccountId = ACCOUNT) -> None:
    now = queue.inbox._clock.now()
    if isinstance(heard, DecodedMessage):
        moves = await queue.database.write(lambda connection: settle_echo(connection, account, heard, now))
    else:
        moves = await queue.database.write(lambda connection: settle_receipt(connection, account, heard, now))
    queue.outbox.moved(moves)


async def accepted(queue: Queue, text: str = "hi", chat: ChatId = ANN) -> OutboxRow:
    row, _ = await accept_text(queue, chat, text)
    return row


async def sending(queue: Queue) -> OutboxRow:
    return await queue.outbox.mark_sending((await accepted(queue)).id, Slot.PRIMARY)


async def state_of(queue: Queue, row: OutboxRow) -> OutboxState:
    return (await queue.outbox.get(row.id)).state


async def test_what_is_accepted_is_on_disk_with_a_secret_of_its_own(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        one, two = await accepted(queue), await accepted(queue)
        assert len(one.secret) == 32
        assert one.secret != two.secret
    async with open_queue(tmp_path) as queue:
        assert await queue.outbox.get(one.id) == one
        assert queue.outbox.depth == 2
        assert [row.id for row in await sendable(queue)] == [one.id]
        with pytest.raises(NotFound):
            await queue.outbox.get("nothing")


async def test_the_same_key_and_body_give_the_same_row_also_after_a_restart(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        first, new = await accept_text(queue, ANN, "hi", "key")
        again, second = await accept_text(queue, ANN, "hi", "key")
        assert (new, second, again) == (True, False, first)
    async with open_queue(tmp_path) as queue:
        again, new = await accept_text(queue, ANN, "hi", "key")
        assert (again, new) == (first, False)
        for chat, text in ((ANN, "other"), (BOB, "hi")):
            with pytest.raises(Conflict):
                await accept_text(queue, chat, text, "key")
        other, new = await accept_text(queue, ANN, "hi", "key", AccountId("b" * 16))
        assert new
        assert other.id != first.id


async def test_simultaneous_requests_with_one_key_make_one_row(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        results = await asyncio.gather(*(accept_text(queue, ANN, "hi", "key") for _ in range(20)))
        assert sum(new for _, new in results) == 1
        assert len({row.id for row, _ in results}) == 1


async def test_a_full_backlog_refuses_one_account_and_no_other(tmp_path: Path) -> None:
    async with open_queue(tmp_path, max_outbox=2) as queue:
        first, _ = await accept_text(queue, ANN, "1", "key")
        await accepted(queue)
        with pytest.raises(Overloaded):
            await accepted(queue)
        assert await accept_text(queue, ANN, "1", "key") == (first, False)
        await queue.outbox.accept(AccountId("b" * 16), ANN, Text("hi"))
        await queue.outbox.mark_sending(first.id, None)
        await accepted(queue)


async def test_an_overloaded_key_can_be_used_again(tmp_path: Path) -> None:
    async with open_queue(tmp_path, max_outbox=1) as queue:
        row = await accepted(queue)
        with pytest.raises(Overloaded):
            await accept_text(queue, ANN, "later", "key")
        await queue.outbox.mark_sending(row.id, None)
        _, new = await accept_text(queue, ANN, "later", "key")
        assert new


async def test_a_row_is_claimed_once(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await accepted(queue)
        results = await asyncio.gather(
            *(queue.outbox.mark_sending(row.id, Slot.BACKUP) for _ in range(5)), return_exceptions=True
        )
        assert sum(isinstance(result, OutboxRow) for result in results) == 1
        assert sum(isinstance(result, Conflict) for result in results) == 4


async def test_order_within_a_chat_and_no_waiting_between_chats(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        first, _second = await accepted(queue, "1"), await accepted(queue, "2")
        other = await accepted(queue, "3", BOB)

        async def texts() -> list[str]:
            return [text_of(row) for row in await sendable(queue, 30.0)]

        assert await texts() == ["1", "3"]
        await queue.outbox.mark_sending(first.id, Slot.PRIMARY)
        assert await texts() == ["3"]
        await queue.outbox.record(first.id, NOT_SENT)
        assert await texts() == ["1", "3"]
        await queue.outbox.mark_sending(first.id, Slot.PRIMARY)
        await queue.outbox.record(first.id, UNKNOWN)
        assert await texts() == ["3"]  # held back while the fate of the first is open
        await hear(queue, echo(first.secret))
        assert await texts() == ["2", "3"]
        await queue.outbox.mark_sending(other.id, Slot.PRIMARY)
        assert await texts() == ["2"]


async def test_a_send_in_the_air_at_a_restart_is_unknown(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await sending(queue)
    async with open_queue(tmp_path) as queue:
        found = await queue.outbox.get(row.id)
        assert (found.state, found.attempts, found.slot) == (OutboxState.UNKNOWN, 1, Slot.PRIMARY)
        assert "may have been sent" in found.reason
        assert queue.outbox.depth == 0


async def test_offline_time_is_no_attempt(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await accepted(queue)
        for _ in range(20):
            await queue.outbox.mark_sending(row.id, Slot.PRIMARY)
            await queue.outbox.record(row.id, NOT_SENT)
        assert (await queue.outbox.get(row.id)).attempts == 0
        assert queue.outbox.depth == 1


async def test_an_accepted_message_is_part_of_the_conversation_once(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await sending(queue)
        move = await queue.outbox.record(row.id, ACCEPTED)
        assert move.newly_sent
        [pending] = await queue.inbox.pending(10, everything)
        kept = pending.message
        assert (kept.text, kept.from_me, kept.chat, kept.key) == ("hi", True, ANN, "3EB0AA-out")
        assert kept.sender == f"{NUMBER.removeprefix('+')}@s.whatsapp.net"
        assert kept.timestamp == 1_700_000_001_000
        await queue.outbox.record(row.id, ACCEPTED)
        assert await waiting(queue) == ["hi"]
        assert queue.outbox.sent == {ACCOUNT: 1}


@pytest.mark.parametrize("result", [UNKNOWN, NOT_SENT, SendResult(SendOutcome.REJECTED, error="463")])
async def test_an_echo_is_proof_whatever_the_call_said(tmp_path: Path, result: SendResult) -> None:
    async with open_queue(tmp_path) as queue:
        row = await sending(queue)
        await hear(queue, echo(row.secret))
        await queue.outbox.record(row.id, result)
        found = await queue.outbox.get(row.id)
        assert (found.state, found.message_id) == (OutboxState.SENT, "3EB0AA")

        row = await sending(queue)
        await queue.outbox.record(row.id, result)
        await hear(queue, echo(row.secret, "3EB0BB"))
        assert await state_of(queue, row) is OutboxState.SENT


async def test_an_echo_of_another_account_or_without_our_secret_settles_nothing(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await sending(queue)
        await hear(queue, echo(row.secret), AccountId("b" * 16))
        await hear(queue, echo(b"s" * 32))
        await hear(queue, echo(b""))
        await hear(queue, echo(row.secret, from_me=False))
        assert await state_of(queue, row) is OutboxState.SENDING


@pytest.mark.parametrize(
    ("chat", "group", "key"),
    [
        ("12025550101@s.whatsapp.net", False, "3EB0AA-out"),
        ("998877@lid", False, "3EB0AA-out"),
        ("120363000000000001@g.us", True, None),
        ("120363000000000002@newsletter", True, None),
        ("unheard of", True, None),
    ],
)
async def test_what_was_sent_and_its_echo_are_one_message_in_every_kind_of_chat(
    tmp_path: Path,
    chat: str,
    group: bool,  # noqa: FBT001 - pytest passes it by name
    key: str | None,
) -> None:
    async with open_queue(tmp_path) as queue:
        row = await accepted(queue, chat=ChatId(chat))
        await queue.outbox.mark_sending(row.id, Slot.PRIMARY)
        await queue.outbox.record(row.id, ACCEPTED)
        [pending] = await queue.inbox.pending(10, everything)
        expected = message_key("3EB0AA", from_me=True, group=chat if group else "")
        assert pending.message.key == expected
        assert key is None or expected == key


async def test_a_lid_chat_of_somebody_known_is_kept_under_the_number(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.inbox.put([arrival(message(1), pairs=(("998877", "12025550101"),))])
        row = await accepted(queue, chat=ChatId("998877@lid"))
        await queue.outbox.mark_sending(row.id, Slot.PRIMARY)
        await queue.outbox.record(row.id, ACCEPTED)
        assert [pending.message.chat for pending in await queue.inbox.pending(10, everything)] == [ANN, ANN]


async def test_what_is_no_text_is_refused_at_the_door(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        with pytest.raises(Rejected):
            await accepted(queue, "half an emoji \ud83c")


async def test_receipts_only_grow(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await sending(queue)
        await queue.outbox.record(row.id, ACCEPTED)
        for kind, expected in (
            ("sender", OutboxState.SENT),
            ("delivered", OutboxState.DELIVERED),
            ("read", OutboxState.READ),
            ("delivered", OutboxState.READ),
        ):
            await hear(queue, receipt(kind))
            assert await state_of(queue, row) is expected


async def test_receipts_of_own_devices_say_nothing_of_the_recipient(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await sending(queue)
        await queue.outbox.record(row.id, ACCEPTED)
        await hear(queue, receipt("delivered", from_me=True))
        assert await state_of(queue, row) is OutboxState.SENT


async def test_a_receipt_that_overtakes_the_result_is_not_lost(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await sending(queue)
        await hear(queue, receipt("read", "OTHER", "3EB0AA"))
        await hear(queue, receipt("delivered"))
        move = await queue.outbox.record(row.id, ACCEPTED)
        assert move.after.state is OutboxState.READ
        assert move.newly_sent
        assert queue.outbox.sent == {ACCOUNT: 1}


async def test_an_unknown_send_goes_again_only_while_it_is_unknown(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await sending(queue)
        await queue.outbox.record(row.id, UNKNOWN)
        await hear(queue, echo(row.secret))
        assert await sendable(queue) == []
        assert await state_of(queue, row) is OutboxState.SENT


async def test_listeners_hear_of_their_account_until_they_leave(tmp_path: Path) -> None:
    heard: list[AccountId] = []
    async with open_queue(tmp_path) as queue:
        leave = queue.outbox.subscribe(heard.append)
        await accepted(queue)
        leave()
        await accepted(queue)
    assert heard == [ACCOUNT]


async def test_no_text_and_no_secret_shows_when_a_row_is_printed(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await accepted(queue, "confidential")
        assert "confidential" not in repr(row)
        assert row.secret.hex() not in repr(row)
        assert repr(row.secret) not in repr(row)


def in_time(directory: Path, scenario: Callable[[Queue], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def run() -> None:
        async with open_queue(directory, **settings) as queue:
            await scenario(queue)

    run_virtually(run())


def test_a_message_expires_by_age_alone_and_only_if_it_was_not_sent(tmp_path: Path) -> None:
    async def scenario(queue: Queue) -> None:
        row, other = await accepted(queue), await accepted(queue, "x", BOB)
        await queue.outbox.mark_sending(other.id, Slot.PRIMARY)
        await queue.outbox.record(other.id, UNKNOWN)
        await asyncio.sleep(59)
        assert await queue.outbox.expire() == []
        await asyncio.sleep(2)
        assert await sendable(queue) == []
        assert [move.after.id for move in await queue.outbox.expire()] == [row.id]
        assert await queue.outbox.counts() == {OutboxState.EXPIRED: 1, OutboxState.UNKNOWN: 1}
        assert queue.outbox.depth == 0
        with pytest.raises(Conflict):
            await queue.outbox.mark_sending(row.id, None)

    in_time(tmp_path, scenario, outbox_expiry=60)


def test_idempotency_keys_are_kept_a_day_at_least_and_not_for_ever(tmp_path: Path) -> None:
    async def scenario(queue: Queue) -> None:
        row, _ = await accept_text(queue, ANN, "hi", "key")
        await asyncio.sleep(24 * 3600)
        await queue.outbox.prune()
        assert await accept_text(queue, ANN, "hi", "key") == (row, False)
        await asyncio.sleep(25 * 3600)
        await queue.outbox.prune()
        _, new = await accept_text(queue, ANN, "another", "key")
        assert new

    in_time(tmp_path, scenario, outbox_expiry=10 * 24 * 3600)


def test_depth_and_age_are_known_without_asking_the_disk(tmp_path: Path) -> None:
    async def scenario(queue: Queue) -> None:
        assert queue.outbox.oldest_age == 0
        row = await accepted(queue)
        await asyncio.sleep(7)
        await accepted(queue)
        assert queue.outbox.depth == 2
        assert queue.outbox.oldest_age == pytest.approx(7)
        await queue.outbox.mark_sending(row.id, None)
        await queue.outbox.record(row.id, ACCEPTED)
        assert queue.outbox.depth == 1
        assert queue.outbox.oldest_age == pytest.approx(0)

    in_time(tmp_path, scenario)


def test_finished_rows_are_forgotten_after_a_month_and_waiting_ones_never(tmp_path: Path) -> None:
    async def scenario(queue: Queue) -> None:
        done, left = await accepted(queue), await accepted(queue, "x", BOB)
        await queue.outbox.mark_sending(done.id, None)
        await queue.outbox.record(done.id, ACCEPTED)
        await asyncio.sleep(31 * 24 * 3600)
        await queue.outbox.prune()
        with pytest.raises(NotFound):
            await queue.outbox.get(done.id)
        assert await state_of(queue, left) is OutboxState.QUEUED

    in_time(tmp_path, scenario, outbox_expiry=90 * 24 * 3600)


async def test_only_what_is_queued_can_be_cancelled_and_then_it_is_never_sent(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row, behind = await accepted(queue), await accepted(queue, "behind")
        cancelled = await queue.outbox.cancel(row.id)
        assert (cancelled.state, cancelled.ended_at > 0, queue.outbox.depth) == (OutboxState.CANCELLED, True, 1)
        assert [each.id for each in await sendable(queue, 0.0)] == [behind.id]
        with pytest.raises(Conflict, match="cancelled"):
            await queue.outbox.cancel(row.id)
        await queue.outbox.mark_sending(behind.id, Slot.PRIMARY)
        for act in (queue.outbox.cancel, queue.outbox.resend, queue.outbox.give_up):
            with pytest.raises(Conflict, match="a message that is sending"):
                await act(behind.id)


async def test_what_was_given_up_and_arrived_all_the_same_is_sent(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await sending(queue)
        await queue.outbox.record(row.id, UNKNOWN)
        await queue.outbox.give_up(row.id)
        await hear(queue, echo(row.secret))
        found = await queue.outbox.get(row.id)
        assert (found.state, found.ended_at) == (OutboxState.SENT, 0.0)


def test_each_state_has_its_time(tmp_path: Path) -> None:
    async def scenario(queue: Queue) -> None:
        row = await accepted(queue)
        for step in ("send", "delivered", "read"):
            await asyncio.sleep(10)
            if step == "send":
                await queue.outbox.mark_sending(row.id, None)
                await queue.outbox.record(row.id, ACCEPTED)
            else:
                await hear(queue, receipt(step))
        found = await queue.outbox.get(row.id)
        times = (found.sent_at, found.delivered_at, found.read_at, found.ended_at)
        assert times == (row.created_at + 10, row.created_at + 20, row.created_at + 30, 0.0)

    in_time(tmp_path, scenario)


def test_an_expired_message_does_not_hold_its_chat_and_ends_within_a_second(tmp_path: Path) -> None:
    async def scenario(queue: Queue) -> None:
        tidying = asyncio.create_task(queue.keep_tidy())
        row, _ = await accept_text(queue, ANN, "short-lived", expires_in=90.5)
        behind = await accepted(queue, "behind")
        await asyncio.sleep(90.6)
        assert [each.id for each in await sendable(queue, 0.0)] == [behind.id]
        with pytest.raises(Conflict, match="over"):
            await queue.outbox.mark_sending(row.id, None)
        await asyncio.sleep(1)
        assert await state_of(queue, row) is OutboxState.EXPIRED
        assert await state_of(queue, behind) is OutboxState.QUEUED
        tidying.cancel()

    in_time(tmp_path, scenario)


def test_what_is_resent_has_its_whole_time_again(tmp_path: Path) -> None:
    async def scenario(queue: Queue) -> None:
        row, _ = await accept_text(queue, ANN, "hi", expires_in=60)
        await queue.outbox.mark_sending(row.id, None)
        await queue.outbox.record(row.id, UNKNOWN)
        await asyncio.sleep(1000)
        await queue.outbox.resend(row.id)
        assert not queue.outbox.overdue
        await asyncio.sleep(61)
        assert queue.outbox.overdue

    in_time(tmp_path, scenario)


async def test_pages_show_every_message_once_newest_first(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        ids = [(await accepted(queue, str(number), (ANN, BOB)[number % 2])).id for number in range(7)]
        await queue.outbox.cancel(ids[4])
        found, place = [], None
        while True:
            page, place = await queue.outbox.page(Wanted(ACCOUNT, before=place), 3)
            found += [row.id for row in page]
            if place is None:
                break
        assert found == ids[::-1]
        assert [row.id for row in (await queue.outbox.page(Wanted(chat=BOB), 9))[0]] == [ids[5], ids[3], ids[1]]
        assert [row.id for row in (await queue.outbox.page(Wanted(state=OutboxState.CANCELLED), 9))[0]] == [ids[4]]
        assert await queue.outbox.page(Wanted(AccountId("b" * 16)), 9) == ([], None)


async def test_a_removed_accounts_messages_are_never_sent_by_its_successor(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        unknown = await sending(queue)
        queued = await accepted(queue, "queued", BOB)
        await queue.outbox.record(unknown.id, UNKNOWN)
        under_way = await queue.outbox.mark_sending((await accepted(queue, "now", ChatId("1@lid"))).id, None)
        await queue.registry.remove_account(ACCOUNT)
        assert {await state_of(queue, row) for row in (unknown, queued, under_way)} == {OutboxState.CANCELLED}
        assert queue.outbox.depth == 0
        assert (await queue.outbox.record(under_way.id, ACCEPTED)).after.state is OutboxState.SENT


async def test_messages_that_others_refer_to_are_found_before_the_store_has_them(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        row = await sending(queue)
        assert await queue.outbox.known(ACCOUNT, ANN, "3EB0AA") == []
        await queue.outbox.record(row.id, ACCEPTED)
        own = Target("3EB0AA", "12025550100@s.whatsapp.net", from_me=True, text="hi")
        assert await queue.outbox.known(ACCOUNT, ANN, "3EB0AA") == [own]
        assert await queue.outbox.known(ACCOUNT, BOB, "3EB0AA") == []
        theirs = message(7)
        await queue.inbox.put([arrival(theirs)])
        found = Target(theirs.message_id, str(ANN), text="message 7")
        assert await queue.outbox.known(ACCOUNT, ANN, theirs.message_id) == [found]
