from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.firestore.scene import CHAT, GROUP, message
from support.firestore_emulator import FirestoreEmulator
from tandem.clock import SystemClock
from tandem.model.ids import AccountId, ChatId
from tandem.model.message import Message
from tandem.store.firestore.credentials import Target
from tandem.store.firestore.store import FirestoreStore
from tandem.store.port import Store
from tandem.store.sqlite import SqliteStore

ACCOUNTS = (AccountId("1f0c8a62b7d94e35"), AccountId("ffffffffffffffff"))
CHATS = (CHAT, GROUP, ChatId("240000000000001@lid"))
START = 1_795_000_000_000


class StoppedClock(SystemClock):
    def now(self) -> float:
        return START / 1000


@st.composite
def message_sets(draw: st.DrawFn) -> list[Message]:
    """Different messages, many of the same second, as WhatsApp's times are whole seconds."""
    count = draw(st.integers(1, 14))
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=220)
    return [
        message(
            number,
            account=draw(st.sampled_from(ACCOUNTS)),
            chat=draw(st.sampled_from(CHATS)),
            at=START + 1000 * draw(st.integers(-2, 3)),
            text=draw(text),
            sender_name=draw(st.sampled_from(["", "Ada", "Grace", "名前"])),
            from_me=draw(st.booleans()),
            has_media=draw(st.booleans()),
            kind=draw(st.sampled_from(["text", "image", "reaction"])),
            reply_to=draw(st.sampled_from(["", "3EB0FFFF"])),
            raw=draw(st.binary(max_size=30)),
        )
        for number in range(count)
    ]


@st.composite
def writings(draw: st.DrawFn) -> list[list[Message]]:
    """Batches in the order of arrival; some come again later, as they do after a crash: from there on, in order."""
    messages = draw(message_sets())
    batches = []
    start = 0
    while start < len(messages):
        end = start + draw(st.integers(1, 5))
        batches.append(messages[start:end])
        start = end if draw(st.integers(0, 3)) < 3 else draw(st.integers(max(0, start - 4), end))
    return batches


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writings(), st.integers(0, 6))
def test_both_stores_read_the_same(
    emulator: FirestoreEmulator, batches: Sequence[Sequence[Message]], limit: int
) -> None:
    asyncio.run(_compare(emulator, batches, limit))


async def _compare(emulator: FirestoreEmulator, batches: Sequence[Sequence[Message]], limit: int) -> None:
    clock = StoppedClock()
    with tempfile.TemporaryDirectory() as directory:
        sqlite = SqliteStore(Path(directory), clock)
        firestore = FirestoreStore(Target(emulator.fresh_project(), emulator=emulator.address), clock)
        await sqlite.open()
        await firestore.open()
        try:
            for batch in batches:
                assert await sqlite.write(batch) == await firestore.write(batch) == []
            assert await _everything(firestore, limit) == await _everything(sqlite, limit)
        finally:
            await firestore.close()
            await sqlite.close()


async def _everything(store: Store, limit: int) -> list[object]:
    found: list[object] = []
    for account in ACCOUNTS:
        found += [await store.chats(account, 10), await store.chats(account, limit)]
        for chat in CHATS:
            found.append(await store.messages(account, chat, limit))
            found.append(await store.messages(account, chat, limit, START + 1000))
            found.append(await _pages(store, account, chat))
    return found


async def _pages(store: Store, account: AccountId, chat: ChatId) -> list[object]:
    """The whole chat in pages of two, from the newest page to the oldest."""
    pages: list[object] = []
    page = await store.messages(account, chat, 2)
    while page:
        pages.append(page)
        oldest = page[0].message
        page = await store.messages(account, chat, 2, oldest.timestamp, oldest.key)
    return pages
