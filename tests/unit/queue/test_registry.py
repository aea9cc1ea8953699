from __future__ import annotations

from pathlib import Path

from tandem.model.account import Account, SlotRecord
from tandem.model.ids import AccountId, Number
from tandem.model.states import SessionState, Slot
from unit.queue.parts import ACCOUNT, open_queue, put, waiting

OTHER = Account(AccountId("b" * 16), Number("+12025550109"), "Second", 5.0)


async def test_accounts_and_slots_survive_a_restart(tmp_path: Path) -> None:
    banned = SlotRecord(
        ACCOUNT, Slot.BACKUP, "12025550100:7@s.whatsapp.net", SessionState.BANNED, "spam", 3.5, 99.5, "1.0"
    )
    online = SlotRecord(ACCOUNT, Slot.PRIMARY, "12025550100:3@s.whatsapp.net", SessionState.ONLINE, "", 4.5)
    async with open_queue(tmp_path) as queue:
        await queue.registry.save_account(OTHER)
        await queue.registry.save_slot(banned)
        await queue.registry.save_slot(SlotRecord(ACCOUNT, Slot.PRIMARY))
        await queue.registry.save_slot(online)
    async with open_queue(tmp_path) as queue:
        loaded = await queue.registry.load()

    assert [account.id for account, _ in loaded] == [ACCOUNT, OTHER.id]
    assert [list(slots) for _, slots in loaded] == [[online, banned], []]


async def test_a_removed_account_is_forgotten_and_its_messages_are_not(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.registry.save_slot(SlotRecord(ACCOUNT, Slot.PRIMARY))
        await put(queue, 1)
        await queue.registry.remove_account(ACCOUNT)

        assert await queue.registry.load() == []
        assert await waiting(queue) == ["message 1"]


async def test_a_slot_of_a_removed_account_is_not_saved(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.registry.remove_account(ACCOUNT)
        await queue.registry.save_slot(SlotRecord(ACCOUNT, Slot.PRIMARY))
        await queue.registry.save_account(OTHER)

        assert await queue.registry.load() == [(OTHER, [])]


async def test_a_new_name_replaces_the_old_one(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.registry.save_account(OTHER)
        await queue.registry.save_account(Account(OTHER.id, OTHER.number, "Renamed", 5.0))

        assert [account.name for account, _ in await queue.registry.load()] == ["Office", "Renamed"]
