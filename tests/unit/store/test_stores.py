"""What every store must answer, asked of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.virtual_time import VirtualClock
from tandem.errors import DataUnusable, StoreUnavailable
from tandem.model.account import Account
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId, ChatId, MessageKey, message_key
from tandem.model.message import Message, Standing, StatusUpdate
from tandem.model.states import MessageStatus, Slot
from tandem.store.memory import MemoryStore
from tandem.store.port import Store
from tandem.store.sqlite import SqliteStore
from unit.queue.parts import ACCOUNT, ANN, BOB, NUMBER, START_MS, message

GROUP = ChatId("120363000000000001@g.us")


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store: Store = MemoryStore(VirtualClock()) if request.param == "memory" else SqliteStore(tmp_path, VirtualClock())
    await store.open()
    yield store
    await store.close()


async def texts(store: Store, limit: int = 100, before: int | None = None, key: str | None = None) -> list[str]:
    found = await store.messages(ACCOUNT, ANN, limit, before, MessageKey(key) if key else None)
    return [stored.message.text for stored in found]


async def test_a_message_comes_back_as_it_was(store: Store) -> None:
    sent = message(1, text="Gruß \x00 🎉", from_me=True, has_media=True, reply_to="3EB0", raw=bytes(range(256)))
    assert await store.write([sent]) == []
    [stored] = await store.messages(ACCOUNT, ANN, 10)
    assert stored.message == sent
    assert stored.stored_at >= START_MS


async def test_writing_twice_is_success_and_changes_nothing(store: Store) -> None:
    await store.write([message(1), message(2, text="newest")])
    before = await store.messages(ACCOUNT, ANN, 10)
    await store.write([message(1, text="changed"), message(2, text="changed")])
    assert await store.messages(ACCOUNT, ANN, 10) == before
    [chat] = await store.chats(ACCOUNT, 10)
    assert chat.last_message == "newest"


async def test_a_status_only_grows_and_of_two_times_the_earlier_counts(store: Store) -> None:
    def update(status: MessageStatus, at: int, number: int = 1) -> StatusUpdate:
        return StatusUpdate(ACCOUNT, ANN, message(number).key, Standing.reached(status, at))

    async def standing() -> Standing:
        return (await store.messages(ACCOUNT, ANN, 10))[0].message.standing

    sent = message(1, from_me=True, standing=Standing(MessageStatus.DELIVERED, 50))
    await store.write([sent])
    assert await standing() == Standing(MessageStatus.DELIVERED, 50)
    await store.write([], [update(MessageStatus.READ, 60)])
    await store.write([], [update(MessageStatus.DELIVERED, 40), update(MessageStatus.READ, 70)])
    await store.write([sent])  # its first write, once more
    assert await standing() == Standing(MessageStatus.READ, 40, 60)
    await store.write([replace(sent, standing=Standing(MessageStatus.PLAYED, 50, 55))])
    assert await standing() == Standing(MessageStatus.PLAYED, 40, 55)
    [stored] = await store.messages(ACCOUNT, ANN, 10)
    assert stored.message == replace(sent, standing=Standing(MessageStatus.PLAYED, 40, 55))  # nothing else has changed


async def test_the_status_of_what_is_not_there_creates_nothing(store: Store) -> None:
    update = StatusUpdate(ACCOUNT, ANN, message(1).key, Standing(MessageStatus.READ, 1, 1))
    assert await store.write([message(2)], [update]) == []
    assert await texts(store) == ["message 2"]


async def test_messages_of_one_second_keep_the_order_they_came_in(store: Store) -> None:
    await store.write([message(n, at=START_MS) for n in (3, 1, 2)])
    await store.write([message(0, at=START_MS - 1000)])
    assert await texts(store) == ["message 0", "message 3", "message 1", "message 2"]


async def test_pages_end_to_end_without_gap_or_double_though_times_are_equal(store: Store) -> None:
    await store.write([message(n, at=START_MS + n // 4 * 1000) for n in range(10)])
    seen: list[str] = []
    key: str | None = None
    while page := await store.messages(ACCOUNT, ANN, 3, None, MessageKey(key) if key else None):
        seen = [stored.message.text for stored in page] + seen
        key = page[0].message.key
    assert seen == [f"message {n}" for n in range(10)]


async def test_before_a_time_leaves_out_what_is_not_older(store: Store) -> None:
    await store.write([message(n) for n in range(5)])
    assert await texts(store, 2, START_MS + 3000) == ["message 1", "message 2"]
    assert await texts(store, 2, START_MS) == []
    assert await texts(store, 2, key="unheard-of-in") == []


async def test_a_chats_last_message_never_goes_backwards(store: Store) -> None:
    await store.write([message(5), message(4)])
    await store.write([message(1, text="late history")])
    [chat] = await store.chats(ACCOUNT, 10)
    assert (chat.last_message, chat.last_message_at) == ("message 5", START_MS + 5000)


async def test_chats_newest_first_of_one_account_only(store: Store) -> None:
    await store.write([message(1, ANN), message(2, BOB), message(3, ANN, account=AccountId("b" * 16))])
    assert [chat.id for chat in await store.chats(ACCOUNT, 10)] == [BOB, ANN]
    assert [chat.id for chat in await store.chats(ACCOUNT, 1)] == [BOB]


async def test_a_chat_is_called_what_the_other_person_calls_themselves(store: Store) -> None:
    await store.write([message(1, sender_name="")])
    assert (await store.chats(ACCOUNT, 1))[0].name == "12025550101"
    await store.write([message(2, sender_name="Ann"), message(3, from_me=True, sender_name="Office")])
    assert (await store.chats(ACCOUNT, 1))[0].name == "Ann"
    await store.write([message(4, sender_name="Ann B.")])
    await store.write([message(0, sender_name="An old name")])
    assert (await store.chats(ACCOUNT, 1))[0].name == "Ann B."


async def test_a_group_is_not_called_after_whoever_wrote_last(store: Store) -> None:
    await store.write([message(1, GROUP, sender_name="Ann")])
    assert (await store.chats(ACCOUNT, 1))[0].name == "120363000000000001"


async def test_what_has_no_text_is_shown_by_its_kind(store: Store) -> None:
    await store.write([replace(message(1, kind="image"), text="")])
    assert (await store.chats(ACCOUNT, 1))[0].last_message == "[image]"


async def test_events_newest_first_by_type_and_account(store: Store) -> None:
    events = [
        Event("1", EventType.SESSION_ONLINE, "online", START_MS / 1000, ACCOUNT, Slot.BACKUP, 3, "why", {"n": 1}),
        Event("2", EventType.ALERT, "alert", START_MS / 1000 + 1),
        Event("3", EventType.SESSION_ONLINE, "online", START_MS / 1000 + 2, AccountId("b" * 16)),
    ]
    for event in events:
        await store.save_event(event)
    assert list(await store.events(10)) == events[::-1]
    assert list(await store.events(1)) == events[2:]
    assert list(await store.events(10, EventType.SESSION_ONLINE)) == [events[2], events[0]]
    assert list(await store.events(10, account=ACCOUNT)) == events[:1]


async def test_an_account_can_be_saved_again(store: Store) -> None:
    await store.save_account(Account(ACCOUNT, NUMBER, "Office", 1.0))
    await store.save_account(Account(ACCOUNT, NUMBER, "Renamed", 1.0))


async def test_poison_is_named_and_its_neighbours_are_written(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, VirtualClock())
    await store.open()
    broken = [message(2, text="half an emoji \ud83c"), message(3, at=2**70)]
    poison = await store.write([message(1), *broken, message(4)])
    assert [(each.account, each.key) for each in poison] == [(ACCOUNT, each.key) for each in broken]
    assert all("emoji" not in each.reason for each in poison)
    assert await texts(store) == ["message 1", "message 4"]
    await store.close()


async def test_sqlite_forgets_events_after_a_month(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, VirtualClock())
    await store.open()
    now = VirtualClock().now()
    await store.save_event(Event("old", EventType.ALERT, "old", now - 31 * 86_400))
    await store.save_event(Event("new", EventType.ALERT, "new", now))
    assert [event.id for event in await store.events(10)] == ["new"]
    assert len(await store._read("SELECT 1 FROM events", ())) == 1
    await store.close()


async def test_sqlite_keeps_everything_over_a_restart_and_refuses_when_closed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, VirtualClock())
    await store.open()
    await store.write([message(1)])
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.write([message(2)])
    with pytest.raises(StoreUnavailable):
        await store.chats(ACCOUNT, 1)
    with pytest.raises(StoreUnavailable):
        await store.present([(ACCOUNT, ANN, message(1).key)])

    again = SqliteStore(tmp_path, VirtualClock())
    await again.open()
    assert await texts(again) == ["message 1"]
    await again.close()


async def test_a_damaged_store_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database" * 1000)
    store = SqliteStore(tmp_path, VirtualClock())
    with pytest.raises(DataUnusable, match=r"store\.db\.corrupt-"):
        await store.open()
    await store.close()
    assert len(list(tmp_path.glob("store.db.corrupt-*"))) == 1


async def test_a_message_is_found_by_its_id(store: Store) -> None:
    def member(user: str, identifier: str) -> Message:
        key = message_key(identifier, from_me=False, group=GROUP, participant=user)
        return message(1, GROUP, key=key, message_id=identifier, sender=f"{user}@lid")

    odd = message(2, message_id="odd id~", key=message_key("odd id~", from_me=True), from_me=True)
    await store.write([message(1), odd, member("1", "SAME"), member("2", "SAME"), member("1", "SAME-OTHER")])
    assert [each.message for each in await store.find(ACCOUNT, ANN, message(1).message_id)] == [message(1)]
    assert [each.message for each in await store.find(ACCOUNT, ANN, "odd id~")] == [odd]
    senders = [each.message.sender for each in await store.find(ACCOUNT, GROUP, "SAME")]
    assert sorted(senders) == ["1@lid", "2@lid"]
    for chat, identifier in ((BOB, message(1).message_id), (ANN, "3EB"), (ANN, "")):
        assert await store.find(ACCOUNT, chat, identifier) == []


async def test_which_messages_are_there(store: Store) -> None:
    here = [message(1), message(2, BOB), message(3, account=AccountId("b" * 16))]
    strange = message(4, key=MessageKey('a key \x00 of "any" sort'))
    await store.write([*here, strange])
    stored = {(each.account, each.chat, each.key) for each in (*here, strange)}
    absent = {
        (ACCOUNT, BOB, message(1).key),
        (ACCOUNT, ANN, message(9).key),
        (AccountId("c" * 16), ANN, message(1).key),
    }
    impossible = {(ACCOUNT, ANN, MessageKey("half an emoji \ud83c")), (ACCOUNT, ChatId(""), MessageKey(""))}
    assert await store.present([*absent, *stored, *impossible]) == stored
    assert await store.present([]) == set()


async def test_a_day_has_one_report_the_first(store: Store) -> None:
    report = {"version": 1, "date": "2026-03-03", "accounts": [{"account": ACCOUNT, "incidents": [{"seconds": 1.5}]}]}
    assert await store.report("2026-03-03") is None
    assert await store.save_report("2026-03-03", report)
    assert not await store.save_report("2026-03-03", {"version": 1, "date": "2026-03-03", "accounts": []})
    assert await store.report("2026-03-03") == report
