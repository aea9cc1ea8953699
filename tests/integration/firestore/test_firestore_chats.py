from __future__ import annotations

import asyncio
import contextlib

from integration.firestore.scene import ACCOUNT, CHAT, GROUP, Scene, Wire, message

LATER = 1_795_000_900_000


async def shown(scene: Scene) -> tuple[str, int]:
    store = await scene.store()
    [chat] = await store.chats(ACCOUNT, 10)
    return chat.last_message, chat.last_message_at


async def test_a_late_copy_from_before_moves_nothing_back(scene: Scene) -> None:
    store = await scene.store()
    await store.write([message(1, at=LATER)])
    await store.write([message(2, at=LATER - 5000)])
    assert await shown(scene) == ("text 1", LATER)


async def test_nor_after_a_restart(scene: Scene) -> None:
    await (await scene.store()).write([message(1, at=LATER)])
    await (await scene.store()).write([message(2, at=LATER - 5000)])
    assert await shown(scene) == ("text 1", LATER)


async def test_of_one_second_the_message_that_came_last_is_shown(scene: Scene) -> None:
    store = await scene.store()
    await store.write([message(1, at=LATER)])
    await store.write([message(2, at=LATER)])
    assert await shown(scene) == ("text 2", LATER)


async def test_a_copy_of_the_same_second_does_not_pass_for_the_newest(scene: Scene) -> None:
    store = await scene.store()
    await store.write([message(1, at=LATER)])
    await store.write([message(2, at=LATER)])
    await store.write([message(1, at=LATER)])
    await (await scene.store()).write([message(1, at=LATER)])
    assert await shown(scene) == ("text 2", LATER)


async def test_a_chat_that_missed_its_update_gets_it_with_the_repetition(scene: Scene) -> None:
    """A request's writes are not atomic: the message may be there and its chat not."""
    store = await scene.store()
    await store.write([message(1, at=LATER)])
    batch = store._client.batch_write

    async def without_chats(writes: list[object], timeout: float) -> object:
        await batch(writes[:1], timeout)
        raise asyncio.CancelledError

    store._client.batch_write = without_chats  # type: ignore[method-assign, assignment]
    with contextlib.suppress(asyncio.CancelledError):
        await store.write([message(2, at=LATER)])
    assert await shown(scene) == ("text 1", LATER)
    await (await scene.store()).write([message(2, at=LATER)])
    assert await shown(scene) == ("text 2", LATER)


async def test_two_writers_at_once_leave_the_newest_on_top(scene: Scene) -> None:
    stores = [await scene.store() for _ in range(3)]
    rounds = [[message(10 * number + index) for index in range(3)] for number in range(12)]
    for messages in rounds:
        await asyncio.gather(*(store.write([one]) for store, one in zip(stores, messages, strict=True)))
    newest = max((one for messages in rounds for one in messages), key=lambda one: one.timestamp)
    assert await shown(scene) == (newest.text, newest.timestamp)
    assert len(await stores[0].messages(ACCOUNT, CHAT, 100)) == 36


async def test_writers_that_take_turns_know_nothing_of_each_other_and_lose_nothing(scene: Scene) -> None:
    """As when a chat's account is handed to and fro: each knows the chat only as it last wrote it."""
    stores = [await scene.store() for _ in range(2)]
    times = [5, 9, 7, 8, 30, 6, 31, 2, 29, 40, 1, 41]
    for turn, at in enumerate(times):
        batch = [message(100 * turn + number, at=LATER + 1000 * at) for number in range(2)]
        assert await stores[turn % 2].write(batch) == []
        newest = max(times[: turn + 1])
        assert await shown(scene) == (f"text {100 * times.index(newest) + 1}", LATER + 1000 * newest)
    assert len(await stores[0].messages(ACCOUNT, CHAT, 100)) == 2 * len(times)


async def test_the_same_messages_from_two_writers_are_there_once(scene: Scene) -> None:
    """As when a holder that was cut off writes at the same time as whoever took the account over."""
    stores = [await scene.store() for _ in range(2)]
    for start in range(0, 60, 10):
        batches = [[message(n) for n in range(start, start + 12)], [message(n) for n in range(start - 4, start + 8)]]
        await asyncio.gather(*(store.write(batch) for store, batch in zip(stores, batches, strict=True)))
    found = [stored.message for stored in await stores[0].messages(ACCOUNT, CHAT, 1_000)]
    assert sorted(found, key=lambda one: one.timestamp) == [message(n) for n in range(-4, 62)]
    assert await shown(scene) == ("text 61", message(61).timestamp)


async def test_a_chat_is_called_what_the_other_person_last_called_themselves(scene: Scene) -> None:
    store = await scene.store()
    await store.write([message(1, from_me=True, sender_name="me")])
    assert [chat.name for chat in await store.chats(ACCOUNT, 10)] == ["12025550142"]
    await store.write([message(0, sender_name="Ada")])
    await store.write([message(2, sender_name="Ada L."), message(3, from_me=True, sender_name="me")])
    await store.write([message(4, chat=GROUP, sender_name="somebody")])
    chats = await store.chats(ACCOUNT, 10)
    assert [(chat.name, chat.last_message) for chat in chats] == [
        ("120363000000000001", "text 4"),
        ("Ada L.", "text 3"),
    ]


async def test_an_old_copy_does_not_bring_an_old_name_back(scene: Scene) -> None:
    store = await scene.store()
    await store.write([message(1, at=LATER, sender_name="Grace"), message(2, at=LATER - 1000, sender_name="Ada")])
    wire = Wire(store)
    await store.write([message(1, at=LATER, sender_name="Grace")])
    assert [chat.name for chat in await store.chats(ACCOUNT, 10)] == ["Ada"]
    assert wire.writes == 1, "of a copy only itself is tried; its chat is up to date"


async def test_a_batch_writes_each_chat_once(scene: Scene) -> None:
    store = await scene.store()
    wire = Wire(store)
    await store.write([message(number, chat=(CHAT, GROUP)[number % 2]) for number in range(20)])
    [batch] = wire.batches
    assert len(batch) == 22
    assert wire.reads == 2


async def test_an_idle_store_asks_for_nothing(scene: Scene) -> None:
    store = await scene.store()
    await store.write([message(1)])
    wire = Wire(store)
    await asyncio.sleep(1.0)
    assert (wire.writes, wire.reads) == (0, 0)
