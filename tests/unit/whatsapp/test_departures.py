"""What the key stores remember of sends: the proof that a message never left."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tandem.errors import DataUnusable
from tandem.model.account import Account
from tandem.model.ids import Number, account_id
from tandem.model.states import Slot
from tandem.settings import DeviceSettings
from tandem.whatsapp.factory import HostFactory

NUMBER = Number("+12025550123")
ACCOUNT = Account(account_id(NUMBER), NUMBER, "Shop", 0.0)
SECRET = bytes(range(32))


def _store(folder: Path, slot: str, *ids: str) -> Path:
    path = folder / "sessions" / ACCOUNT.id / f"{slot}.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE whatsmeow_message_secrets (our_jid TEXT, chat_jid TEXT, sender_jid TEXT, "
            "message_id TEXT, key BLOB)"
        )
        rows = [("us", "chat", "us", message_id, SECRET) for message_id in ids]
        rows.append(("us", "chat", "us", "another", b"\0" * 32))
        database.executemany("INSERT INTO whatsmeow_message_secrets VALUES (?, ?, ?, ?, ?)", rows)
    return path


def test_both_slots_are_asked_and_only_this_secret_counts(tmp_path: Path) -> None:
    _store(tmp_path, "primary", "3EB0AA")
    _store(tmp_path, "backup", "3EB0AA", "3EB0BB")
    assert HostFactory(tmp_path, DeviceSettings()).departures(ACCOUNT, SECRET) == {"3EB0AA", "3EB0BB"}


def test_a_slot_without_a_key_store_has_sent_nothing(tmp_path: Path) -> None:
    assert HostFactory(tmp_path, DeviceSettings()).departures(ACCOUNT, SECRET) == set()
    _store(tmp_path, "primary")
    assert HostFactory(tmp_path, DeviceSettings()).departures(ACCOUNT, SECRET) == set()


def test_a_key_store_that_was_set_aside_still_testifies(tmp_path: Path) -> None:
    _store(tmp_path, "primary", "3EB0AA")
    devices = HostFactory(tmp_path, DeviceSettings())
    devices.quarantine(ACCOUNT, Slot.PRIMARY, "logged out")
    _store(tmp_path, "primary")
    assert devices.departures(ACCOUNT, SECRET) == {"3EB0AA"}


def test_a_damaged_key_store_proves_nothing(tmp_path: Path) -> None:
    path = _store(tmp_path, "primary")
    path.write_bytes(b"damaged" * 1000)
    with pytest.raises(DataUnusable):
        HostFactory(tmp_path, DeviceSettings()).departures(ACCOUNT, SECRET)
