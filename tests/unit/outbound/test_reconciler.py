"""The reconciler on virtual time, with a real queue on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.virtual_time import SeededRandom, VirtualClock
from tandem.model.account import Account
from tandem.model.ids import ChatId, Jid, Number, account_id
from tandem.model.message import DecodedReceipt
from tandem.model.outbox import Content, IfUnknown, MarkRead, OutboxRow, SendOutcome, SendResult, Target, Text
from tandem.model.states import OutboxState, Slot
from tandem.outbound.reconciliation import Reconciler
from tandem.queue.queue import Queue
from tandem.queue.settlement import settle_receipt
from tandem.queue.unknown import UnknownSends
from tandem.settings import QueueSettings

NUMBER = Number("+12025550123")
ACCOUNT = Account(account_id(NUMBER), NUMBER, "Shop", 0.0)
CHAT = ChatId("13035550100@s.whatsapp.net")
HELLO = Text("hello")


class SteeredClock(VirtualClock):
    """Sleeping moves wall time on, up to a point; whoever would sleep beyond it has come to the end of the test."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.0
        self.until = self.wall
        self.reached = asyncio.Event()

    def now(self) -> float:
        return self.wall

    async def sleep(self, seconds: float) -> None:
        if self.wall + seconds > self.until:
            self.reached.set()
            await asyncio.Event().wait()
        self.wall += seconds


class Witnesses:
    def __init__(self) -> None:
        self.started: float | None = 0.0
        self.online: float | None = None
        self.recycled: list[Slot] = []
        self.departed: set[str] = set()
        self.linked = 0.0
        self.sender_linked = 0.0
        self.emptied: set[Slot] = set()

    def host_started_at(self, slot: Slot) -> float | None:
        assert slot is Slot.PRIMARY
        return self.started

    def online_since(self, slot: Slot) -> float | None:
        assert slot is Slot.BACKUP
        return self.online

    def linked_since(self, slot: Slot) -> float:
        return self.linked if slot is Slot.BACKUP else self.sender_linked

    def recycle(self, slot: Slot) -> None:
        self.recycled.append(slot)

    def paired_device(self, account: Account, slot: Slot) -> str:  # noqa: ARG002 - the port's
        return "" if slot in self.emptied else "12025550100:1@s.whatsapp.net"

    def departures(self, account: Account, secret: bytes) -> set[str]:
        assert account == ACCOUNT
        assert len(secret) == 32
        return self.departed


class Stage:
    def __init__(self, folder: Path) -> None:
        self.clock = SteeredClock()
        self.witnesses = Witnesses()
        self.ended: dict[str, float] = {}
        self.queue = Queue(folder, QueueSettings(), self.clock, SeededRandom(), lambda *_a, **_k: None)

    async def unknown_send(self, content: Content = HELLO, if_unknown: IfUnknown = IfUnknown.RESEND) -> OutboxRow:
        await self.queue.open()
        await self.queue.registry.save_account(ACCOUNT)
        row, _ = await self.queue.outbox.accept(ACCOUNT.id, CHAT, content, if_unknown=if_unknown)
        await self.queue.outbox.mark_sending(row.id, Slot.PRIMARY)
        return (await self.queue.outbox.record(row.id, SendResult(SendOutcome.UNKNOWN))).after

    async def receipt(self, message_id: str) -> None:
        """The recipient got it, WhatsApp says."""
        who = Jid.parse(CHAT)
        receipt = DecodedReceipt((message_id,), who, who, from_me=False, kind="delivered", timestamp=1)
        await self.queue.database.write(
            lambda connection: settle_receipt(connection, ACCOUNT.id, receipt, self.clock.now()),
            self.queue.outbox.moved,
        )

    async def look(self, seconds: float) -> None:
        """Let the reconciler work for so many seconds of its clock."""
        unknown = UnknownSends(self.queue.database, self.queue.outbox, self.clock)
        reconciler = Reconciler(
            ACCOUNT,
            unknown,
            self.witnesses,
            self.witnesses,
            clock=self.clock,
            publish=lambda *_a, **_k: None,
            call_ended=self.ended.get,
        )
        self.clock.until = self.clock.wall + seconds
        self.clock.reached.clear()
        task = asyncio.create_task(reconciler.run())
        await self.clock.reached.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def state(self, row: OutboxRow) -> tuple[OutboxState, int]:
        found = await self.queue.outbox.get(row.id)
        return found.state, found.attempts


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_what_never_left_goes_again_at_once_and_costs_no_attempt(stage: Stage) -> None:
    row = await stage.unknown_send()
    stage.witnesses.started = None
    await stage.look(1)
    assert await stage.state(row) == (OutboxState.QUEUED, 0)
    await stage.queue.close()


async def test_what_left_stays_unknown_while_nobody_could_have_seen_it(stage: Stage) -> None:
    row = await stage.unknown_send()
    stage.witnesses.started, stage.witnesses.departed = None, {"3EB0AA"}
    await stage.look(3600)
    assert await stage.state(row) == (OutboxState.UNKNOWN, 1)
    await stage.queue.close()


async def test_what_left_and_the_partner_has_not_seen_goes_again(stage: Stage) -> None:
    row = await stage.unknown_send()
    stage.witnesses.started = stage.witnesses.online = stage.clock.wall + 1
    stage.witnesses.departed = {"3EB0AA"}
    await stage.look(4)
    assert (await stage.state(row))[0] is OutboxState.UNKNOWN
    await stage.look(6)
    assert await stage.state(row) == (OutboxState.QUEUED, 1)
    await stage.queue.close()


@pytest.mark.parametrize("early", [True, False])
async def test_a_receipt_for_the_id_under_which_it_left_settles_it(stage: Stage, *, early: bool) -> None:
    row = await stage.unknown_send()
    if early:
        await stage.receipt("3EB0AA")
    stage.witnesses.started, stage.witnesses.departed = None, {"3EB0AA"}
    await stage.look(2)
    if not early:
        assert await stage.state(row) == (OutboxState.UNKNOWN, 1)
        await stage.receipt("3EB0AA")
    assert (await stage.state(row))[0] is OutboxState.DELIVERED
    await stage.queue.close()


async def test_what_goes_again_goes_under_another_id(stage: Stage) -> None:
    row = await stage.unknown_send()
    stage.witnesses.started, stage.witnesses.departed = None, {"3EB0AA"}
    await stage.look(2)
    stage.witnesses.online = stage.clock.wall
    await stage.look(10)
    await stage.queue.outbox.mark_sending(row.id, Slot.BACKUP)
    await stage.queue.outbox.record(row.id, SendResult(SendOutcome.ACCEPTED, "3EB0BB", 1))
    await stage.receipt("3EB0BB")
    assert await stage.state(row) == (OutboxState.DELIVERED, 2)
    await stage.queue.close()


async def test_a_call_that_is_known_to_be_over_needs_no_other_host(stage: Stage) -> None:
    row = await stage.unknown_send()
    stage.witnesses.started = stage.clock.wall - 60
    stage.ended[row.id] = stage.clock.wall
    await stage.look(1)
    assert await stage.state(row) == (OutboxState.QUEUED, 0)
    assert stage.witnesses.recycled == []
    await stage.queue.close()


async def test_patience_begins_when_the_call_ended_not_when_it_became_unknown(stage: Stage) -> None:
    row = await stage.unknown_send()
    stage.witnesses.started = stage.witnesses.online = stage.clock.wall - 60
    stage.witnesses.departed = {"3EB0AA"}
    stage.ended[row.id] = stage.clock.wall + 3
    await stage.look(7)
    assert (await stage.state(row))[0] is OutboxState.UNKNOWN
    await stage.look(2)
    assert (await stage.state(row))[0] is OutboxState.QUEUED
    await stage.queue.close()


async def test_a_host_that_may_still_send_is_ended_first(stage: Stage) -> None:
    row = await stage.unknown_send()
    stage.witnesses.started, stage.witnesses.online = stage.clock.wall - 60, stage.clock.wall - 60
    await stage.look(3)
    assert stage.witnesses.recycled == []
    await stage.look(5)
    assert set(stage.witnesses.recycled) == {Slot.PRIMARY}
    assert (await stage.state(row))[0] is OutboxState.UNKNOWN
    await stage.queue.close()


async def test_an_echo_that_comes_meanwhile_wins(stage: Stage) -> None:
    row = await stage.unknown_send()
    stage.witnesses.departed = {"3EB0AA"}
    await stage.queue.outbox.record(row.id, SendResult(SendOutcome.ACCEPTED, "3EB0AA", 1))
    stage.witnesses.started, stage.witnesses.online = None, stage.clock.wall
    await stage.look(60)
    assert (await stage.state(row))[0] is OutboxState.SENT
    await stage.queue.close()


async def test_what_is_to_be_parked_waits_for_an_operator_and_says_so(stage: Stage) -> None:
    row = await stage.unknown_send(if_unknown=IfUnknown.PARK)
    stage.witnesses.started = None
    await stage.look(3600)
    found = await stage.queue.outbox.get(row.id)
    assert (found.state, found.updated_at) == (OutboxState.UNKNOWN, row.updated_at)
    assert found.reason.startswith("parked, send it again or give it up: it never left")
    again = await stage.queue.outbox.resend(row.id)
    assert (again.state, again.expires_at - stage.clock.wall) == (OutboxState.QUEUED, row.expires_at - row.created_at)
    await stage.queue.outbox.mark_sending(row.id, Slot.PRIMARY)
    await stage.queue.outbox.record(row.id, SendResult(SendOutcome.UNKNOWN))
    await stage.look(2)
    assert (await stage.queue.outbox.get(row.id)).reason.startswith("parked")
    assert (await stage.queue.outbox.give_up(row.id)).state is OutboxState.CANCELLED
    await stage.queue.close()


async def test_a_read_mark_is_simply_made_again(stage: Stage) -> None:
    row = await stage.unknown_send(MarkRead((Target("3EB0", str(CHAT)),)))
    await stage.look(0.5)
    assert (await stage.state(row))[0] is OutboxState.QUEUED
    assert stage.witnesses.recycled == []
    await stage.queue.close()


async def test_a_device_that_was_linked_later_is_no_witness(stage: Stage) -> None:
    """Both slots were unlinked with a send under way and linked anew: the new backup cannot have seen its echo."""
    row = await stage.unknown_send()
    stage.witnesses.started, stage.witnesses.departed = None, {"3EB0AB"}
    stage.clock.wall += 60.0
    stage.witnesses.online = stage.clock.now()
    stage.witnesses.linked = stage.clock.now()
    await stage.look(60)
    state = await stage.state(row)
    await stage.queue.close()
    assert state == (OutboxState.UNKNOWN, 1)


@pytest.mark.parametrize("how", ["emptied", "linked anew"])
async def test_a_key_store_that_was_emptied_since_proves_nothing(tmp_path: Path, how: str) -> None:
    """The library empties it at a logout: without this, what had been sent just before was sent again."""
    stage = Stage(tmp_path)
    row = await stage.unknown_send()
    stage.ended[row.id] = stage.clock.now()
    if how == "emptied":
        stage.witnesses.emptied = {Slot.PRIMARY}
    else:
        stage.witnesses.sender_linked = stage.clock.now() + 1
    await stage.look(60)
    assert (await stage.queue.outbox.get(row.id)).state is OutboxState.UNKNOWN
    stage.witnesses.online = stage.clock.now()
    await stage.look(10)
    assert (await stage.queue.outbox.get(row.id)).state is OutboxState.QUEUED
    await stage.queue.close()


async def test_a_message_that_only_a_receipt_proves_is_part_of_the_conversation(tmp_path: Path) -> None:
    """Its echo may have been lost with both devices: the store would never have had it."""
    stage = Stage(tmp_path)
    row = await stage.unknown_send()
    await stage.receipt("3EB0PROVEN")
    unknown = UnknownSends(stage.queue.database, stage.queue.outbox, stage.clock)
    await unknown.name(row, "3EB0PROVEN")
    assert (await stage.queue.outbox.get(row.id)).state is OutboxState.DELIVERED
    [pending] = await stage.queue.inbox.pending(10, lambda *_: True)
    assert (pending.message.message_id, pending.message.text, pending.message.from_me) == ("3EB0PROVEN", "hello", True)
    assert stage.queue.inbox.depth == 1
    await stage.queue.close()
