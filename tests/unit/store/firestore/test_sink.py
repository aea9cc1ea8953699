from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.firestore.scene import ACCOUNT, CHAT, GROUP, message
from tandem.clock import SystemClock
from tandem.errors import StoreUnavailable
from tandem.model.message import Message
from tandem.store.firestore.documents import Names
from tandem.store.firestore.sink import Sink
from unit.store.firestore.fake_firestore import FakeFirestore, Fault

NAMES = Names("projects/demo/databases/(default)")


def sink_on(fake: FakeFirestore, **options: Any) -> Sink:
    client: Any = fake
    return Sink(client, NAMES, SystemClock(), **({"deadline": 5.0, "documents": 100, "size": 3_500_000} | options))


def poison(number: int) -> Message:
    return message(number, key=f"poison-{number}")


def names_of(messages: list[Message]) -> set[str]:
    return {NAMES.message(one.account, one.chat, one.key) for one in messages}


async def until_taken(sink: Sink, messages: list[Message], attempts: int) -> tuple[set[str], int]:
    for attempt in range(attempts):
        try:
            return {poisoned.key for poisoned in await sink.write(messages)}, attempt
        except StoreUnavailable:
            continue
    pytest.fail(f"not taken in {attempts} attempts")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.lists(st.sampled_from(list(Fault)), max_size=60),
    st.integers(1, 50),
)
def test_whatever_goes_wrong_each_message_ends_as_one_document_or_as_poison(
    bad: list[bool], faults: list[Fault], documents: int
) -> None:
    queue = list(faults)

    def plan() -> Fault:
        return queue.pop(0) if queue else Fault.NONE

    fake = FakeFirestore(plan, plan)
    places = (CHAT, GROUP)
    batch = [
        poison(number) if is_bad else message(number, chat=places[number % 2]) for number, is_bad in enumerate(bad)
    ]
    good = [one for one, is_bad in zip(batch, bad, strict=True) if not is_bad]

    async def run() -> set[str]:
        return (await until_taken(sink_on(fake, documents=documents), batch, len(faults) + 1))[0]

    assert asyncio.run(run()) == {one.key for one, is_bad in zip(batch, bad, strict=True) if is_bad}
    written = [name for name in fake.created if "/messages/" in name]
    assert sorted(written) == sorted(names_of(good)), "each once, and nothing else"
    for place in {one.chat for one in good}:
        newest = max((one for one in good if one.chat == place), key=lambda one: one.timestamp)
        chat = NAMES.chat(ACCOUNT, place)
        assert fake.field(chat, "lastMessageAtMs") == newest.timestamp == -fake.field(chat, "recency")
        assert fake.field(chat, "lastMessage") == newest.text


@pytest.mark.parametrize("every", [2, 3, 4])
@pytest.mark.parametrize("kind", [Fault.CUT, Fault.LOST])
async def test_a_search_for_poison_survives_a_line_that_breaks_all_the_time(every: int, kind: Fault) -> None:
    """With forgotten progress this never ends: each attempt breaks before it has found anything."""
    turn = iter(range(1_000_000))

    def plan() -> Fault:
        return kind if next(turn) % every == every - 1 else Fault.NONE

    fake = FakeFirestore(plan, plan)
    batch = [poison(number) if number % 17 == 5 else message(number) for number in range(100)]
    found, attempts = await until_taken(sink_on(fake), batch, 150)
    assert found == {f"poison-{number}" for number in range(5, 100, 17)}
    assert len([name for name in fake.created if "/messages/" in name]) == 94
    assert attempts > 0


async def test_what_was_written_is_not_sent_again() -> None:
    faults = [Fault.HALF]
    fake = FakeFirestore(lambda: faults.pop(0) if faults else Fault.NONE)
    sink = sink_on(fake)
    batch = [message(number) for number in range(10)]
    with pytest.raises(StoreUnavailable):
        await sink.write(batch)
    await sink.write(batch)
    assert fake.requests == [11, 5], "ten messages and their chat; the five that were left"


async def test_a_cancelled_attempt_is_gone_on_with() -> None:
    fake = FakeFirestore()
    sink = sink_on(fake, documents=2)
    started = asyncio.Event()
    write = fake.batch_write

    async def hang_at_the_second(writes: Any, timeout: float) -> Any:
        if len(fake.requests) == 1 and not started.is_set():
            started.set()
            await asyncio.sleep(60)
        return await write(writes, timeout)

    fake.batch_write = hang_at_the_second  # type: ignore[method-assign]
    task = asyncio.create_task(sink.write([message(number) for number in range(4)]))
    await started.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await sink.write([message(number) for number in range(4)]) == []
    assert len([name for name in fake.created if "/messages/" in name]) == 4


async def test_a_database_that_refuses_everything_condemns_no_message() -> None:
    fake = FakeFirestore()
    sink = sink_on(fake)
    await sink.write([message(0)])
    fake.refusing_all = True
    with pytest.raises(StoreUnavailable, match="malformed"):
        await sink.write([message(1)])
    fake.refusing_all = False
    assert await sink.write([message(1)]) == []


async def test_one_call_never_takes_longer_than_its_deadline() -> None:
    fake = FakeFirestore()
    sink = sink_on(fake, deadline=0.2, documents=1)
    write = fake.batch_write

    async def slow(writes: Any, timeout: float) -> Any:
        assert timeout <= 0.2
        await asyncio.sleep(0.05)
        return await write(writes, timeout)

    fake.batch_write = slow  # type: ignore[method-assign]
    batch = [message(number) for number in range(10)]
    with pytest.raises(StoreUnavailable, match="stays written"):
        await sink.write(batch)
    assert await until_taken(sink, batch, 10) == (set(), 1)
    assert len([name for name in fake.created if "/messages/" in name]) == 10


async def test_after_a_slow_answer_requests_shrink_and_grow_again() -> None:
    faults = [Fault.SLOW, Fault.SLOW]
    fake = FakeFirestore(lambda: faults.pop(0) if faults else Fault.NONE)
    sink = sink_on(fake, documents=16)
    batch = [message(number) for number in range(40)]
    await until_taken(sink, batch, 3)
    assert [size - 1 for size in fake.requests] == [16, 8, 4, 8, 16, 12]


async def test_a_batch_keeps_to_its_bytes() -> None:
    fake = FakeFirestore()
    await sink_on(fake, size=6_000).write([message(number, raw=bytes(2_000)) for number in range(5)])
    assert [size - 1 for size in fake.requests] == [2, 2, 1]
