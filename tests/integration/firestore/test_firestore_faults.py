from __future__ import annotations

import asyncio
import time

import grpc  # type: ignore[import-untyped]
import pytest

from integration.firestore.refusing_server import refusing
from integration.firestore.scene import ACCOUNT, CHAT, Scene, Wire, message, texts
from support.fault_proxy import (
    Bandwidth,
    FaultProxy,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Swallow,
    Timeout,
    Toxic,
    Way,
)
from tandem.errors import Misconfigured, StoreUnavailable
from tandem.model.message import Message
from tandem.store.firestore.store import FirestoreStore


async def written_at_last(store: FirestoreStore, messages: list[Message], seconds: float = 15.0) -> int:
    """What the writer does: the same again until it is taken. How many attempts failed."""
    deadline = time.monotonic() + seconds
    failures = 0
    while time.monotonic() < deadline:
        try:
            assert await store.write(messages) == []
        except StoreUnavailable:
            failures += 1
            await asyncio.sleep(0.05)
        else:
            return failures
    pytest.fail(f"not written after {failures} attempts")


async def test_every_lost_answer_ends_in_exactly_one_document(scene: Scene, proxy: FaultProxy) -> None:
    direct, store = await scene.store(), await scene.store(proxy.address)
    await store.write([message(0)])
    applied = 0
    for number in range(1, 21):
        proxy.add(Swallow(0.03))
        with pytest.raises(StoreUnavailable):
            await store.write([message(number)])
        applied += message(number) in [one.message for one in await direct.messages(ACCOUNT, CHAT, 1)]
        proxy.heal()
        await written_at_last(store, [message(number)])
    assert applied >= 18, "the server had done the work whose answer was lost"
    assert texts(await direct.messages(ACCOUNT, CHAT, 100)) == [f"text {number}" for number in range(21)]
    [chat] = await direct.chats(ACCOUNT, 10)
    assert (chat.last_message, chat.last_message_at) == ("text 20", message(20).timestamp)


async def test_first_write_comes_within_five_seconds_of_the_return(scene: Scene, proxy: FaultProxy) -> None:
    store = await scene.store(proxy.address)
    await store.write([message(0)])
    await proxy.down()
    with pytest.raises(StoreUnavailable, match="not reachable"):
        await store.write([message(1)])
    retries = asyncio.create_task(written_at_last(store, [message(1)]))
    await asyncio.sleep(7)
    await proxy.up()
    returned = time.monotonic()
    await retries
    assert time.monotonic() - returned < 5
    assert texts(await store.messages(ACCOUNT, CHAT, 10)) == ["text 0", "text 1"]


async def test_a_connection_that_swallows_everything_is_replaced(scene: Scene, proxy: FaultProxy) -> None:
    store = await scene.store(proxy.address, deadline=0.5)
    await store.write([message(0)])
    proxy.strand()
    writing = asyncio.create_task(store.write([message(1)]))
    await asyncio.sleep(0.2)
    reading = asyncio.create_task(store.chats(ACCOUNT, 10))  # keeps the old connection alive beyond the write
    with pytest.raises(StoreUnavailable, match="in time"):
        await writing
    assert await store.write([message(1)]) == []
    with pytest.raises(StoreUnavailable, match="in time"):
        await reading
    assert await store.write([message(2)]) == []
    assert proxy.accepted == 2, "one new connection, and the late failure of the old one condemns nothing"
    assert texts(await store.messages(ACCOUNT, CHAT, 10)) == ["text 0", "text 1", "text 2"]


async def test_closing_does_not_wait_for_an_answer_that_never_comes(scene: Scene, proxy: FaultProxy) -> None:
    store = await scene.store(proxy.address, deadline=20.0)
    proxy.strand()
    reading = asyncio.create_task(store.chats(ACCOUNT, 10))
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await store.close()
    assert time.monotonic() - started < 2
    with pytest.raises(StoreUnavailable):
        await reading
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.write([message(1)])


async def test_a_slow_line_gets_smaller_requests_until_they_come_through(scene: Scene, proxy: FaultProxy) -> None:
    store = await scene.store(proxy.address, deadline=1.0)
    await store.write([message(0)])
    wire = Wire(store)
    proxy.add(Bandwidth(150_000), Way.UP)
    large = [message(number, raw=bytes(40_000)) for number in range(1, 9)]
    assert await written_at_last(store, large) > 0
    assert len(wire.batches[0]) == 9
    assert min(map(len, wire.batches)) < 9
    assert len(await store.messages(ACCOUNT, CHAT, 100)) == 9


@pytest.mark.parametrize(
    ("toxic", "way"),
    [
        (Latency(0.02, 0.01), Way.DOWN),
        (Slicer(100, 50), Way.UP),
        (LimitData(20_000), Way.UP),
        (LimitData(300), Way.DOWN),
        (Timeout(0.1), Way.DOWN),
        (SlowClose(0.2), Way.UP),
    ],
)
async def test_what_a_network_does_costs_no_message(scene: Scene, proxy: FaultProxy, toxic: Toxic, way: Way) -> None:
    direct, store = await scene.store(), await scene.store(proxy.address)
    proxy.add(toxic, way)
    for start in range(0, 40, 10):
        try:
            await store.write([message(number) for number in range(start, start + 10)])
        except StoreUnavailable:
            proxy.heal()
            await written_at_last(store, [message(number) for number in range(start, start + 10)])
    assert texts(await direct.messages(ACCOUNT, CHAT, 100)) == [f"text {number}" for number in range(40)]


async def test_resets_while_writing_cost_no_message(scene: Scene, proxy: FaultProxy) -> None:
    direct, store = await scene.store(), await scene.store(proxy.address)
    for start in range(0, 50, 10):
        if start % 20:
            proxy.add(ResetPeer(0.001))
        task = asyncio.create_task(written_at_last(store, [message(number) for number in range(start, start + 10)]))
        await asyncio.sleep(0.05)
        proxy.cut()
        proxy.heal()
        await task
    assert texts(await direct.messages(ACCOUNT, CHAT, 100)) == [f"text {number}" for number in range(50)]


async def test_a_request_too_large_for_the_server_is_split(scene: Scene) -> None:
    store = await scene.store(max_bytes=20_000_000)
    wire = Wire(store)
    large = [message(number, raw=bytes(900_000)) for number in range(8)]
    assert await store.write(large) == []
    assert len(wire.batches[0]) == 9
    assert len(await store.messages(ACCOUNT, CHAT, 100)) == 8


async def test_an_unreachable_firestore_does_not_stop_the_start(scene: Scene, proxy: FaultProxy) -> None:
    await proxy.down()
    store = await scene.store(proxy.address)
    with pytest.raises(StoreUnavailable, match="not reachable"):
        await store.chats(ACCOUNT, 10)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "role Cloud Datastore User"),
        (grpc.StatusCode.UNAUTHENTICATED, "make a new key"),
        (grpc.StatusCode.NOT_FOUND, "no such Firestore database"),
        (grpc.StatusCode.FAILED_PRECONDITION, "native mode"),
        (grpc.StatusCode.INVALID_ARGUMENT, "malformed"),
        (grpc.StatusCode.UNIMPLEMENTED, "native mode"),
    ],
)
async def test_what_an_operator_must_change_stops_the_start_and_later_the_writing(
    scene: Scene, code: grpc.StatusCode, advice: str
) -> None:
    async with refusing(code, "secret-key-4711 in projects/p/databases/d") as address:
        with pytest.raises(Misconfigured, match=advice) as stopped:
            await scene.store(address)
        assert scene.project in str(stopped.value)
        running = await scene.store()
        running._client._target = scene.target(address)
        running._client._replace()
        # Nothing of this is the messages' fault: none of them is reported as poison.
        with pytest.raises(StoreUnavailable, match=advice) as raised:
            await running.write([message(1), message(2)])
    assert "4711" not in str(stopped.value) + str(raised.value)
    assert raised.value.retry_after >= 30


@pytest.mark.parametrize(
    ("code", "text", "wait"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Quota exceeded.", 60),
        (grpc.StatusCode.ABORTED, "Too much contention on these documents.", 1),
        (grpc.StatusCode.INTERNAL, "", 2),
        (grpc.StatusCode.UNKNOWN, "", 2),
    ],
)
async def test_what_passes_by_itself_is_waited_out(scene: Scene, code: grpc.StatusCode, text: str, wait: float) -> None:
    async with refusing(code, text) as address:
        store = await scene.store(address)
        with pytest.raises(StoreUnavailable) as raised:
            await store.write([message(1)])
    assert raised.value.retry_after == wait
