"""The real library against the emulator: pairing, messages in both directions, redelivery, retries."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from integration.wa_emulator.conftest import PHONE, StartLibrary
from integration.wa_emulator.library import Library, text_of
from wa_emulator.ledger import Entry
from wa_emulator.pairing import ScanRefused
from wa_emulator.server import Emulator

CONTACT = "15550100101"
ANOTHER = "15550100102"


async def settled(emulator: Emulator) -> None:
    """Wait until no linked device has anything left to confirm."""
    async with asyncio.timeout(10):
        while any(device.queue for account in emulator.directory for device in account.devices.values()):
            await asyncio.sleep(0.02)


def entry(emulator: Emulator, message_id: str, sender: str = PHONE) -> Entry:
    found = emulator.ledger.find(sender, message_id)
    assert found is not None
    return found


async def test_pairs_by_qr_restarts_logs_in_and_connects(emulator: Emulator, start: StartLibrary) -> None:
    await emulator.add_phone(ANOTHER, "Bob")
    library = await start("new")
    await library.pair(lambda qr: emulator.scan(ANOTHER, qr))
    assert library.names()[:3] == ["qr", "login", "PairStatus"]
    assert library.named("PairStatus")[0]["ID"]["Device"] == 1
    assert emulator.clients.counters["logins"] == 1
    assert '<stream:error code="515"/>' in [line["stanza"] for line in emulator.transcript.last(200)]


async def test_pairs_by_code(emulator: Emulator, start: StartLibrary) -> None:
    await emulator.add_phone(ANOTHER, "Bob")
    library = await start("new")
    await library.wait(lambda event: event["kind"] == "qr")
    shown = await library.call("pair-phone", number=ANOTHER)
    assert shown["error"] == ""
    assert await emulator.type_code(ANOTHER, shown["code"]) == f"{ANOTHER}:1@s.whatsapp.net"
    await library.wait_for("Connected")
    await emulator.send(CONTACT, ANOTHER, "linked by code")
    assert text_of(await library.wait_for("Message")) == "linked by code"


async def test_a_wrong_code_is_refused_and_the_right_one_still_works(emulator: Emulator, start: StartLibrary) -> None:
    await emulator.add_phone(ANOTHER, "Bob")
    with pytest.raises(ScanRefused, match="no client shows a code"):
        await emulator.type_code(ANOTHER, "ABCD-EFGH")
    library = await start("new")
    await library.wait(lambda event: event["kind"] == "qr")
    shown = await library.call("pair-phone", number=ANOTHER)
    with pytest.raises(ScanRefused, match="not the code"):
        await emulator.type_code(ANOTHER, "1111-1111")
    assert emulator.directory.account(ANOTHER).devices == {}
    await emulator.type_code(ANOTHER, shown["code"].lower())
    await library.wait_for("Connected")


async def test_a_contacts_messages_arrive_decrypted_and_in_order(emulator: Emulator, device: Library) -> None:
    sent = [await emulator.send(CONTACT, PHONE, f"message {number}") for number in range(20)]
    await device.wait_for("Message", 20)
    assert device.texts() == [f"message {number}" for number in range(20)]
    await settled(emulator)
    for (message_id,) in sent:
        (delivery,) = entry(emulator, message_id, CONTACT).deliveries.values()
        assert delivery.sends == 1
        assert delivery.retries == 0
        assert delivery.sent is not None
        assert delivery.receipted is not None
        assert delivery.queued <= delivery.sent <= delivery.receipted


async def test_a_message_from_the_library_reaches_the_contact_and_its_receipt_comes_back(
    emulator: Emulator, device: Library
) -> None:
    answer = await device.call("send", to=CONTACT, text="hello out there")
    assert answer["error"] == ""
    receipt = await device.wait_for("Receipt")
    assert receipt["MessageIDs"] == [answer["id"]]
    (shown,) = emulator.ledger.shown(CONTACT)
    assert (shown.id, shown.text, shown.times_shown, shown.attempts) == (answer["id"], "hello out there", 1, 1)
    assert shown.accepted is not None
    assert shown.on_own_phone is not None


async def test_a_contact_that_replies_and_reads(emulator: Emulator, device: Library) -> None:
    await emulator.configure_contact(CONTACT, {"reads": True, "reply": "you said: {text}"})
    await device.call("send", to=CONTACT, text="ping")
    message = await device.wait_for("Message")
    assert text_of(message) == "you said: ping"
    await device.wait_for("Receipt", 2)
    assert [receipt["Type"] for receipt in device.named("Receipt")] == ["DELIVERED", "READ"]


async def test_a_number_that_is_not_on_whatsapp_cannot_be_written_to(emulator: Emulator, device: Library) -> None:
    await emulator.configure_contact(ANOTHER, {"on_whatsapp": False})
    answer = await device.call("send", to=ANOTHER, text="anybody?")
    assert "no LID found" in answer["error"]


async def test_two_linked_devices_both_get_everything(emulator: Emulator, device: Library, start: StartLibrary) -> None:
    # The first device has sent before the second exists, so it has the old device list and must be told.
    await device.call("send", to=CONTACT, text="before")
    second = await start("second")
    await second.pair(lambda qr: emulator.scan(PHONE, qr))
    await emulator.send(CONTACT, PHONE, "to both", count=10)
    await device.wait_for("Message", 10)
    await second.wait_for("Message", 10)

    sent = await device.call("send", to=CONTACT, text="from the first")
    echo = await second.wait_for("Message", 11)
    assert text_of(echo) == "from the first"
    assert echo["Info"]["MessageSource"]["IsFromMe"] is True
    assert echo["Info"]["MessageSource"]["Chat"]["User"] == emulator.directory.account(CONTACT).lid

    await second.call("send", to=ANOTHER, text="from the second")
    assert text_of(await device.wait_for("Message", 11)) == "from the second"
    await settled(emulator)
    assert list(entry(emulator, sent["id"]).deliveries) == [(PHONE, 2)]


async def test_what_is_typed_on_the_phone_reaches_the_contact_and_the_linked_devices(
    emulator: Emulator, device: Library
) -> None:
    await emulator.send(PHONE, CONTACT, "typed by hand")
    echo = await device.wait_for("Message")
    assert text_of(echo) == "typed by hand"
    assert echo["Info"]["MessageSource"]["IsFromMe"] is True
    assert [shown.text for shown in emulator.ledger.shown(CONTACT)] == ["typed by hand"]


async def test_phones_write_to_each_other(emulator: Emulator, device: Library, start: StartLibrary) -> None:
    await emulator.add_phone(ANOTHER, "Bob")
    other = await start("other")
    await other.pair(lambda qr: emulator.scan(ANOTHER, qr))
    answer = await device.call("send", to=ANOTHER, text="phone to phone")
    message = await other.wait_for("Message")
    assert text_of(message) == "phone to phone"
    assert message["Info"]["ID"] == answer["id"]
    await device.wait_for("Receipt", 2)  # Bob's phone, and his linked device
    assert await other.call("send", to=PHONE, text="and back")
    assert text_of(await device.wait_for("Message")) == "and back"


async def test_messages_of_the_time_offline_come_between_the_markers(
    emulator: Emulator, device: Library, start: StartLibrary
) -> None:
    await device.kill()
    await emulator.send(CONTACT, PHONE, "while you were out", count=5)
    again = await start()
    await again.wait_for("OfflineSyncCompleted")
    await again.wait_for("Message", 5)
    assert again.named("OfflineSyncPreview")[0]["Message"] == 5
    assert again.named("OfflineSyncCompleted")[0]["Count"] == 5
    await settled(emulator)


async def test_a_library_that_reconnects_gets_what_it_missed(emulator: Emulator, device: Library) -> None:
    emulator.clients.begin_fault({"kind": "drop"})
    await emulator.send(CONTACT, PHONE, "in the gap", count=3)
    await device.wait_for("Connected", 2)
    await device.wait_for("Message", 3)
    await settled(emulator)


async def test_a_message_that_does_not_decrypt_is_asked_for_again(emulator: Emulator, device: Library) -> None:
    await emulator.send(CONTACT, PHONE, "first")
    await device.wait_for("Message")
    emulator.clients.begin_fault({"kind": "junk_ciphertext", "count": 1})
    (message_id,) = await emulator.send(CONTACT, PHONE, "garbled on its way")
    await device.wait_for("UndecryptableMessage")
    assert text_of(await device.wait_for("Message", 2)) == "garbled on its way"
    await settled(emulator)
    (delivery,) = entry(emulator, message_id, CONTACT).deliveries.values()
    assert delivery.retries == 1
    assert delivery.receipted is not None


async def test_a_contact_that_lost_its_sessions_asks_the_library_again(emulator: Emulator, device: Library) -> None:
    await emulator.send(CONTACT, PHONE, "hello")
    await device.wait_for("Message")
    await device.call("send", to=CONTACT, text="while all is well")
    (linked,) = emulator.directory.account(PHONE).devices.values()
    emulator.directory.account(CONTACT).phone.forget(linked.address)
    answer = await device.call("send", to=CONTACT, text="into the void")
    async with asyncio.timeout(10):
        while entry(emulator, answer["id"]).text is None or not entry(emulator, answer["id"]).arrivals:
            await asyncio.sleep(0.02)
    assert [shown.text for shown in emulator.ledger.shown(CONTACT)] == ["while all is well", "into the void"]


async def test_both_sides_beginning_at_once_lose_nothing(emulator: Emulator, device: Library) -> None:
    mine = [device.call("send", to=CONTACT, text=f"out {number}") for number in range(5)]
    theirs = [emulator.send(CONTACT, PHONE, f"in {number}") for number in range(5)]
    await asyncio.gather(*mine, *theirs)
    await device.wait_for("Message", 5)
    async with asyncio.timeout(10):
        while len(emulator.ledger.shown(CONTACT)) < 5:
            await asyncio.sleep(0.02)
    assert sorted(device.texts()) == [f"in {number}" for number in range(5)]
    assert sorted(str(shown.text) for shown in emulator.ledger.shown(CONTACT)) == [f"out {n}" for n in range(5)]


async def test_a_paired_session_survives_a_restart_of_the_emulator(tmp_path: Path) -> None:
    state, port = tmp_path / "state.db", 0
    async with Emulator(port, state) as first:
        await first.add_phone(PHONE, "Alice")
        port, root_key = first.port, first.root_key
        async with Library(tmp_path / "device.db", port, root_key) as library:
            await library.pair(lambda qr: first.scan(PHONE, qr))
            await first.send(CONTACT, PHONE, "before the restart", count=3)
            await library.call("send", to=CONTACT, text="out before")
            await library.wait_for("Message", 3)
            await settled(first)  # else a message would come again whose one-time prekey is used up
        await first.send(CONTACT, PHONE, "over the restart")

    async with Emulator(port, state) as second:
        assert second.root_key == root_key
        assert [shown.text for shown in second.ledger.shown(CONTACT)] == ["out before"]
        async with Library(tmp_path / "device.db", port, root_key) as library:
            await library.wait_for("Message")
            await second.send(CONTACT, PHONE, "after the restart")
            await library.wait_for("Message", 2)
            assert library.texts() == ["over the restart", "after the restart"]
            assert (await library.call("send", to=CONTACT, text="out after"))["error"] == ""
            await settled(second)
            assert "UndecryptableMessage" not in library.names()
        assert [shown.text for shown in second.ledger.shown(CONTACT)] == ["out before", "out after"]


@pytest.mark.parametrize("device_kind", ["phone", "linked"])
async def test_a_removed_device_is_logged_out_and_must_pair_again(
    emulator: Emulator, device: Library, device_kind: str
) -> None:
    if device_kind == "phone":
        emulator.clients.unlink(emulator.directory.account(PHONE).devices[1])
    else:
        await device.call("logout")
    await (device.wait_for("LoggedOut") if device_kind == "phone" else asyncio.sleep(0))
    async with asyncio.timeout(5):
        while emulator.directory.account(PHONE).devices:
            await asyncio.sleep(0.02)


async def test_a_device_that_runs_out_of_prekeys_uploads_more(emulator: Emulator, device: Library) -> None:
    (linked,) = emulator.directory.account(PHONE).devices.values()
    while len(linked.prekeys) > 5:
        linked.take_bundle()
    for number in range(7):
        await emulator.send(f"4477009001{number:02}", PHONE, "a stranger")
    await device.wait_for("Message", 7)
    async with asyncio.timeout(5):
        while len(linked.prekeys) < 20:
            await asyncio.sleep(0.02)
