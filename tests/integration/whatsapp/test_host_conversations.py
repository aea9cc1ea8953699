from __future__ import annotations

import asyncio
import os
import secrets
import time
from pathlib import Path

from integration.whatsapp.host_stage import ACCOUNT, CONTACT, NUMBER, Session, Stage, memory
from tandem.model import signals
from tandem.model.ids import Jid, chat_of_number
from tandem.model.ids import Number as PhoneNumber
from tandem.model.outbox import MarkRead, SendOutcome, SendResult, Target, Text
from tandem.model.states import Slot
from wa_emulator.server import Emulator

CHAT = chat_of_number(PhoneNumber(CONTACT))


async def both(stage: Stage) -> tuple[Session, Session]:
    primary, backup = await asyncio.gather(stage.online(Slot.PRIMARY), stage.online(Slot.BACKUP))
    return primary, backup


async def test_both_slots_are_linked_by_qr_each_in_its_own_process(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        await emulator.add_phone(NUMBER, "Ann")
        stage = Stage(emulator, tmp_path)
        sessions = [await stage.pair(slot) for slot in Slot]
        assert len({session.device.pid for session in sessions}) == 2
        devices = [stage.factory.paired_device(ACCOUNT, slot) for slot in Slot]
        assert devices == ["12025550123:1@s.whatsapp.net", "12025550123:2@s.whatsapp.net"]
        shown = next(item for item in stage.sessions[0].news if isinstance(item, signals.QrShown))
        assert shown.expires_in == 60.0
        facts = sessions[0].device.facts
        assert facts.library == "0.5.2"
        assert facts.keep_alive == (10.0, 20.0, 30.0, 180.0)
        _assert_private(tmp_path)
        _assert_discreet(stage, shown.text)
        await stage.close()


def _assert_private(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def _assert_discreet(stage: Stage, qr: str) -> None:
    assert stage.lines
    for _, _, text in stage.lines:
        assert "2025550123" not in text
        assert not any(part in text for part in qr.split("#")[1].split(","))


async def test_a_message_reaches_both_slots_and_their_journals(stage: Stage) -> None:
    sessions = await both(stage)
    (message_id,) = await stage.emulator.send(CONTACT, NUMBER, "good morning")
    for session in sessions:
        event, message = await session.message("good morning")
        assert message.message_id == message_id
        assert message.sender_alt == Jid(CONTACT.removeprefix("+"), "s.whatsapp.net")
        assert (message.kind, message.from_me) == ("text", False)
        assert [left.payload for left in stage.factory.leftover(ACCOUNT, session.slot)] == [event.payload]
        session.device.acknowledge(event.sequence)
        await _until_journal_is_empty(stage, session.slot)


async def _until_journal_is_empty(stage: Stage, slot: Slot) -> None:
    async with asyncio.timeout(5):
        while stage.factory.leftover(ACCOUNT, slot):
            await asyncio.sleep(0.01)


async def test_a_text_is_sent_and_the_other_slot_hears_its_echo(stage: Stage) -> None:
    primary, backup = await both(stage)
    secret = secrets.token_bytes(32)
    result = await primary.device.send(CHAT, Text("how are you?"), secret, 10.0)
    assert result.outcome is SendOutcome.ACCEPTED
    assert result.timestamp > 1_700_000_000
    _, echo = await backup.message("how are you?")
    assert (echo.message_id, echo.secret, echo.from_me) == (result.message_id, secret, True)
    assert echo.recipient_alt == Jid(CONTACT.removeprefix("+"), "s.whatsapp.net")
    shown = [entry for entry in stage.emulator.ledger.shown(CONTACT.removeprefix("+")) if entry.text == "how are you?"]
    assert [(entry.id, entry.times_shown) for entry in shown] == [(result.message_id, 1)]
    receipt = await primary.until(lambda: next(iter(primary.receipts()), None))
    assert receipt.message_ids == (result.message_id,)
    assert receipt.kind == "delivered"
    assert backup.receipts() == []


async def test_what_cannot_be_sent_is_told_apart(stage: Stage) -> None:
    primary = await stage.online(Slot.PRIMARY)
    await stage.fault(kind="send_nack", code=463)
    refused = await primary.device.send(CHAT, Text("x"), secrets.token_bytes(32), 10.0)
    assert refused.outcome is SendOutcome.REJECTED
    assert "463" in refused.error
    stage.emulator.faults.clear()
    await stage.fault(kind="no_send_ack")
    unanswered = await primary.device.send(CHAT, Text("x"), secrets.token_bytes(32), 0.3)
    assert unanswered.outcome is SendOutcome.UNKNOWN


async def test_the_other_calls(stage: Stage) -> None:
    primary = await stage.online(Slot.PRIMARY)
    assert 0 < await primary.device.probe(5.0) < 1000
    (message_id,) = await stage.emulator.send(CONTACT, NUMBER, "read me")
    _, message = await primary.message("read me")
    content = MarkRead((Target(message_id, str(message.sender)),))
    marked = await primary.device.send(CHAT, content, secrets.token_bytes(32), 5.0)
    assert marked == SendResult(SendOutcome.ACCEPTED)


async def test_the_librarys_own_ping_is_timed(stage: Stage) -> None:
    stage.timings = (0.5, 0.2, 0.3, 2.0)
    primary = await stage.online(Slot.PRIMARY)
    assert primary.device.facts.keep_alive == stage.timings
    timed = await primary.signal(signals.PingTimed)
    assert 0 < timed.milliseconds < 500
    await stage.fault(kind="no_pings")
    assert (await primary.signal(signals.KeepAliveTimeout)).errors >= 1
    stage.emulator.faults.clear()
    await primary.signal(signals.KeepAliveRestored)


async def test_a_slot_is_linked_by_a_code_typed_on_the_phone(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        await emulator.add_phone(NUMBER, "Ann")
        stage = Stage(emulator, tmp_path)
        session = await stage.begin(Slot.PRIMARY, pairing=True)
        code = await session.device.pair_by_code(NUMBER, 10.0)
        jid = await emulator.type_code(NUMBER, code)
        assert (await session.signal(signals.PairSucceeded)).device == jid
        await session.signal(signals.Connected)
        assert stage.factory.paired_device(ACCOUNT, Slot.PRIMARY) == jid
        assert not any(code in text or code.replace("-", "") in text for _, _, text in stage.lines)
        await stage.close()


async def test_what_a_host_weighs_and_how_fast_it_is_online(stage: Stage) -> None:
    times = []
    for _ in range(3):
        began = time.monotonic()
        session = await stage.begin(Slot.PRIMARY)
        await session.signal(signals.Connected)
        times.append(time.monotonic() - began)
        await session.device.stop()
    primary, backup = await both(stage)
    await asyncio.sleep(1)
    weights = [memory(session.device.pid) for session in (primary, backup)]
    print(f"spawn to Connected: {[round(seconds, 3) for seconds in times]} s; a pair of hosts, in MB: {weights}")
    assert min(times) < 2
    assert all(weight["Private_Dirty"] < 30 for weight in weights)


async def test_a_host_inherits_no_environment(stage: Stage) -> None:
    os.environ["TANDEM_TEST_SECRET"] = "secret"
    try:
        primary = await stage.online(Slot.PRIMARY)
    finally:
        del os.environ["TANDEM_TEST_SECRET"]
    environment = Path(f"/proc/{primary.device.pid}/environ").read_text()
    assert "SECRET" not in environment
    assert "NEONIZE_BOT_TAG=off" in environment
