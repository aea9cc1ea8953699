from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from wa_emulator.codec import Codec
from wa_emulator.contents import Content
from wa_emulator.directory import Device, Queued
from wa_emulator.nodes import JID, Node
from wa_emulator.persistence import StateFile, StateUnusable
from wa_emulator.relay import queue_key
from wa_emulator.world import World, restored

PHONE, CONTACT = "15550100100", "15550100101"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def populate(world: World) -> Device:
    phone = world.directory.add_phone(PHONE, "Alice")
    device = Device(phone, phone.take_device_id(), b"n" * 32, b"i" * 32, 7, 1, b"s" * 32, b"x" * 64, {5: b"p" * 32})
    world.directory.link(device)
    world.directory.account(CONTACT).phone.publish()
    entry = world.ledger.begin("ID", (CONTACT, 0), PHONE, "hello")
    world.ledger.accepted(entry)
    world.ledger.queued(entry, (PHONE, 1))
    world.ledger.sent(entry, (PHONE, 1))
    world.ledger.arrived(entry, 0, Content("text", "hello", "about", "quoted"))
    for number in range(3):
        node = Node("message", {"id": f"ID{number}", "from": JID("1", "lid")}, [Node("enc", {"v": "2"}, b"data")])
        world.directory.enqueue(device, queue_key(node), Queued(node, entry, stale_acks=number))
    world.directory.dequeue(device, ("message", "ID1"))
    return device


async def test_a_world_comes_back_as_it_was(path: Path, codec: Codec) -> None:
    state = StateFile(path)
    before = restored(state, codec)
    device = populate(before)
    await state.close()

    state = StateFile(path)
    after = restored(state, codec)
    assert (after.root.private, after.server.private) == (before.root.private, before.server.private)
    phone = after.directory.phone(PHONE)
    assert phone.record() == before.directory.phone(PHONE).record()
    assert phone.phone.record() == before.directory.phone(PHONE).phone.record()
    assert after.directory.find(phone.lid_jid) is phone
    again = phone.devices[1]
    assert again.record() == device.record()
    assert list(again.queue) == [("message", "ID0"), ("message", "ID2")]
    assert again.queue["message", "ID2"].node == device.queue["message", "ID2"].node
    assert again.queue["message", "ID2"].stale_acks == 2
    (entry,) = after.ledger
    assert again.queue["message", "ID0"].entry is entry
    (original,) = before.ledger
    assert entry.deliveries[PHONE, 1].queued == pytest.approx(original.deliveries[PHONE, 1].queued, abs=0.01)
    assert (entry.text, entry.times_shown, entry.deliveries[PHONE, 1].sends) == ("hello", 1, 1)
    assert after.ledger.shown(PHONE) == [entry]
    await state.close()


async def test_what_is_durable_survives_a_kill(path: Path, codec: Codec, tmp_path: Path) -> None:
    state = StateFile(path)
    populate(restored(state, codec))
    await state.durable()
    for file in tmp_path.glob("state.db*"):  # a copy, taken without closing, is what a kill leaves
        (tmp_path / file.name.replace("state", "copy")).write_bytes(file.read_bytes())
    await state.close()
    copy = StateFile(tmp_path / "copy.db")
    assert len(restored(copy, codec).directory.phone(PHONE).devices[1].queue) == 2
    await copy.close()


async def test_changes_are_written_soon_even_if_nobody_waits(path: Path) -> None:
    state = StateFile(path)
    state.save("kind", "key", lambda: b"value")
    await asyncio.sleep(0.2)
    assert state.load("kind") == [("key", b"value")]
    state.delete("kind", "key")
    await state.durable()
    assert state.load("kind") == []
    await state.close()


async def test_many_changes_of_one_object_are_one_write(path: Path) -> None:
    state = StateFile(path)
    records = []

    def record() -> bytes:
        records.append(1)
        return b"value"

    for _ in range(100):
        state.save("kind", "key", record)
    await asyncio.gather(*(state.durable() for _ in range(10)))
    assert len(records) == 1
    await state.close()


async def test_one_emulator_a_file(path: Path) -> None:
    state = StateFile(path)
    with pytest.raises(StateUnusable, match="locked"):
        StateFile(path)
    await state.close()


async def test_files_that_are_no_state_are_refused(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to look at" * 10)
    with pytest.raises(StateUnusable):
        StateFile(path)
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StateUnusable, match="version 99"):
        StateFile(path)


async def test_callers_that_are_cancelled_disturb_nobody(path: Path) -> None:
    state = StateFile(path)
    for number in range(200):
        state.save("thing", str(number), lambda: b"x" * 20_000)
        caller = asyncio.create_task(state.durable())
        await asyncio.sleep(0)
        caller.cancel()
    await state.durable()
    await state.close()
    again = StateFile(path)
    assert len(again.load("thing")) == 200
    await again.close()
