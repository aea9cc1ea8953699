"""Sends that another instance made and left open: settled by what this instance's own devices have seen, or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tandem.model.account import Account
from tandem.model.outbox import Content, MarkRead, OutboxRow, SendOutcome, SendResult, Target, Text
from tandem.model.states import OutboxState, Slot
from tandem.policy.shared_outbox import Document
from tandem.queue.working_copy import News, WorkingCopy
from unit.outbound.test_reconciler import ACCOUNT, CHAT, Stage


class Devices:
    """Both slots of this instance, as far as they are witnesses. There is no host here that made the call."""

    def __init__(self) -> None:
        self.online: dict[Slot, float] = {}
        self.linked: dict[Slot, float] = {}
        self.departed: set[str] = set()
        self.asked = 0

    def host_started_at(self, slot: Slot) -> float | None:
        raise AssertionError(f"the host of {slot} has nothing to do with it")

    def online_since(self, slot: Slot) -> float | None:
        return self.online.get(slot)

    def linked_since(self, slot: Slot) -> float:
        return self.linked.get(slot, 0.0)

    def recycle(self, slot: Slot) -> None:
        raise AssertionError(f"the host of {slot} has nothing to do with it")

    def paired_device(self, account: Account, slot: Slot) -> str:  # noqa: ARG002 - the port's
        return "12025550100:1@s.whatsapp.net"

    def departures(self, account: Account, secret: bytes) -> set[str]:  # noqa: ARG002 - the port's
        self.asked += 1
        return self.departed


class ForeignStage(Stage):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.devices = self.witnesses = Devices()  # type: ignore[assignment]

    async def taken_up(self, state: OutboxState = OutboxState.SENDING, content: Content | None = None) -> OutboxRow:
        """The account's lease comes here, and with it a message that the last holder was sending."""
        await self.queue.open()
        await self.queue.registry.save_account(ACCOUNT)
        now = self.clock.now()
        row = OutboxRow(
            f"{ACCOUNT.id}-1",
            ACCOUNT.id,
            CHAT,
            content or Text("hello"),
            b"s" * 32,
            state,
            "",
            now - 60,
            now + 3600,
            now - 1,
            slot=Slot.PRIMARY,
        )
        copy = WorkingCopy(self.queue.database, self.queue.outbox, self.clock)
        await copy.absorb([News(row, Document(state, 1, news=True))], 2)
        return row


@pytest.fixture
async def stage(tmp_path: Path) -> ForeignStage:
    return ForeignStage(tmp_path)


@pytest.mark.parametrize("slot", Slot)
async def test_it_goes_again_when_any_device_here_would_have_seen_it(stage: ForeignStage, slot: Slot) -> None:
    row = await stage.taken_up()
    stage.devices.online = {slot: stage.clock.wall - 3600}
    await stage.look(9)
    assert await stage.state(row) == (OutboxState.UNKNOWN, 1)
    await stage.look(2)
    assert await stage.state(row) == (OutboxState.QUEUED, 1)
    assert stage.devices.asked == 0
    await stage.queue.close()


async def test_the_device_that_is_online_longest_is_the_witness(stage: ForeignStage) -> None:
    row = await stage.taken_up()
    stage.devices.online = {Slot.PRIMARY: stage.clock.wall + 8, Slot.BACKUP: stage.clock.wall}
    await stage.look(11)
    assert (await stage.state(row))[0] is OutboxState.QUEUED
    await stage.queue.close()


async def test_a_device_that_came_online_later_has_its_five_seconds_from_then(stage: ForeignStage) -> None:
    row = await stage.taken_up()
    stage.devices.online = {Slot.BACKUP: stage.clock.wall + 8}
    await stage.look(12)
    assert (await stage.state(row))[0] is OutboxState.UNKNOWN
    await stage.look(2)
    assert (await stage.state(row))[0] is OutboxState.QUEUED
    await stage.queue.close()


async def test_devices_that_were_linked_later_are_no_witnesses(stage: ForeignStage) -> None:
    row = await stage.taken_up()
    stage.devices.online = dict.fromkeys(Slot, stage.clock.wall)
    stage.devices.linked = dict.fromkeys(Slot, stage.clock.wall - 30)
    await stage.look(3600)
    assert (await stage.state(row))[0] is OutboxState.UNKNOWN
    await stage.queue.close()


async def test_without_a_device_online_it_stays_unknown(stage: ForeignStage) -> None:
    row = await stage.taken_up()
    await stage.look(3600)
    assert (await stage.state(row))[0] is OutboxState.UNKNOWN
    await stage.queue.close()


async def test_a_read_mark_is_made_again_whoever_made_it(stage: ForeignStage) -> None:
    row = await stage.taken_up(content=MarkRead((Target("3EB0", str(CHAT)),)))
    await stage.look(0.5)
    assert (await stage.state(row))[0] is OutboxState.QUEUED
    await stage.queue.close()


async def test_once_sent_from_here_its_own_key_store_counts_and_only_for_its_own_attempts(stage: ForeignStage) -> None:
    row = await stage.taken_up()
    stage.devices.online = {Slot.BACKUP: stage.clock.wall}
    await stage.look(12)
    await stage.queue.outbox.mark_sending(row.id, Slot.PRIMARY)
    await stage.queue.outbox.record(row.id, SendResult(SendOutcome.UNKNOWN))
    stage.devices.departed, stage.devices.online = {"3EB0AA"}, {}
    stage.devices.host_started_at = lambda slot: None  # type: ignore[method-assign]  # noqa: ARG005
    await stage.look(60)
    assert await stage.state(row) == (OutboxState.UNKNOWN, 2)  # one of two attempts left from here: it may have arrived
    stage.devices.departed = set()
    await stage.look(2)
    assert (await stage.state(row))[0] is OutboxState.QUEUED
    await stage.queue.close()
