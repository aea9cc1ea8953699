from __future__ import annotations

import re

import pytest

from integration.firestore.scene import ACCOUNT, CHAT, Scene, Wire, message, texts
from tandem.model.message import Message
from tandem.store.firestore import values

RESERVED = "__reserved{}__"  # a document's name that Firestore refuses, and with it the whole request


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let poison through to the server, which must then be found out by asking."""
    monkeypatch.setattr(values, "_RESERVED", re.compile(r"(?!)"))


def poison(number: int) -> Message:
    return message(number, key=RESERVED.format(number))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("positions", [{0}, {19}, {7}, {0, 1, 19}, {3, 4, 11, 17}, set(range(20))])
async def test_poison_is_reported_and_its_neighbours_written(scene: Scene, positions: set[int]) -> None:
    store = await scene.store()
    batch = [poison(number) if number in positions else message(number) for number in range(20)]

    reported = await store.write(batch)

    assert {one.key for one in reported} == {RESERVED.format(number) for number in positions}
    assert {one.account for one in reported} <= {ACCOUNT}
    assert all("malformed" in one.reason for one in reported)
    good = [f"text {number}" for number in range(20) if number not in positions]
    assert texts(await store.messages(ACCOUNT, CHAT, 100)) == good
    assert [chat.last_message for chat in await store.chats(ACCOUNT, 10)] == good[-1:]


@pytest.mark.usefixtures("unchecked")
async def test_finding_one_poison_among_a_hundred_takes_few_requests(scene: Scene) -> None:
    store = await scene.store()
    wire = Wire(store)
    reported = await store.write([poison(42) if number == 42 else message(number) for number in range(100)])
    assert len(reported) == 1
    assert len(wire.batches) <= 16


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ({"raw": bytes(1_100_000)}, "raw"),
        ({"raw": bytes(600_000), "text": "x" * 600_000}, "document of 12"),
        ({"text": "x" * 1_048_488}, "text"),
        ({"text": "half \ud83d"}, "text"),
        ({"key": "a/b"}, "key"),
        ({"key": "__x__"}, "key"),
        ({"key": "."}, "key"),
        ({"key": "k" * 1501}, "key"),
        ({"chat": "a/b/c"}, "chat"),
        ({"received_at": 2**63}, "receivedAtMs"),
        ({"at": 2**63}, "time"),
    ],
)
async def test_poison_is_found_before_anything_is_sent(scene: Scene, flaw: dict[str, object], said: str) -> None:
    store = await scene.store()
    wire = Wire(store)
    flawed = message(1, **flaw)  # type: ignore[arg-type]
    [reported] = await store.write([message(0), flawed, message(2)])
    assert reported.key == flawed.key
    assert said in reported.reason
    assert len(wire.batches) == 1
    assert texts(await store.messages(ACCOUNT, CHAT, 10)) == ["text 0", "text 2"]


@pytest.mark.parametrize(
    "edge",
    [
        {"raw": bytes(1_047_800)},
        {"text": "ü" * 520_000},
        {"key": "k" * 1500},
        {"text": "nul \x00, emoji 🙂, rtl \u202e"},
        {"received_at": 2**63 - 1},
        {"at": -(2**63) + 1},
    ],
)
async def test_what_just_fits_is_taken_by_the_server_too(scene: Scene, edge: dict[str, object]) -> None:
    store = await scene.store()
    fitting = message(1, **edge)  # type: ignore[arg-type]
    assert await store.write([fitting]) == []
    assert [one.message for one in await store.messages(ACCOUNT, CHAT, 10)] == [fitting]
