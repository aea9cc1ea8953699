from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from support.virtual_time import VirtualClock
from tandem.errors import PoisonMessage
from tandem.inbound.unreadable import Unreadable
from tandem.model.event import EventType
from tandem.model.ids import MessageKey
from tandem.model.message import RawEvent
from tandem.model.states import Slot
from unit.inbound.test_pipeline import Rig, event
from unit.inbound.test_pipeline import run as run_pipeline
from unit.queue.parts import ACCOUNT, Told, arrival, message, waiting

PATIENCE = 120.0


@dataclass
class Watch:
    """Looks for what nobody could read, beside a pipeline on a real queue. Everything arrives now."""

    rig: Rig
    away: bool = False
    told: Told = field(default_factory=Told)

    def start(self) -> asyncio.Task[None]:
        unread = self.rig.queue.unread
        clock = VirtualClock()
        return asyncio.create_task(
            Unreadable(unread, PATIENCE, lambda _account: self.away, clock=clock, publish=self.told).run()
        )

    async def comes(self, sequence: int, slot: Slot, *, readable: bool, **content: Any) -> None:
        changes = content if readable else {"undecryptable": True, "text": "", **content}
        raw = event(sequence, slot, **changes)
        now = VirtualClock().now()
        self.rig.pipeline.receive(RawEvent(ACCOUNT, slot, 1, sequence, raw.code, raw.payload, now))
        await asyncio.sleep(0.1)

    def missing(self) -> int:
        return len(self.told.of(EventType.MESSAGE_UNDECRYPTABLE))

    async def letters(self) -> int:
        return await self.rig.queue.dead_letters.count()


def run(directory: Path, scenario: Callable[[Watch], Coroutine[Any, Any, None]]) -> None:
    async def whole(rig: Rig) -> None:
        watch = Watch(rig)
        task = watch.start()
        await scenario(watch)
        task.cancel()

    run_pipeline(directory, whole)


@pytest.mark.parametrize("readable_first", [True, False])
def test_a_message_that_the_partner_can_read_is_no_incident(tmp_path: Path, *, readable_first: bool) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.comes(1, Slot.PRIMARY, readable=readable_first)
        await watch.comes(1, Slot.BACKUP, readable=not readable_first)
        await asyncio.sleep(86_400)
        assert await waiting(watch.rig.queue) == ["1"]
        assert (watch.missing(), await watch.letters()) == (0, 0)

    run(tmp_path, scenario)


def test_a_copy_under_the_persons_other_name_counts_too(tmp_path: Path) -> None:
    async def scenario(watch: Watch) -> None:
        raw = RawEvent(ACCOUNT, Slot.PRIMARY, 1, 1, 44, b"encrypted", VirtualClock().now())
        by_lid = replace(message(1), key=MessageKey("by-lid"))
        await watch.rig.queue.inbox.put([arrival(by_lid, undecryptable=True, event=raw)])
        await watch.rig.queue.inbox.put([arrival(message(1), Slot.BACKUP, aliases=(by_lid.key,))])
        await asyncio.sleep(86_400)
        assert await watch.rig.queue.inbox.undecryptable() == 0
        assert (watch.missing(), await watch.letters()) == (0, 0)

    run(tmp_path, scenario)


def test_what_no_slot_can_read_is_told_once_and_kept(tmp_path: Path) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.comes(1, Slot.PRIMARY, readable=False)
        await watch.comes(1, Slot.BACKUP, readable=False)
        await asyncio.sleep(PATIENCE - 1)
        assert watch.missing() == 0
        await asyncio.sleep(40)
        [told] = watch.told.of(EventType.MESSAGE_UNDECRYPTABLE)
        [letter] = await watch.rig.queue.dead_letters.list()
        assert told["letter"] == letter.id
        assert letter.reason == "no slot could decrypt it within 120 s, and no readable copy came"
        await watch.comes(2, Slot.PRIMARY, readable=False, message_id="ID1")
        await asyncio.sleep(86_400)
        assert (watch.missing(), await watch.letters()) == (1, 1)

    run(tmp_path, scenario)


def test_a_readable_copy_wins_however_late_and_takes_the_letter_away(tmp_path: Path) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.comes(1, Slot.PRIMARY, readable=False)
        await asyncio.sleep(600)
        assert await watch.letters() == 1
        await watch.comes(1, Slot.BACKUP, readable=True)
        assert await waiting(watch.rig.queue) == ["1"]
        assert await watch.letters() == 0

    run(tmp_path, scenario)


def test_a_slot_that_is_away_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    async def scenario(watch: Watch) -> None:
        watch.away = True
        await watch.comes(1, Slot.PRIMARY, readable=False)
        await asyncio.sleep(3600)
        assert watch.missing() == 0
        watch.away = False
        await asyncio.sleep(31)
        assert watch.missing() == 1
        watch.away = True
        await watch.comes(2, Slot.PRIMARY, readable=False)
        await asyncio.sleep(7 * 3600)
        assert watch.missing() == 2

    run(tmp_path, scenario)


def test_a_letter_that_is_still_encrypted_cannot_be_replayed_and_stays(tmp_path: Path) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.comes(1, Slot.PRIMARY, readable=False)
        await asyncio.sleep(600)
        [letter] = await watch.rig.queue.dead_letters.list()
        with pytest.raises(PoisonMessage, match="encrypted"):
            await watch.rig.pipeline.replay(letter.id)
        assert await watch.letters() == 1

    run(tmp_path, scenario)
