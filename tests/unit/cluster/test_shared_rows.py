"""One contract for the shared outbox, held by the twin and by Firestore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.firestore_emulator import FirestoreEmulator, running
from tandem.cluster.firestore_outbox import FirestoreRows
from tandem.cluster.memory_outbox import Ground, MemoryRows
from tandem.cluster.outbox_documents import change as changing
from tandem.cluster.outbox_documents import creation, in_milliseconds, place_at, row_of
from tandem.cluster.outbox_port import KEYS_KEPT, Change, SharedRows, Stamp
from tandem.cluster.port import LostRace
from tandem.errors import Conflict, StoreUnavailable
from tandem.model.cluster import InstanceId
from tandem.model.ids import AccountId, ChatId
from tandem.model.outbox import IdempotencyKey, IfUnknown, OutboxRow, Text
from tandem.model.states import OutboxState, Slot
from tandem.store.firestore.credentials import Target
from tandem.store.firestore.documents import Names

ACCOUNT, OTHER = AccountId("1f0c8a62b7d94e35"), AccountId("2f0c8a62b7d94e35")
CHAT = ChatId("12025550142@s.whatsapp.net")
KEY = IdempotencyKey("order 7/1", b"r" * 32)
HERE = Stamp(InstanceId("here"), 3)
START = 1_800_000_000.0
SOON = 15.0


def outgoing(number: int, account: AccountId = ACCOUNT, **changes: Any) -> OutboxRow:
    row = OutboxRow(
        f"{account}-{number:026x}",
        account,
        CHAT,
        Text(f"text {number}"),
        number.to_bytes(32, "big"),
        OutboxState.QUEUED,
        "",
        START + number,
        START + number + 3600,
        START + number,
    )
    return replace(row, **changes)


def place(number: int) -> int:
    return place_at(START) + number


@pytest.fixture(scope="module")
def emulator() -> Iterator[FirestoreEmulator]:
    with running() as emulator:
        yield emulator


@pytest.fixture(params=["memory", "firestore"])
async def two(request: pytest.FixtureRequest) -> AsyncIterator[tuple[SharedRows, SharedRows]]:
    """Two instances' ways to the same documents."""
    if request.param == "memory":
        ground = Ground()
        yield MemoryRows(ground), MemoryRows(ground)
        return
    emulator: FirestoreEmulator = request.getfixturevalue("emulator")
    target = Target(emulator.fresh_project(), emulator=emulator.address)
    ways = FirestoreRows(target), FirestoreRows(target)
    for way in ways:
        await way.open()
    yield ways
    for way in ways:
        await way.close()


@pytest.fixture
def rows(two: tuple[SharedRows, SharedRows]) -> SharedRows:
    return two[0]


async def create(rows: SharedRows, row: OutboxRow, key: IdempotencyKey | None = None, now: float = START) -> Any:
    return await rows.create(row, place(int(row.id[-6:], 16)), key, now, SOON)


async def test_what_was_created_is_found_as_it_was(two: tuple[SharedRows, SharedRows]) -> None:
    seen, new = await create(two[0], outgoing(1))
    assert new
    assert seen.row == outgoing(1)
    found = await two[1].get([(ACCOUNT, outgoing(1).id), (OTHER, outgoing(1).id), (ACCOUNT, "a/b")], SOON)
    assert found == {outgoing(1).id: seen}


async def test_creating_it_again_is_the_same_document(rows: SharedRows) -> None:
    first, _ = await create(rows, outgoing(1))
    assert await create(rows, outgoing(1)) == (first, True)


async def test_a_key_makes_one_message_whoever_is_asked(two: tuple[SharedRows, SharedRows]) -> None:
    first, new = await create(two[0], outgoing(1), KEY)
    again, second = await create(two[1], outgoing(2), KEY)
    assert (again, new, second) == (first, True, False)
    assert await two[1].keyed(ACCOUNT, KEY, START, SOON) == first
    assert await two[1].keyed(OTHER, KEY, START, SOON) is None
    assert [seen.row.id for seen in await two[0].open_rows(ACCOUNT, SOON)] == [outgoing(1).id]


async def test_a_key_that_came_with_another_request_is_refused(rows: SharedRows) -> None:
    await create(rows, outgoing(1), KEY)
    with pytest.raises(Conflict):
        await create(rows, outgoing(2), IdempotencyKey(KEY.text, b"x" * 32))
    with pytest.raises(Conflict):
        await rows.keyed(ACCOUNT, IdempotencyKey(KEY.text, b"x" * 32), START, SOON)


async def test_a_key_is_free_again_after_two_days(rows: SharedRows) -> None:
    await create(rows, outgoing(1), KEY)
    later = START + KEYS_KEPT + 1
    assert await rows.keyed(ACCOUNT, KEY, later, SOON) is None
    second, new = await create(rows, outgoing(2), KEY, later)
    assert new
    assert await rows.keyed(ACCOUNT, KEY, later, SOON) == second


async def test_of_eight_that_claim_one_wins(two: tuple[SharedRows, SharedRows]) -> None:
    seen, _ = await create(two[0], outgoing(1))

    async def claim(number: int) -> Any:
        claimed = replace(seen.row, state=OutboxState.SENDING, slot=Slot.BACKUP)
        return await two[number % 2].change(claimed, seen.version, Stamp(InstanceId(f"{number}"), number), SOON)

    results = await asyncio.gather(*(claim(number) for number in range(8)), return_exceptions=True)
    won = [number for number, result in enumerate(results) if not isinstance(result, BaseException)]
    assert len(won) == 1
    assert sum(isinstance(result, LostRace) for result in results) == 7
    (found,) = await two[0].open_rows(ACCOUNT, SOON)
    assert (found.stamp.generation, found.version) == (won[0], results[won[0]])
    assert (found.row.state, found.row.slot) == (OutboxState.SENDING, Slot.BACKUP)


async def test_what_does_not_exist_cannot_be_changed(rows: SharedRows) -> None:
    with pytest.raises(LostRace):
        await rows.change(outgoing(1), (1, 0), HERE, SOON)


async def test_open_rows_come_in_order_and_without_what_is_over(rows: SharedRows) -> None:
    for number in (3, 1, 2):
        await create(rows, outgoing(number))
    await create(rows, outgoing(4, OTHER))
    (first, *_) = await rows.open_rows(ACCOUNT, SOON)
    await rows.change(replace(first.row, state=OutboxState.SENT, sent_at=START), first.version, HERE, SOON)
    assert [seen.row.id for seen in await rows.open_rows(ACCOUNT, SOON)] == [outgoing(2).id, outgoing(3).id]


async def test_pages_are_newest_first(rows: SharedRows) -> None:
    for number in range(1, 6):
        await create(rows, outgoing(number))
    first = await rows.page(ACCOUNT, None, 3, SOON)
    second = await rows.page(ACCOUNT, first[-1].place, 3, SOON)
    assert [seen.row.id for seen in (*first, *second)] == [outgoing(number).id for number in (5, 4, 3, 2, 1)]


async def test_a_watch_tells_all_and_then_what_changes(two: tuple[SharedRows, SharedRows]) -> None:
    await create(two[0], outgoing(1))
    told: asyncio.Queue[Change] = asyncio.Queue()

    async def watch() -> None:
        async with aclosing(two[1].watch([ACCOUNT, OTHER])) as changes:
            async for change in changes:
                await told.put(change)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watch())
        first, empty = [await asyncio.wait_for(told.get(), SOON) for _ in range(2)]
        assert empty == Change(OTHER, [], [])
        await create(two[0], outgoing(2, OTHER))
        second = await asyncio.wait_for(told.get(), SOON)
        seen = first.rows[0]
        claimed = replace(seen.row, state=OutboxState.SENDING)
        version = await two[0].change(claimed, seen.version, HERE, SOON)
        third = await asyncio.wait_for(told.get(), SOON)
        await two[0].change(replace(claimed, state=OutboxState.SENT), version, HERE, SOON)
        last = await asyncio.wait_for(told.get(), SOON)
        task.cancel()
    assert [(change.account, [seen.row.id for seen in change.rows]) for change in (first, second)] == [
        (ACCOUNT, [outgoing(1).id]),
        (OTHER, [outgoing(2, OTHER).id]),
    ]
    assert [(seen.row.state, seen.stamp, seen.version) for seen in third.rows] == [(OutboxState.SENDING, HERE, version)]
    assert (list(last.rows), list(last.gone)) == ([], [outgoing(1).id])


async def test_an_address_where_nobody_answers_is_said_in_time() -> None:
    rows = FirestoreRows(Target("demo-nobody", emulator="127.0.0.1:9"))
    await rows.open()
    for call in (
        create(rows, outgoing(1), KEY),
        rows.get([(ACCOUNT, "a")], 1.0),
        rows.open_rows(ACCOUNT, 1.0),
        rows.change(outgoing(1), (1, 0), HERE, 1.0),
        anext(aiter(rows.watch([ACCOUNT]))),
    ):
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(call, 2 * SOON)
    await rows.close()


MOMENTS = st.integers(0, 4_102_444_800_000).map(lambda milliseconds: milliseconds / 1000)
ROWS = st.builds(
    OutboxRow,
    st.uuids().map(str),
    st.just(ACCOUNT),
    st.just(CHAT),
    st.builds(Text, st.text()),
    st.binary(min_size=32, max_size=32),
    st.sampled_from(OutboxState),
    st.text(),
    MOMENTS,
    MOMENTS,
    MOMENTS,
    if_unknown=st.sampled_from(IfUnknown),
    sent_at=MOMENTS,
    delivered_at=MOMENTS,
    read_at=MOMENTS,
    ended_at=MOMENTS,
    message_id=st.text(max_size=40),
    slot=st.none() | st.sampled_from(Slot),
    attempts=st.integers(0, 100),
)


@given(ROWS, st.integers(0, 10**17 - 1), st.integers(0, 2**40))
def test_a_document_gives_back_every_field(row: OutboxRow, place: int, generation: int) -> None:
    names = Names("projects/p/databases/d")
    document = creation(names, row, place).update
    created = row_of(document)
    assert (created.row, created.place, created.stamp) == (row, place, Stamp())
    stamp = Stamp(InstanceId("here"), generation)
    for name, value in changing(names, row, (1, 2), stamp).update.fields.items():
        document.fields[name].CopyFrom(value)
    assert row_of(document) == replace(created, stamp=stamp)
    assert in_milliseconds(row) == row
