"""Torn, truncated and bit-flipped files at random places: all synced rows are there, or the file is refused loudly.

``QUEUE_DAMAGES`` sets how many files are damaged of each sort (40 by default).
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from support.virtual_time import VirtualClock
from tandem.errors import DataUnusable
from tandem.model.account import Account, SlotRecord
from tandem.model.ids import AccountId, Jid, Number
from tandem.model.message import DecodedReceipt, RawEvent
from tandem.model.outage import Observation, Outage
from tandem.model.outbox import SendOutcome, SendResult
from tandem.model.states import SessionState, Slot
from tandem.queue.database import SCHEMA
from tandem.queue.settlement import settle_receipt
from tandem.sqlite_file import SqliteFile
from tandem.sqlite_schema import Schema
from tandem.store.sqlite import SCHEMA as STORE_SCHEMA
from tandem.store.sqlite import SqliteStore
from unit.queue.parts import ACCOUNT, ANN, BOB, accept_text, arrival, message, open_queue, put

DAMAGES = int(os.environ.get("QUEUE_DAMAGES", "40"))
PERSON = Jid("12025550101", "s.whatsapp.net")
NOW = 1_700_000_000.0
FILES = ("", "-wal", "-mark")

# Everything that was promised. Of the keys only their number: what a damaged one does is said where they are made.
QUEUE_ROWS = {
    "accounts": "*",
    "slots": "*",
    "inbox": "*",
    "seen": "count(*)",
    "undecryptable": "*",
    "lids": "*",
    "dead_letters": "*",
    "outbox": "*",
    "idempotency": "*",
    "early_receipts": "*",
    "secrets": "*",
    "outages": "*",
    "unread": "*",
    "observations": "*",
}
STORE_ROWS = {"messages": "account, chat, key, text, raw, timestamp"}

Damage = Callable[[random.Random, bytearray], bytes]


def flip(chance: random.Random, content: bytearray) -> bytes:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def cut(chance: random.Random, content: bytearray) -> bytes:
    return bytes(content[: chance.randrange(len(content))])


def tear(chance: random.Random, content: bytearray) -> bytes:
    """A disk block that was never written, or that holds what it held long ago."""
    start = chance.randrange(len(content)) // 512 * 512
    stuff = bytes(512) if chance.random() < 0.5 else chance.randbytes(512)
    content[start : start + 512] = stuff[: len(content) - start]
    return bytes(content)


def copy(source: Path, target: Path, name: str) -> None:
    target.mkdir()
    for suffix in FILES:
        if (source / f"{name}{suffix}").exists():
            shutil.copy(source / f"{name}{suffix}", target / f"{name}{suffix}")


def rows_of(connection: sqlite3.Connection, tables: dict[str, str]) -> dict[str, list[object]]:
    return {
        table: sorted(connection.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)  # noqa: S608 - ours
        for table, columns in tables.items()
    }


async def fill_queue(directory: Path, closed: Path, living: Path) -> None:
    """A queue with something in every table, as it is while it runs (its log beside it) and after it was closed."""
    async with open_queue(directory) as queue:
        await queue.registry.save_account(Account(AccountId("b" * 16), Number("+12025550109"), "Second", 2.0))
        await queue.registry.save_slot(SlotRecord(ACCOUNT, Slot.PRIMARY, "d", SessionState.BANNED, "spam", 1.0, 2.0))
        await put(queue, *range(60), chat=ANN)
        await queue.inbox.settle(await queue.inbox.pending(20, lambda *_: True), [])
        for number in range(60, 100):
            pairs = ((f"9988{number}", f"120255501{number}"),)
            await queue.inbox.put([arrival(message(number, BOB, raw=bytes(300)), pairs=pairs)])
        await queue.inbox.put([arrival(message(n), held=True) for n in range(100, 130)])
        await queue.inbox.put([arrival(message(n), undecryptable=True) for n in range(200, 210)])
        await queue.dead_letters.bury_event(RawEvent(ACCOUNT, Slot.BACKUP, 1, 1, 7, b"junk" * 50, 3.0), "why")
        for number in range(20):
            row, _ = await accept_text(queue, ANN, f"text {number}", f"key {number}")
            if number % 3 == 0:
                await queue.outbox.mark_sending(row.id, Slot.PRIMARY)
                await queue.outbox.record(row.id, SendResult(SendOutcome.ACCEPTED, f"ID{number}", 1))
        unread = RawEvent(ACCOUNT, Slot.BACKUP, 1, 1, 44, b"encrypted" * 9, 3.0)
        await queue.inbox.put([arrival(message(n), undecryptable=True, event=unread) for n in range(210, 220)])
        outages = [Outage(ACCOUNT, float(n), "connection lost", n + 0.5, n, finished=True) for n in range(20)]
        await queue.outages.save([*outages, Outage(ACCOUNT, 50.0, "it lasts")], [Observation(1.0, 60.0)])
        early = tuple(f"E{number}" for number in range(10))
        receipt = DecodedReceipt(early, PERSON, PERSON, from_me=False, kind="read", timestamp=1)
        await queue.database.write(lambda connection: settle_receipt(connection, ACCOUNT, receipt, 5.0))
        copy(directory, living, "queue.db")
    copy(directory, closed, "queue.db")


async def fill_store(directory: Path, closed: Path, living: Path) -> None:
    directory.mkdir()
    store = SqliteStore(directory, VirtualClock())
    await store.open()
    for start in range(0, 100, 10):
        await store.write([message(number, ANN if number % 3 else BOB) for number in range(start, start + 10)])
    copy(directory, living, "store.db")
    await store.close()
    copy(directory, closed, "store.db")


@pytest.fixture(params=["queue", "store"])
async def kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Which file; it is made here, once as it is while it runs and once as it is after it was closed."""
    fill = fill_queue if request.param == "queue" else fill_store
    await fill(tmp_path / "source", tmp_path / "closed", tmp_path / "living")
    return str(request.param)


@pytest.mark.parametrize("condition", ["living", "closed"])
@pytest.mark.parametrize("damage", [flip, cut, tear])
def test_a_damaged_file_has_every_synced_row_or_is_refused_and_set_aside(
    tmp_path: Path, kind: str, condition: str, damage: Damage
) -> None:
    schema, tables = (SCHEMA, QUEUE_ROWS) if kind == "queue" else (STORE_SCHEMA, STORE_ROWS)
    name = f"{kind}.db"
    source = tmp_path / condition
    whole = _open_copy(source, tmp_path / "whole", name, schema, tables)
    assert not isinstance(whole, str)
    chance = random.Random(f"{kind} {condition} {damage.__name__}")
    refused = 0
    for trial in range(DAMAGES):
        suffix = chance.choice([each for each in ("", "-wal") if (source / f"{name}{each}").exists()])
        spoilt = damage(chance, bytearray((source / f"{name}{suffix}").read_bytes()))
        target = tmp_path / f"trial-{trial}"
        found = _open_copy(source, target, name, schema, tables, spoilt={suffix: spoilt})
        if isinstance(found, str):
            refused += 1
            assert "set aside" in found
            assert list(target.glob(f"{name}.corrupt-*"))
            assert not (target / name).exists()
        else:
            assert found == whole, f"{damage.__name__} in {name}{suffix}, trial {trial}: rows are gone or changed"
        shutil.rmtree(target)
    assert refused, "no damage was ever found: the test looks at the wrong place"


def _open_copy(
    source: Path,
    target: Path,
    name: str,
    schema: Schema,
    tables: dict[str, str],
    *,
    spoilt: dict[str, bytes] | None = None,
) -> dict[str, list[object]] | str:
    """What a copy holds, or why it was refused."""
    copy(source, target, name)
    for suffix, content in (spoilt or {}).items():
        (target / f"{name}{suffix}").write_bytes(content)
    try:
        file = SqliteFile(target / name, schema, NOW)
    except DataUnusable as error:
        return str(error)
    try:
        return rows_of(file.connection, tables)
    finally:
        file.close()
