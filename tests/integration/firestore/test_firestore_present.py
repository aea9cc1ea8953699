"""Which messages are in the store: one read each, however large the message."""

from __future__ import annotations

import pytest

from integration.firestore.scene import ACCOUNT, CHAT, GROUP, Scene, Wire, message
from support.fault_proxy import FaultProxy
from tandem.errors import StoreUnavailable
from tandem.model.ids import ChatId, MessageKey
from tandem.store.port import Name


def names(*numbers: int, chat: ChatId = CHAT) -> list[Name]:
    return [(ACCOUNT, chat, message(number).key) for number in numbers]


async def test_those_are_found_that_are_there(scene: Scene) -> None:
    store = await scene.store()
    await store.write([message(number) for number in range(0, 300, 2)] + [message(1, chat=GROUP, raw=bytes(500_000))])
    wire = Wire(store)
    found = await store.present([*names(*range(300)), *names(1, 2, chat=GROUP)])
    assert found == {*names(*range(0, 300, 2)), *names(1, chat=GROUP)}
    assert wire.reads == 302, "one read a message"
    assert await store.present([]) == set()
    assert wire.reads == 302


async def test_of_a_large_message_next_to_nothing_is_read(scene: Scene) -> None:
    store = await scene.store()
    await store.write([message(1, raw=bytes(500_000))])
    document = store._names.message(*names(1)[0])
    [found] = (await store._client.get([document], 5.0, ("schemaVersion",))).values()
    assert found.ByteSize() < 500


async def test_what_can_be_no_document_is_not_there(scene: Scene) -> None:
    store = await scene.store()
    await store.write([message(1)])
    wire = Wire(store)
    strange = ["", ".", "..", "__x__", "a/b", "half an emoji \ud83c", "k" * 1501]
    impossible = [(ACCOUNT, CHAT, MessageKey(key)) for key in strange]
    long = [(ACCOUNT, ChatId("c" * 1500), MessageKey("k" * 1500))]
    assert await store.present([*impossible, *long, *names(1)]) == set(names(1))
    assert wire.reads == 2


async def test_a_store_that_does_not_answer_is_no_answer(scene: Scene, proxy: FaultProxy) -> None:
    store = await scene.store(proxy.address, deadline=1.0)
    await store.write([message(1)])
    await proxy.down()
    with pytest.raises(StoreUnavailable):
        await store.present(names(1))
