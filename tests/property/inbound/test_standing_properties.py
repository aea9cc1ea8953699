"""Whatever order receipts, the message and the writer's steps come in, the store ends where all receipts say."""

from __future__ import annotations

import asyncio
import tempfile
from functools import reduce
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.virtual_time import VirtualClock
from tandem.errors import StoreUnavailable
from tandem.model.message import DecodedReceipt, Message, Standing, StatusUpdate
from tandem.model.states import MessageStatus
from tandem.queue.queue import Queue
from tandem.store.memory import MemoryStore
from unit.queue.parts import ACCOUNT, ANN, everything, open_queue
from unit.queue.test_standings import AT, own, put_own, receipt, take

STATUSES = {"delivered": MessageStatus.DELIVERED, "read": MessageStatus.READ, "played": MessageStatus.PLAYED}

standings = st.builds(
    Standing,
    st.sampled_from(list(MessageStatus)),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 9),
)
receipts = st.tuples(st.just("receipt"), st.sampled_from(list(STATUSES)), st.integers(1, 50))
writes = st.tuples(st.just("write"), st.sampled_from(["done", "refused", "done, answer lost"]), st.integers(0, 3))
steps = st.lists(receipts | writes | st.tuples(st.just("message"), st.just(""), st.just(0)), max_size=25)


@given(standings, standings, standings)
def test_joining_takes_no_notice_of_order_and_repetition(a: Standing, b: Standing, c: Standing) -> None:
    assert a.joined(b) == b.joined(a)
    assert a.joined(b).joined(c) == a.joined(b.joined(c))
    assert a.joined(b).joined(b) == a.joined(b)
    assert a.joined(b).status.number >= a.status.number


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_the_store_ends_where_all_receipts_say(taken: list[tuple[str, str, int]]) -> None:
    asyncio.run(_play(taken))


async def _play(taken: list[tuple[str, str, int]]) -> None:
    store = MemoryStore(VirtualClock())
    with tempfile.TemporaryDirectory() as directory:
        async with open_queue(Path(directory)) as queue:
            said: list[Standing] = [Standing(MessageStatus.SENT)]
            seen = Standing()
            for step, how, number in taken:
                if step == "message":
                    await put_own(queue, own())
                elif step == "receipt":
                    said.append(_said(how, number))
                    await take(queue, receipt(how, AT + number))
                else:
                    await _write(queue, store, how, late=receipt("delivered", AT + 60) if number == 0 else None)
                    if number == 0:
                        said.append(_said("delivered", 60))
                now = await _stored(store)
                assert now is None or now.joined(seen) == now, "went back"
                seen = now or seen
            await put_own(queue, own())
            while await _write(queue, store, "done", None):
                pass
            assert await _stored(store) == reduce(Standing.joined, said)


def _said(how: str, number: int) -> Standing:
    return Standing.reached(STATUSES[how], (AT + number) * 1000)


async def _write(queue: Queue, store: MemoryStore, how: str, late: DecodedReceipt | None) -> bool:
    """What the writer does, with a receipt that comes while the store is at work, and answers that are lost."""
    pending = await queue.inbox.pending(100, everything)
    updates: list[StatusUpdate] = [each.update for each in await queue.standings.untold(100)]
    messages: list[Message] = [each.message for each in pending]
    if how != "refused":
        await store.write(messages, updates)
    if late is not None:
        await take(queue, late)
    if how == "done":
        await queue.inbox.settle(pending, (), updates)
    return bool(pending or updates)


async def _stored(store: MemoryStore) -> Standing | None:
    try:
        found = await store.messages(ACCOUNT, ANN, 10)
    except StoreUnavailable:
        return None
    return found[0].message.standing if found else None
