from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from integration.firestore.scene import ACCOUNT, CHAT, Scene, Wire, message
from support.fault_proxy import FaultProxy, Swallow
from tandem.errors import StoreUnavailable
from tandem.model.message import Message, Standing, StatusUpdate
from tandem.model.states import MessageStatus
from tandem.store.firestore.store import FirestoreStore


def own(number: int, standing: Standing | None = None) -> Message:
    return message(number, from_me=True, standing=standing or Standing(MessageStatus.SENT))


def update(number: int, status: MessageStatus, at: int) -> StatusUpdate:
    return StatusUpdate(ACCOUNT, CHAT, own(number).key, Standing.reached(status, at))


async def stored(store: FirestoreStore) -> list[Message]:
    return [each.message for each in await store.messages(ACCOUNT, CHAT, 100)]


async def test_a_status_only_grows_and_changes_nothing_else(scene: Scene) -> None:
    store = await scene.store()
    await store.write([own(1, Standing(MessageStatus.DELIVERED, 50)), own(2)])
    await store.write([], [update(1, MessageStatus.READ, 60), update(2, MessageStatus.DELIVERED, 70)])
    await store.write([], [update(1, MessageStatus.DELIVERED, 40), update(1, MessageStatus.READ, 90)])
    assert await stored(store) == [
        own(1, Standing(MessageStatus.READ, 40, 60)),
        own(2, Standing(MessageStatus.DELIVERED, 70)),
    ]


async def test_a_create_that_was_done_before_still_brings_the_status_forward(scene: Scene) -> None:
    store = await scene.store()
    await store.write([own(1)])
    await store.write([own(1, Standing(MessageStatus.READ, 5, 6))])
    assert await stored(store) == [own(1, Standing(MessageStatus.READ, 5, 6))]


async def test_the_status_of_what_is_not_there_creates_nothing_and_stops_nobody(scene: Scene) -> None:
    store = await scene.store()
    assert await store.write([own(2)], [update(1, MessageStatus.READ, 5), update(2, MessageStatus.READ, 6)]) == []
    assert await stored(store) == [own(2, Standing(MessageStatus.READ, 6, 6))]


async def test_one_message_costs_one_write_however_many_receipts_there_are_of_it(scene: Scene) -> None:
    store = await scene.store()
    await store.write([own(1), own(2)])
    wire = Wire(store)
    receipts = [update(n, status, 9) for n in (1, 2) for status in (MessageStatus.DELIVERED, MessageStatus.READ)]
    await store.write([], receipts)
    assert (len(wire.batches), wire.writes, wire.reads) == (1, 2, 0)


async def test_no_lost_answer_takes_a_status_back(scene: Scene, proxy: FaultProxy) -> None:
    """Each write is repeated until it is answered; its forerunners may arrive at any time."""
    direct, store = await scene.store(), await scene.store(proxy.address)
    await store.write([own(number) for number in range(5)])
    chance, expected = random.Random(7), [Standing(MessageStatus.SENT)] * 5
    grown = [MessageStatus.DELIVERED, MessageStatus.READ, MessageStatus.PLAYED]
    for step in range(20):
        number, status = chance.randrange(5), chance.choice(grown)
        wanted = update(number, status, 1000 - step)
        expected[number] = expected[number].joined(wanted.standing)
        if step % 2:
            proxy.add(Swallow(0.03))
            with pytest.raises(StoreUnavailable):
                await store.write([], [wanted])
            proxy.heal()
        for _ in range(100):
            try:
                await store.write([], [wanted])
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
        else:
            pytest.fail("never written")
        assert [each.standing for each in await stored(direct)] == expected
    assert await stored(direct) == [replace(own(number), standing=expected[number]) for number in range(5)]
