from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tandem.errors import DataUnusable
from tandem.model.account import Account
from tandem.model.ids import AccountId, Number
from tandem.model.states import Slot
from tandem.settings import DeviceSettings
from tandem.whatsapp import keystore
from tandem.whatsapp.codes import EventCode, subscriptions
from tandem.whatsapp.factory import HostFactory
from tandem.whatsapp.journal import Journal

ACCOUNT = Account(AccountId("0123456789abcdef"), Number("+12025550123"), "Ann", 0.0)
DEVICE = "12025550123:4@s.whatsapp.net"


@pytest.fixture
def factory(tmp_path: Path) -> HostFactory:
    return HostFactory(tmp_path, DeviceSettings())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "sessions" / ACCOUNT.id
    path.mkdir(parents=True)
    return path


def make_store(path: Path, *devices: str, filler: int = 0) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE whatsmeow_device (jid TEXT PRIMARY KEY)")
        database.executemany("INSERT INTO whatsmeow_device VALUES (?)", [(device,) for device in devices])
        database.execute("CREATE TABLE filler (data TEXT)")
        database.executemany("INSERT INTO filler VALUES (?)", [("x" * 500,)] * filler)
        database.commit()


def make_journal(path: Path, *events: tuple[int, bytes]) -> None:
    journal = Journal(path)
    for code, payload in events:
        journal.append(code, payload)
    journal.close()


def test_the_linked_device_is_read_without_the_library(factory: HostFactory, folder: Path) -> None:
    assert factory.paired_device(ACCOUNT, Slot.PRIMARY) == ""
    make_store(folder / "primary.db", DEVICE)
    make_store(folder / "backup.db")
    assert factory.paired_device(ACCOUNT, Slot.PRIMARY) == DEVICE
    assert factory.paired_device(ACCOUNT, Slot.BACKUP) == ""


def test_a_store_that_the_library_has_not_filled_yet_is_unpaired(factory: HostFactory, folder: Path) -> None:
    (folder / "primary.db").touch()
    sqlite3.connect(folder / "backup.db").close()
    assert factory.paired_device(ACCOUNT, Slot.PRIMARY) == ""
    assert factory.paired_device(ACCOUNT, Slot.BACKUP) == ""


def test_a_store_that_is_no_database_is_unusable(factory: HostFactory, folder: Path) -> None:
    (folder / "primary.db").write_bytes(b"not a database at all, but long enough" * 100)
    with pytest.raises(DataUnusable, match="link the slot again"):
        factory.paired_device(ACCOUNT, Slot.PRIMARY)


def test_a_damaged_page_is_found_at_first_sight(factory: HostFactory, folder: Path) -> None:
    path = folder / "primary.db"
    make_store(path, DEVICE, filler=200)
    data = bytearray(path.read_bytes())
    data[-8192:-4096] = b"\xee" * 4096
    path.write_bytes(bytes(data))
    with pytest.raises(DataUnusable):
        factory.paired_device(ACCOUNT, Slot.PRIMARY)


def test_a_large_store_is_not_searched_through(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "primary.db"
    make_store(path, DEVICE, filler=200)
    path.write_bytes(path.read_bytes()[:-4096] + b"\xee" * 4096)
    monkeypatch.setattr(keystore, "_LARGE", 1000)
    keystore.check(path)


@pytest.mark.parametrize("name", ["plain", "with space", "per%cent", "quest?ion", "ha#sh"])
def test_any_path_can_be_read_and_named_to_the_library(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    make_store(folder / "a.db", DEVICE)
    assert keystore.linked_device(folder / "a.db") == DEVICE
    path, _, parameters = keystore.database_name(folder / "a.db").partition("?")
    assert not {"#", " "} & set(path)
    assert "_journal_mode=WAL" in parameters


def test_a_leftover_journal_is_read_forgotten_and_counted_on(factory: HostFactory, folder: Path) -> None:
    path = folder / "primary.journal"
    assert factory.leftover(ACCOUNT, Slot.PRIMARY) == []
    factory.forget_leftover(ACCOUNT, Slot.PRIMARY)
    make_journal(path, (17, b"one"), (6, b"two"))
    events = factory.leftover(ACCOUNT, Slot.PRIMARY)
    assert [(event.sequence, event.code, event.payload) for event in events] == [(1, 17, b"one"), (2, 6, b"two")]
    assert {(event.account, event.slot) for event in events} == {(ACCOUNT.id, Slot.PRIMARY)}
    factory.forget_leftover(ACCOUNT, Slot.PRIMARY)
    assert factory.leftover(ACCOUNT, Slot.PRIMARY) == []
    make_journal(path, (17, b"three"))
    assert [event.sequence for event in factory.leftover(ACCOUNT, Slot.PRIMARY)] == [3]


def test_a_torn_leftover_is_kept_aside(factory: HostFactory, folder: Path) -> None:
    path = folder / "primary.journal"
    make_journal(path, (17, b"one"))
    path.write_bytes(path.read_bytes() + b"torn")
    assert len(factory.leftover(ACCOUNT, Slot.PRIMARY)) == 1
    factory.forget_leftover(ACCOUNT, Slot.PRIMARY)
    assert (folder / "primary.journal.torn").read_bytes() == b"torn"


async def test_hosts_of_a_killed_daemon_are_waited_for(factory: HostFactory, folder: Path) -> None:
    await factory.vacated(0.1)
    file = os.open(folder / "primary.lock", os.O_RDWR | os.O_CREAT)
    (folder / "backup.lock").touch()
    fcntl.flock(file, fcntl.LOCK_EX)
    with pytest.raises(DataUnusable, match=f"{ACCOUNT.id}/primary\\)"):
        await factory.vacated(0.1)
    asyncio.get_running_loop().call_later(0.2, os.close, file)
    began = time.monotonic()
    await factory.vacated(10)
    assert 0.15 < time.monotonic() - began < 5


def test_a_journal_that_is_none_is_unusable(factory: HostFactory, folder: Path) -> None:
    (folder / "primary.journal").write_bytes(b"something else")
    with pytest.raises(DataUnusable):
        factory.leftover(ACCOUNT, Slot.PRIMARY)
    with pytest.raises(DataUnusable):
        factory.forget_leftover(ACCOUNT, Slot.PRIMARY)


def test_quarantine_moves_everything_and_deletes_nothing(factory: HostFactory, folder: Path) -> None:
    make_store(folder / "primary.db", DEVICE)
    make_store(folder / "backup.db", DEVICE)
    for suffix in (".db-wal", ".db-shm"):
        (folder / f"primary{suffix}").write_bytes(b"x")
    make_journal(folder / "primary.journal", (6, b""))
    where = factory.quarantine(ACCOUNT, Slot.PRIMARY, "logged out")
    assert where is not None
    assert where.parent == folder / "quarantine"
    moved = {file.name for file in where.iterdir()}
    assert moved == {"primary.db", "primary.db-wal", "primary.db-shm", "primary.journal", "why.txt"}
    assert {file.name for file in folder.iterdir()} == {"backup.db", "quarantine"}
    assert (where / "why.txt").read_text() == "logged out\n"
    assert where.stat().st_mode & 0o777 == 0o700
    assert factory.quarantine(ACCOUNT, Slot.PRIMARY, "again") is None


def test_messages_that_are_not_durable_yet_are_not_put_into_quarantine(factory: HostFactory, folder: Path) -> None:
    make_store(folder / "primary.db", DEVICE)
    make_journal(folder / "primary.journal", (17, b"a message"), (6, b""))
    factory.quarantine(ACCOUNT, Slot.PRIMARY, "logged out")
    assert len(factory.leftover(ACCOUNT, Slot.PRIMARY)) == 2


def test_two_quarantines_in_one_second_do_not_meet(factory: HostFactory, folder: Path) -> None:
    places = set()
    for _ in range(3):
        make_store(folder / "primary.db", DEVICE)
        places.add(factory.quarantine(ACCOUNT, Slot.PRIMARY, "test"))
    assert len(places) == 3


def test_only_one_slot_subscribes_to_receipts() -> None:
    one, other = subscriptions(receipts=True), subscriptions(receipts=False)
    assert set(one) - set(other) == {EventCode.RECEIPT}
    assert {EventCode.MESSAGE, EventCode.UNDECRYPTABLE, EventCode.LOGGED_OUT} <= set(other)
    assert 13 not in one  # history can be many megabytes
