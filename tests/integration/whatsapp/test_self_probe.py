"""The self-probe's message with the real library: sent to the own number, its echo reaches the other slot."""

from __future__ import annotations

import asyncio

from integration.whatsapp.host_stage import CONTACT, NUMBER, Stage
from tandem.model.message import DecodedMessage, RawEvent
from tandem.model.outbox import SendOutcome
from tandem.model.self_probe import is_probe, probe_of
from tandem.model.states import Slot
from tandem.whatsapp.decode import decode


async def test_the_echo_of_a_self_probe_reaches_the_other_slot_either_way_round(stage: Stage) -> None:
    sessions = {slot: await stage.online(slot) for slot in Slot}
    for slot in Slot:
        probe = probe_of(NUMBER, f"{slot.number:026d}", at=1_700_000_000.0)
        result = await sessions[slot].device.send(probe.chat, probe.content, probe.secret, 10.0)
        assert result.outcome is SendOutcome.ACCEPTED, result

        def echo(slot: Slot = slot, secret: bytes = probe.secret) -> DecodedMessage | None:
            news = sessions[slot.partner].news
            decoded = [decode(item) for item in news if isinstance(item, RawEvent)]
            return next((one for one in decoded if isinstance(one, DecodedMessage) and one.secret == secret), None)

        heard = await sessions[slot.partner].until(echo)
        assert (heard.from_me, heard.text, is_probe(heard.secret)) == (True, "", True)
    await asyncio.sleep(0.2)
    assert not stage.emulator.ledger.shown(CONTACT.removeprefix("+"))
