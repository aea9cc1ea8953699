from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tandem.errors import TandemError
from tandem.model.phone import Presence, Proof
from unit.queue.parts import ACCOUNT, make_queue, open_queue


async def test_presences_survive_a_restart(tmp_path: Path) -> None:
    last = Presence(9.5, Proof.RECEIPT, told=10)
    async with open_queue(tmp_path) as queue:
        await queue.phones.save({ACCOUNT: Presence(1.0)})
        await queue.phones.save({ACCOUNT: last})
    async with open_queue(tmp_path) as queue:
        assert await queue.phones.load() == {ACCOUNT: last}


async def test_a_removed_account_takes_its_phone_along(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.phones.save({ACCOUNT: Presence(1.0)})
        await queue.registry.remove_account(ACCOUNT)
        await queue.phones.save({ACCOUNT: Presence(2.0)})
        assert await queue.phones.load() == {}


async def test_a_row_that_was_changed_behind_our_back_is_found(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.phones.save({ACCOUNT: Presence(1.0, Proof.LINKED)})
    with sqlite3.connect(tmp_path / "queue.db") as database:
        database.execute("UPDATE phones SET at = 2.0")
    database.close()
    with pytest.raises(TandemError):
        await make_queue(tmp_path).open()
