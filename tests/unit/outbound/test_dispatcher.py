from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tandem.errors import NotOnline, StoreUnavailable
from tandem.model.event import EventType
from tandem.model.ids import ChatId
from tandem.model.outbox import SendOutcome, SendResult
from tandem.model.states import OutboxState, Slot
from unit.outbound.rig import Rig, run
from unit.queue.parts import ANN, BOB


def test_what_is_accepted_is_sent_at_once_and_told_once(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        row = await rig.accept("hi")
        await asyncio.sleep(0.02)
        found = await rig.queue.outbox.get(row.id)
        assert (found.state, found.slot, found.message_id, found.attempts) == (OutboxState.SENT, Slot.PRIMARY, "ID1", 1)
        assert [each["outbox_id"] for each in rig.told.of(EventType.MESSAGE_SENT)] == [row.id]

    run(tmp_path, scenario)


def test_order_is_kept_within_a_chat(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        for number in range(30):
            await rig.accept(str(number))
        await asyncio.sleep(5)
        assert rig.pair.left == [str(number) for number in range(30)]

    run(tmp_path, scenario)


def test_a_slow_chat_holds_up_no_other_and_the_bound_holds(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        async def slow_for_ann(chat: ChatId, text: str) -> SendResult:
            await asyncio.sleep(1.9 if chat == ANN else 0.1)
            rig.pair.left.append(text)
            return SendResult(SendOutcome.ACCEPTED, text)

        rig.pair.behaviour = slow_for_ann
        await rig.accept("slow")
        for number in range(8):
            await rig.accept(f"{number}", ChatId(f"1202555012{number}@s.whatsapp.net"))
        await asyncio.sleep(1)
        assert sorted(rig.pair.left) == [f"{number}" for number in range(8)]
        assert rig.pair.most_under_way == 2
        await asyncio.sleep(1)
        assert (rig.pair.left[-1], rig.pair.recycled) == ("slow", [])

    run(tmp_path, scenario)


def test_the_row_is_sending_on_disk_before_the_library_is_called(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        seen: list[OutboxState] = []

        async def look(_chat: ChatId, _text: str) -> SendResult:
            seen.append(await rig.state(row))
            return SendResult(SendOutcome.ACCEPTED, "ID")

        rig.pair.behaviour = look
        row = await rig.accept("hi")
        await asyncio.sleep(1)
        assert seen == [OutboxState.SENDING]

    run(tmp_path, scenario)


def test_an_hour_offline_costs_no_attempt_and_all_is_sent_on_return_in_order(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pair.online = False
        rows = [await rig.accept(str(number)) for number in range(10)]
        await asyncio.sleep(3600)
        assert len(rig.pair.tried) < 3600 / 10  # it waits, it does not spin
        assert {await rig.state(row) for row in rows} == {OutboxState.QUEUED}
        rig.pair.online = True
        rig.dispatcher.wake()
        await asyncio.sleep(1)
        assert rig.pair.left == [str(number) for number in range(10)]
        assert {(await rig.queue.outbox.get(row.id)).attempts for row in rows} == {1}

    run(tmp_path, scenario)


def test_coming_online_during_a_futile_try_is_not_missed(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        async def online_meanwhile(_chat: ChatId, _text: str) -> SendResult:
            rig.pair.behaviour = None
            rig.dispatcher.wake()
            raise NotOnline("it was not yet")

        rig.pair.behaviour = online_meanwhile
        await rig.accept("hi")
        await asyncio.sleep(0.05)
        assert rig.pair.left == ["hi"]

    run(tmp_path, scenario)


def test_after_a_failover_nobody_need_call(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pair.online = False
        await rig.accept("hi")
        await asyncio.sleep(0.5)
        rig.pair.online = True
        await asyncio.sleep(31)
        assert rig.pair.left == ["hi"]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("outcome", "state", "kind"),
    [
        (SendOutcome.REJECTED, OutboxState.FAILED, EventType.MESSAGE_SEND_FAILED),
        (SendOutcome.UNKNOWN, OutboxState.UNKNOWN, EventType.MESSAGE_SEND_UNKNOWN),
    ],
)
def test_a_bad_end_is_told_with_its_reason_and_never_sent_again(
    tmp_path: Path, outcome: SendOutcome, state: OutboxState, kind: EventType
) -> None:
    async def scenario(rig: Rig) -> None:
        async def ends(_chat: ChatId, _text: str) -> SendResult:
            return SendResult(outcome, error="because")

        rig.pair.behaviour = ends
        row = await rig.accept("hi")
        await asyncio.sleep(3600)
        assert await rig.state(row) is state
        assert rig.pair.tried == ["hi"]
        [told] = rig.told.of(kind)
        assert "because" in told["reason"]

    run(tmp_path, scenario)


def test_an_unknown_message_holds_its_chat_back_for_a_while_only(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        async def first_is_unknown(_chat: ChatId, text: str) -> SendResult:
            if text == "1":
                return SendResult(SendOutcome.UNKNOWN)
            rig.pair.left.append(text)
            return SendResult(SendOutcome.ACCEPTED, text)

        rig.pair.behaviour = first_is_unknown
        for text, chat in (("1", ANN), ("2", ANN), ("3", BOB)):
            await rig.accept(text, chat)
        await asyncio.sleep(9)
        assert rig.pair.left == ["3"]
        await asyncio.sleep(2)
        assert rig.pair.left == ["3", "2"]

    run(tmp_path, scenario, hold=10.0)


@pytest.mark.parametrize("failure", [RuntimeError("confidential"), None])
def test_a_sender_that_breaks_its_promise_leaves_the_fate_open_and_the_chat_free(
    tmp_path: Path, failure: Exception | None
) -> None:
    async def scenario(rig: Rig) -> None:
        async def breaks(_chat: ChatId, text: str) -> SendResult:
            if text == "2":
                return SendResult(SendOutcome.ACCEPTED, "ID")
            if failure is not None:
                raise failure
            await asyncio.sleep(10**6)
            raise AssertionError

        rig.pair.behaviour = breaks
        one, two = await rig.accept("1"), await rig.accept("2")
        await asyncio.sleep(60)
        assert (await rig.state(one), await rig.state(two)) == (OutboxState.UNKNOWN, OutboxState.SENT)
        assert "confidential" not in str(rig.told.events)

    run(tmp_path, scenario)


def test_a_result_survives_a_disk_that_refuses_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(rig: Rig) -> None:
        real, failures = rig.queue.outbox.record, iter([True] * 6)

        async def record(*arguments: Any) -> Any:
            if next(failures, False):
                raise StoreUnavailable("the disk is full")
            return await real(*arguments)

        monkeypatch.setattr(rig.queue.outbox, "record", record)
        row = await rig.accept("hi")
        await asyncio.sleep(120)
        assert await rig.state(row) is OutboxState.SENT
        assert rig.pair.tried == ["hi"]

    run(tmp_path, scenario)


def test_a_defect_in_one_row_blocks_neither_its_chat_nor_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(rig: Rig) -> None:
        real, failures = rig.queue.outbox.record, iter([True])

        async def record(*arguments: Any) -> Any:
            if next(failures, False):
                raise ValueError("confidential")
            return await real(*arguments)

        monkeypatch.setattr(rig.queue.outbox, "record", record)
        one, two, other = await rig.accept("1"), await rig.accept("2"), await rig.accept("3", BOB)
        await asyncio.sleep(90)
        states = [await rig.state(row) for row in (one, two, other)]
        assert states == [OutboxState.UNKNOWN, OutboxState.SENT, OutboxState.SENT]
        assert rig.pair.tried.count("1") == 1

    run(tmp_path, scenario)


def test_a_send_under_way_at_the_end_may_finish(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pair.seconds = 0.5
        row = await rig.accept("hi")
        await asyncio.sleep(0.1)
        await rig.end()
        assert await rig.state(row) is OutboxState.SENT

    run(tmp_path, scenario)


def test_a_send_that_does_not_finish_is_unknown_when_the_dispatcher_runs_again(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pair.seconds = 9
        row = await rig.accept("hi")
        await asyncio.sleep(0.1)
        await rig.end()
        assert await rig.state(row) is OutboxState.SENDING
        rig.task = asyncio.create_task(rig.dispatcher.run())
        await asyncio.sleep(0.1)
        assert await rig.state(row) is OutboxState.UNKNOWN
        assert rig.pair.tried == ["hi"]

    run(tmp_path, scenario)


@pytest.mark.parametrize(("seconds", "state"), [(0.0, OutboxState.SENDING), (2.0, OutboxState.SENT)])
def test_how_long_a_send_under_way_has_at_the_end_is_asked_for_then(
    tmp_path: Path, seconds: float, state: OutboxState
) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pair.seconds = 1.5
        row = await rig.accept("hi")
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        await rig.end()
        assert asyncio.get_running_loop().time() - began <= seconds
        assert await rig.state(row) is state

    run(tmp_path, scenario, last_seconds=lambda: seconds)


def test_what_waited_during_a_restart_is_sent(tmp_path: Path) -> None:
    async def before(rig: Rig) -> None:
        rig.pair.online = False
        await rig.accept("hi")

    async def after(rig: Rig) -> None:
        await asyncio.sleep(1)
        assert rig.pair.left == ["hi"]

    run(tmp_path, before)
    run(tmp_path, after)
