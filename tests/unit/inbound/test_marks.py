from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.virtual_time import VirtualClock
from tandem.inbound import marks
from tandem.inbound.marks import Marks
from tandem.model.ids import AccountId
from tandem.model.message import RawEvent
from tandem.model.states import Slot
from unit.inbound.test_pipeline import Refusal, Rig, event, run
from unit.queue.parts import ACCOUNT, START_MS, arrival, everything, message

OTHER = AccountId("b" * 16)
START = START_MS / 1000


def marks_of(rig: Rig) -> Marks:
    return Marks(rig.queue.inbox, rig.pipeline, VirtualClock())


def of_other(raw: RawEvent) -> RawEvent:
    return replace(raw, account=OTHER)


async def both(rig: Rig) -> dict[AccountId, float]:
    """Seconds since the start at which the marks stand."""
    found = await marks_of(rig).of([ACCOUNT, OTHER])
    return {account: round(at - START, 3) for account, at in found.items()}


def test_with_nothing_on_its_way_the_mark_is_a_second_ago_and_nobody_is_asked(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await asyncio.sleep(100)

        async def read(_operation: Any) -> Any:
            raise AssertionError("the disk was asked")

        rig.queue.database.read = read  # type: ignore[assignment, method-assign]
        assert await both(rig) == {ACCOUNT: 99.0, OTHER: 99.0}

    run(tmp_path, scenario)


def test_what_waits_for_the_store_holds_its_accounts_mark(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await asyncio.sleep(100)
        for sequence in (50, 40, 60):  # a journal that was imported late is older than what came before it
            rig.pipeline.receive(event(sequence))
        rig.pipeline.receive(of_other(event(70)))
        await rig.settled()
        assert await both(rig) == {ACCOUNT: 39.999, OTHER: 69.999}
        pending = await rig.queue.inbox.pending(2, everything)
        await rig.queue.inbox.settle(pending)
        assert await both(rig) == {ACCOUNT: 59.999, OTHER: 69.999}
        await rig.queue.inbox.settle(await rig.queue.inbox.pending(9, everything))
        assert await both(rig) == {ACCOUNT: 99.0, OTHER: 99.0}

    run(tmp_path, scenario)


def test_what_is_held_back_for_others_holds_no_mark(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await asyncio.sleep(100)
        await rig.queue.inbox.put([arrival(message(3), held=True)])
        assert await both(rig) == {ACCOUNT: 99.0, OTHER: 99.0}

    run(tmp_path, scenario)


def test_what_is_handed_up_but_not_durable_holds_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(rig: Rig) -> None:
        await asyncio.sleep(100)
        refusal = Refusal(rig.queue, monkeypatch)
        rig.pipeline.receive(event(50))
        rig.pipeline.receive(event(45, Slot.BACKUP))
        leftover = asyncio.create_task(rig.pipeline.import_leftover([of_other(event(30)), of_other(event(31))]))
        await asyncio.sleep(1)
        assert await both(rig) == {ACCOUNT: 45.0, OTHER: 30.0}
        refusal.on = False
        await rig.settled()
        await leftover
        assert await both(rig) == {ACCOUNT: 44.999, OTHER: 29.999}, "from the lanes into the inbox"

    run(tmp_path, scenario)


def test_what_a_full_lane_left_in_the_journal_holds_the_mark_until_it_was_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(rig: Rig) -> None:
        await asyncio.sleep(100)
        refusal = Refusal(rig.queue, monkeypatch)
        for sequence in range(50, 55):
            rig.pipeline.receive(event(sequence))
        refusal.on = False
        await rig.settled()
        await rig.queue.inbox.settle(await rig.queue.inbox.pending(9, everything))
        assert await both(rig) == {ACCOUNT: 53.0, OTHER: (await both(rig))[OTHER]}
        await rig.pipeline.import_leftover([event(53), event(54)])
        await rig.queue.inbox.settle(await rig.queue.inbox.pending(9, everything))
        rig.pipeline.receive(event(1, generation=2, message_id="of the next host"))
        await rig.settled()
        await rig.queue.inbox.settle(await rig.queue.inbox.pending(9, everything))
        found = await both(rig)
        assert found[ACCOUNT] == found[OTHER] == 99.0

    run(tmp_path, scenario, lane_bound=3)


def test_with_very_many_waiting_the_marks_stay_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(rig: Rig) -> None:
        monkeypatch.setattr(marks, "_MOST_LOOKED_THROUGH", 2)
        source = marks_of(rig)
        await asyncio.sleep(100)
        assert await source.of([ACCOUNT]) == {ACCOUNT: START + 99}
        await rig.queue.inbox.put([arrival(message(number)) for number in range(98, 101)])
        await asyncio.sleep(100)
        assert await source.of([ACCOUNT, OTHER]) == {ACCOUNT: START + 99, OTHER: 0.0}
        await rig.queue.inbox.settle(await rig.queue.inbox.pending(1, everything))
        assert await source.of([ACCOUNT, OTHER]) == {ACCOUNT: START + 98.999, OTHER: START + 199}

    run(tmp_path, scenario)
