from __future__ import annotations

from pathlib import Path

import pytest

from tandem.errors import NotFound
from tandem.model.message import RawEvent
from tandem.model.states import Slot
from tandem.queue.dead_letters import LetterKind, decode_message, encode_message
from unit.queue.parts import ACCOUNT, everything, message, open_queue, put

EVENT = RawEvent(ACCOUNT, Slot.BACKUP, 4, 17, 7, b"\x00\xffjunk", 1_700_000_000.5)


async def test_an_event_is_kept_with_its_reason_and_payload(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.dead_letters.bury_event(EVENT, "a message event that does not parse")
    async with open_queue(tmp_path) as queue:
        [letter] = await queue.dead_letters.list()
        assert (letter.kind, letter.reason) == (LetterKind.EVENT, "a message event that does not parse")
        assert letter == await queue.dead_letters.get(letter.id)
        again = letter.event()
        assert (again.account, again.slot, again.code, again.payload) == (ACCOUNT, Slot.BACKUP, 7, EVENT.payload)
        assert again.sequence == 0  # no journal waits for it


async def test_a_poison_message_leaves_the_inbox_for_the_dead_letters(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await put(queue, 1, 2)
        first, second = await queue.inbox.pending(10, everything)
        await queue.inbox.settle([second], [(first, "too large")])

        [letter] = await queue.dead_letters.list()
        assert (letter.kind, letter.reason, letter.message()) == (LetterKind.MESSAGE, "too large", first.message)
        assert queue.inbox.depth == 0


async def test_letters_can_be_paged_and_dropped(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        for number in range(5):
            await queue.dead_letters.bury_event(EVENT, f"reason {number}")
        page = await queue.dead_letters.list(limit=2)
        rest = await queue.dead_letters.list(after=page[-1].id)
        assert [letter.reason for letter in (*page, *rest)] == [f"reason {number}" for number in range(5)]

        await queue.dead_letters.drop(page[0].id)
        assert await queue.dead_letters.count() == 4
        for call in (queue.dead_letters.drop, queue.dead_letters.get):
            with pytest.raises(NotFound):
                await call(page[0].id)


def test_a_message_comes_back_from_its_letter() -> None:
    content = message(1, text="confidential")
    assert decode_message(encode_message(content)) == content


async def test_a_letter_printed_by_accident_shows_no_payload(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.dead_letters.bury_event(EVENT, "why")
        assert "junk" not in repr(await queue.dead_letters.list())
