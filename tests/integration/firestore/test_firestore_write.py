from __future__ import annotations

from integration.firestore.scene import ACCOUNT, CHAT, Scene, Wire, message, texts


async def test_what_was_written_is_read(scene: Scene) -> None:
    store = await scene.store()
    written = [message(1), message(2, has_media=True, text="a caption", kind="image"), message(3, from_me=True)]

    assert await store.write(written) == []

    assert [stored.message for stored in await store.messages(ACCOUNT, CHAT, 10)] == written
    [chat] = await store.chats(ACCOUNT, 10)
    assert (chat.id, chat.name, chat.last_message, chat.last_message_at) == (
        CHAT,
        "Ada",
        "text 3",
        written[2].timestamp,
    )


async def test_writing_again_changes_nothing(scene: Scene) -> None:
    store = await scene.store()
    await store.write([message(1)])
    await store.write([message(1, text="another"), message(1)])
    assert texts(await store.messages(ACCOUNT, CHAT, 10)) == ["text 1"]


async def test_ten_messages_of_one_chat_cost_eleven_writes(scene: Scene) -> None:
    store = await scene.store()
    wire = Wire(store)
    await store.write([message(number) for number in range(10)])
    assert (wire.writes, wire.reads, len(wire.batches)) == (11, 1, 1)
    await store.write([message(number) for number in range(10, 20)])
    assert (wire.writes, wire.reads, len(wire.batches)) == (22, 1, 2)
