"""Slots as they are found at boot: what was remembered of them, and what their key stores say."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tandem.clock import Clock
from tandem.errors import DataUnusable
from tandem.model.account import Account, SlotRecord
from tandem.model.ids import Jid, same_number
from tandem.model.states import SessionState, Slot
from tandem.policy import pairing as pairing_machine
from tandem.whatsapp.port import DeviceFactory


async def as_found(
    devices: DeviceFactory, clock: Clock, account: Account, slot: Slot, record: SlotRecord | None
) -> SlotRecord:
    """The slot as its key store has it; an unusable store is set aside, and the slot says so."""
    try:
        device = await asyncio.to_thread(devices.paired_device, account, slot)
    except DataUnusable as error:
        await asyncio.to_thread(devices.quarantine, account, slot, str(error))
        now = clock.now()
        return SlotRecord(account.id, slot, "", SessionState.LOGGED_OUT, f"{error}; link it again", now)
    if device and not same_number(account.number, Jid.parse(device).user):
        words = pairing_machine.WRONG_PHONE.words
        await asyncio.to_thread(devices.quarantine, account, slot, words, journal=True)
        return SlotRecord(account.id, slot, "", SessionState.LOGGED_OUT, words, clock.now())
    if record is None:
        return SlotRecord(account.id, slot, device, SessionState.STOPPED, "", clock.now())
    if device and device != record.device:  # linked anew, and killed before that was written down
        record = replace(record, linked_since=clock.now())
    if device and record.state is SessionState.LOGGED_OUT:  # the same
        return replace(record, device=device, state=SessionState.STOPPED, reason="")
    return replace(record, device=device)


def under_ban(record: SlotRecord, until: float, now: float) -> SlotRecord:
    """Return the slot as it is if its number is banned until then, though only its partner may have been told."""
    if not record.device or record.state.terminal or until <= now:
        return record
    return replace(record, state=SessionState.BANNED, reason="the number is banned by WhatsApp", until=until)
