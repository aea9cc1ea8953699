"""A message by its id: over the documents' names, for no other field of a message has an index."""

from __future__ import annotations

from integration.firestore.scene import Scene
from tandem.model.ids import ChatId, message_key
from tandem.model.message import Message
from unit.queue.parts import ACCOUNT, ANN, BOB, message

GROUP = ChatId("120363000000000001@g.us")


def member(user: str, identifier: str) -> Message:
    key = message_key(identifier, from_me=False, group=GROUP, participant=user)
    return message(1, GROUP, key=key, message_id=identifier, sender=f"{user}@lid")


async def test_a_message_is_found_by_its_id(scene: Scene) -> None:
    store = await scene.store()
    odd = message(2, message_id="odd id~", key=message_key("odd id~", from_me=True), from_me=True)
    await store.write([message(1), odd, member("1", "SAME"), member("2", "SAME"), member("1", "SAME-OTHER")])
    first = message(1)
    assert [each.message.key for each in await store.find(ACCOUNT, ANN, first.message_id)] == [first.key]
    assert [each.message.key for each in await store.find(ACCOUNT, ANN, "odd id~")] == [odd.key]
    assert sorted(each.message.sender for each in await store.find(ACCOUNT, GROUP, "SAME")) == ["1@lid", "2@lid"]
    for chat, identifier in ((BOB, first.message_id), (ANN, "3EB"), (ANN, "")):
        assert await store.find(ACCOUNT, chat, identifier) == []
