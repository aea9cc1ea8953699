from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from support.virtual_time import run_virtually
from tandem.errors import Overloaded
from tandem.model.event import EventType
from tandem.model.ids import AccountId, message_key
from tandem.model.states import Slot
from tandem.queue.inbox import Arrival, Copy, Entry, Lookup, Pending
from unit.queue.parts import ACCOUNT, ANN, BOB, Told, arrival, everything, make_queue, message, open_queue, put, waiting


async def test_a_copy_from_the_partner_is_a_duplicate_with_its_lag(tmp_path: Path) -> None:
    first = message(1)
    second = replace(first, received_at=first.received_at + 250)
    async with open_queue(tmp_path) as queue:
        verdicts = await queue.inbox.put([arrival(first), arrival(second, Slot.BACKUP), arrival(second, Slot.PRIMARY)])

    assert [(verdict.copy, verdict.lag_ms) for verdict in verdicts] == [
        (Copy.FIRST, None),
        (Copy.DUPLICATE, 250),
        (Copy.DUPLICATE, None),  # the same slot again: that is no lag of the pair
    ]


async def test_a_key_is_remembered_after_the_store_has_the_message(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put(queue, 1)
        await queue.inbox.settle(await queue.inbox.pending(10, everything), [])
        assert queue.inbox.depth == 0
    async with open_queue(tmp_path) as queue:
        assert await put(queue, 1) == [Copy.DUPLICATE]
        assert queue.inbox.depth == 0


async def test_accounts_do_not_share_keys(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        other = message(1, account=AccountId("b" * 16))
        verdicts = await queue.inbox.put([arrival(message(1)), arrival(other)])
        assert [verdict.copy for verdict in verdicts] == [Copy.FIRST, Copy.FIRST]


async def test_an_unreadable_copy_never_counts_as_the_first(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        unreadable = message(1, kind="undecryptable", text="-", raw=b"")
        [verdict] = await queue.inbox.put([arrival(unreadable, undecryptable=True)])
        assert verdict.copy is Copy.UNDECRYPTABLE
        assert await waiting(queue) == []
        assert await queue.inbox.undecryptable() == 1

        assert await put(queue, 1, slot=Slot.BACKUP) == [Copy.FIRST]
        assert await waiting(queue) == ["message 1"]
        assert await queue.inbox.undecryptable() == 0

        [late] = await queue.inbox.put([arrival(unreadable, undecryptable=True)])
        assert late.copy is Copy.DUPLICATE


async def test_a_copy_under_a_persons_other_name_is_a_duplicate(tmp_path: Path) -> None:
    by_lid = message_key("ID", from_me=False, group="g@g.us", participant="998877")
    by_number = message_key("ID", from_me=False, group="g@g.us", participant="12025550101")
    async with open_queue(tmp_path) as queue:
        verdicts = await queue.inbox.put(
            [arrival(message(1, key=by_lid)), arrival(message(1, key=by_number), Slot.BACKUP, aliases=(by_lid,))]
        )
    assert [verdict.copy for verdict in verdicts] == [Copy.FIRST, Copy.DUPLICATE]


async def test_lids_are_known_in_the_transaction_that_teaches_them_and_after_a_restart(tmp_path: Path) -> None:
    asked: list[str | None] = []

    def entry(number_of: Lookup) -> Entry:
        asked.append(number_of("998877"))
        return Entry(message(len(asked)), Slot.PRIMARY)

    async with open_queue(tmp_path) as queue:
        await queue.inbox.put([Arrival(ACCOUNT, (), entry)])
        await queue.inbox.put([Arrival(ACCOUNT, (("998877", "12025550101"),), entry)])
    async with open_queue(tmp_path) as queue:
        await queue.inbox.put([Arrival(ACCOUNT, (), entry)])
        await queue.inbox.put([Arrival(ACCOUNT, (("998877", "12025550102"),), entry)])  # the number has moved
    assert asked == [None, "12025550101", "12025550101", "12025550102"]


async def test_restore_tells_how_many_wait_also_when_none_does(tmp_path: Path) -> None:
    told = Told()
    async with open_queue(tmp_path, told) as queue:
        await put(queue, 1, 2, 3)
    async with open_queue(tmp_path, told) as queue:
        assert queue.inbox.depth == 3
        assert queue.inbox.oldest_age > 0

    assert [each["message"] for each in told.of(EventType.QUEUE_RESTORED)] == [
        "Restored 0 messages from queue",
        "Restored 3 messages from queue",
    ]


async def test_order_is_kept_and_batches_end_where_they_should(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put(queue, 1, 2, chat=ANN)
        await put(queue, 3, chat=BOB)
        await put(queue, 4, chat=ANN)
        two = await queue.inbox.pending(10, lambda count, _size, _next: count < 2)
        assert [pending.message.text for pending in two] == ["message 1", "message 2"]
        assert len(await queue.inbox.pending(3, everything)) == 3
        await queue.inbox.settle(two, [])
        assert await waiting(queue) == ["message 3", "message 4"]
        assert queue.inbox.depth == 2


async def test_a_batch_holds_at_least_one_message_however_large(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put(queue, 1, 2)
        assert len(await queue.inbox.pending(10, lambda *_: False)) == 1


async def test_everything_of_a_message_comes_back(tmp_path: Path) -> None:
    sent = message(
        7,
        text="ein \x00 Gruß 🎉",
        sender_name="Änn",
        from_me=True,
        has_media=True,
        reply_to="3EB0",
        raw=bytes(range(256)),
    )
    async with open_queue(tmp_path) as queue:
        await queue.inbox.put([arrival(sent)])
        [pending] = await queue.inbox.pending(10, everything)
    assert pending.message == sent


async def test_at_the_bound_it_refuses_and_after_the_store_has_taken_some_it_does_not(tmp_path: Path) -> None:
    async with open_queue(tmp_path, max_inbox=2) as queue:
        await put(queue, 1, 2)
        with pytest.raises(Overloaded):
            await put(queue, 3)
        await queue.inbox.settle(await queue.inbox.pending(1, everything), [])
        assert await put(queue, 3) == [Copy.FIRST]


async def test_settling_what_is_not_there_changes_no_count(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put(queue, 1)
        await queue.inbox.settle([Pending(99, message(99))], [])
        assert queue.inbox.depth == 1


def test_old_keys_are_forgotten_and_young_ones_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue = make_queue(tmp_path, dedupe_days=1)
        await queue.open()
        clock = queue.inbox._clock
        now_ms = int(clock.now() * 1000)
        day = 86_400_000
        old = [message(n, received_at=now_ms - day - 1_000) for n in range(3)]
        await queue.inbox.put([arrival(each) for each in old])
        await queue.inbox.put([arrival(message(9, received_at=now_ms))])
        await queue.inbox.put([arrival(message(5, received_at=now_ms - day - 1), undecryptable=True)])
        assert await queue.inbox.prune() == 3
        assert await queue.inbox.prune() == 0  # the end was reached: it begins anew
        assert await queue.inbox.undecryptable() == 0
        again = await queue.inbox.put([arrival(old[0]), arrival(message(9))])
        assert [verdict.copy for verdict in again] == [Copy.FIRST, Copy.DUPLICATE]
        await queue.close()

    run_virtually(scenario())


def test_keys_are_looked_through_in_stretches_until_all_old_ones_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tandem.queue.inbox._STRETCH", 7)

    async def scenario() -> None:
        queue = make_queue(tmp_path, dedupe_days=1)
        await queue.open()
        now_ms = int(queue.inbox._clock.now() * 1000)
        ages = [(number, 0 if number % 3 else 100_000_000) for number in range(60)]
        await queue.inbox.put([arrival(message(number, received_at=now_ms - age)) for number, age in ages])
        forgotten = [await queue.inbox.prune() for _ in range(12)]
        assert sum(forgotten) == 20
        assert max(forgotten) <= 7
        verdicts = await queue.inbox.put([arrival(message(number)) for number in range(60)])
        assert [verdict.copy is Copy.FIRST for verdict in verdicts] == [number % 3 == 0 for number in range(60)]
        await queue.close()

    run_virtually(scenario())
