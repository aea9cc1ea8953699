"""The dispatcher's pace, and what it does about refusals, bans and calls that do not come back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.virtual_time import VirtualClock
from tandem.model.event import EventType
from tandem.model.ids import ChatId
from tandem.model.outbox import SendOutcome, SendResult
from tandem.model.states import OutboxState, SendingState, Slot
from tandem.outbound.pacing import Rates
from tandem.policy.pacing import Rate
from unit.outbound.rig import Rig, run
from unit.queue.parts import ANN, BOB

FREE = Rate(100_000, 100_000)
CAROL = ChatId("12025550103@s.whatsapp.net")


def test_a_paced_chat_keeps_its_order_and_holds_up_nobody(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        for number in range(6):
            await rig.accept(f"a{number}", ANN)
        await rig.accept("b", BOB)
        await asyncio.sleep(1)
        assert rig.pair.left == ["a0", "b", "a1"]
        await asyncio.sleep(12.1)
        assert [text for text in rig.pair.left if text != "b"] == ["a0", "a1", "a2", "a3"]
        await asyncio.sleep(12.1)
        assert [text for text in rig.pair.left if text != "b"] == [f"a{number}" for number in range(6)]

    run(tmp_path, scenario, rates=Rates(account=FREE, chat=Rate(10, 2)))


def test_the_account_as_a_whole_has_a_pace(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        for number in range(20):
            await rig.accept(str(number), ChatId(f"120255501{number:02d}@s.whatsapp.net"))
        await asyncio.sleep(1.5)
        assert len(rig.pair.left) == 4
        assert rig.dispatcher.sending.per_minute == 60
        assert "pacing" in rig.dispatcher.sending.reason
        await asyncio.sleep(10)
        assert len(rig.pair.left) == 14

    run(tmp_path, scenario, rates=Rates(account=Rate(60, 3), chat=FREE))


def test_what_could_not_leave_does_not_use_up_the_pace(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pair.online = False
        for number in range(3):
            await rig.accept(str(number))
        await asyncio.sleep(600)
        rig.pair.online = True
        rig.dispatcher.wake()
        await asyncio.sleep(1)
        assert rig.pair.left == ["0", "1", "2"]

    run(tmp_path, scenario, rates=Rates(account=Rate(0.01, 3), chat=Rate(0.01, 3)))


def test_a_rate_limit_pauses_both_slots_is_told_and_costs_the_message_nothing(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        async def limited(_chat: ChatId, _text: str) -> SendResult:
            rig.pair.behaviour = None
            return SendResult(SendOutcome.NOT_SENT, error="rate limited by WhatsApp (429)", code=429)

        rig.pair.behaviour = limited
        row, other = await rig.accept("1"), await rig.accept("2", BOB)
        await asyncio.sleep(1)
        rig.pair.active = Slot.BACKUP  # the number is limited, not the device
        rig.dispatcher.wake()
        await asyncio.sleep(25)
        assert "1" not in rig.pair.left
        [told] = rig.told.of(EventType.RATE_LIMIT_DETECTED)
        assert "429" in told["message"]
        view = rig.dispatcher.sending
        assert (view.state, view.per_minute) == (SendingState.PAUSED, 0)
        assert 0 < view.until - VirtualClock().now() < 30
        await asyncio.sleep(6)
        assert (await rig.state(row), await rig.state(other)) == (OutboxState.SENT, OutboxState.SENT)
        assert (await rig.queue.outbox.get(row.id)).attempts == 1
        states = [rig.dispatcher.sending.state]
        await asyncio.sleep(300)
        assert [*states, rig.dispatcher.sending.state] == [SendingState.SLOWED, SendingState.NORMAL]

    run(tmp_path, scenario)


@pytest.mark.parametrize("paced", [True, False])
def test_a_reach_out_restriction_holds_new_contacts_only(tmp_path: Path, *, paced: bool) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.accept("we talk", ANN)
        await asyncio.sleep(1)

        async def restricted(_chat: ChatId, _text: str) -> SendResult:
            rig.pair.behaviour = None
            return SendResult(SendOutcome.REJECTED, error="WhatsApp refused the message (463)", code=463)

        rig.pair.behaviour = restricted
        refused = await rig.accept("cold", BOB)
        await asyncio.sleep(1)
        stranger, friend = await rig.accept("hello?", CAROL), await rig.accept("still here", ANN)
        await asyncio.sleep(60)
        assert await rig.state(refused) is OutboxState.FAILED
        assert (await rig.state(stranger), await rig.state(friend)) == (OutboxState.QUEUED, OutboxState.SENT)
        assert "new contacts" in rig.dispatcher.sending.reason
        assert rig.dispatcher.sending.per_minute == 60
        sending, now = rig.dispatcher.sending, VirtualClock().now()
        assert (round(now - sending.strangers_since), round(sending.strangers_until - now)) == (61, 839)
        await asyncio.sleep(900)
        assert await rig.state(stranger) is OutboxState.SENT
        assert rig.dispatcher.sending.strangers_until == 0

    run(tmp_path, scenario, rates=Rates(paced=paced))


def test_a_ban_stops_both_slots_until_its_end_and_the_messages_wait(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pair.banned_until = VirtualClock().now() + 3600
        rows = [await rig.accept(str(number)) for number in range(3)]
        for slot in (Slot.BACKUP, Slot.PRIMARY):
            rig.pair.active = slot
            rig.dispatcher.wake()
            await asyncio.sleep(1790)
        assert rig.pair.tried == []
        assert {await rig.state(row) for row in rows} == {OutboxState.QUEUED}
        states = [rig.dispatcher.sending.state]
        await asyncio.sleep(21)
        assert rig.pair.left == ["0", "1", "2"]
        assert [*states, rig.dispatcher.sending.state] == [SendingState.BANNED, SendingState.NORMAL]

    run(tmp_path, scenario)


def test_an_overdue_call_is_unknown_in_two_seconds_and_the_others_go_by_the_partner(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        unsettled: list[float] = []
        rig.dispatcher.unsettled = lambda: unsettled.append(VirtualClock().monotonic())

        async def silent_for_one(_chat: ChatId, text: str) -> SendResult:
            await asyncio.sleep(10**6 if text == "1" else 0)
            rig.pair.left.append(text)
            return SendResult(SendOutcome.ACCEPTED, f"ID{text}")

        rig.pair.behaviour = silent_for_one
        row = await rig.accept("1")
        await asyncio.sleep(1.9)
        other = await rig.accept("2", BOB)
        assert await rig.state(row) is OutboxState.SENDING
        await asyncio.sleep(0.2)
        assert (await rig.state(row), await rig.state(other)) == (OutboxState.UNKNOWN, OutboxState.SENT)
        third = await rig.accept("3", CAROL)
        await asyncio.sleep(0.5)
        assert await rig.state(third) is OutboxState.QUEUED  # its slot is stuck in the library
        rig.pair.active = Slot.BACKUP
        rig.dispatcher.wake()
        await asyncio.sleep(0.1)
        assert await rig.state(third) is OutboxState.SENT
        assert (rig.pair.recycled, rig.dispatcher.call_ended(row.id)) == ([], None)
        await asyncio.sleep(3)
        assert rig.pair.recycled == [Slot.PRIMARY]
        ended = rig.dispatcher.call_ended(row.id)
        assert ended is not None
        assert ended - row.created_at == pytest.approx(5, abs=0.1)
        assert len(unsettled) == 2
        assert await rig.state(row) is OutboxState.UNKNOWN

    run(tmp_path, scenario)


def test_an_answer_that_comes_late_is_proof(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        async def late(_chat: ChatId, _text: str) -> SendResult:
            await asyncio.sleep(4)
            return SendResult(SendOutcome.ACCEPTED, "IDlate")

        rig.pair.behaviour = late
        row = await rig.accept("1")
        await asyncio.sleep(3)
        assert await rig.state(row) is OutboxState.UNKNOWN
        await asyncio.sleep(2)
        found = await rig.queue.outbox.get(row.id)
        assert (found.state, found.message_id, found.attempts) == (OutboxState.SENT, "IDlate", 1)
        assert rig.pair.recycled == []

    run(tmp_path, scenario)


def test_healthy_means_nobody_is_ended_and_nothing_is_slowed(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        for number in range(40):
            await rig.accept(str(number))
        await asyncio.sleep(600)
        assert len(rig.pair.left) == 40
        assert rig.pair.recycled == []
        assert rig.told.of(EventType.RATE_LIMIT_DETECTED) == []
        assert rig.dispatcher.sending.state is SendingState.NORMAL

    run(tmp_path, scenario)


def test_an_hour_offline_with_many_chats_delivers_all_on_return_in_order(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pair.online = False
        chats = [ChatId(f"120255501{number:02d}@s.whatsapp.net") for number in range(10)]
        rows = []
        for number in range(200):
            rows.append(await rig.accept(f"{number % 10} {number}", chats[number % 10]))
            await asyncio.sleep(3600 / 200)
        assert {await rig.state(row) for row in rows} == {OutboxState.QUEUED}
        rig.pair.online = True
        rig.dispatcher.wake()
        await asyncio.sleep(60)
        found = [await rig.queue.outbox.get(row.id) for row in rows]
        assert {(row.state, row.attempts) for row in found} == {(OutboxState.SENT, 1)}
        for number in range(10):
            sent = [text for text in rig.pair.left if text.startswith(f"{number} ")]
            assert sent == [f"{number} {each}" for each in range(number, 200, 10)]

    run(tmp_path, scenario)
