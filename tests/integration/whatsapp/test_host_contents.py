"""What can be sent, through the real library: what leaves the proof that settles a send, and what the contact sees.

For every kind the row's secret stands in the sending device's key store when the server gets the message, and travels
in the echo to the other device, under one message id: the same proof as for a text.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

import pytest

from integration.whatsapp.host_stage import CONTACT, NUMBER, Session, Stage
from tandem.model.ids import Number, chat_of_number
from tandem.model.message import DecodedMessage
from tandem.model.outbox import Content, MarkRead, Reaction, Reply, Revoke, SendOutcome, Target, Text
from tandem.model.states import Slot
from tandem.whatsapp import keystore

CHAT = chat_of_number(Number(CONTACT))
THEIRS = CONTACT.removeprefix("+")
OURS = NUMBER.removeprefix("+")


@dataclass
class Talk:
    """Both slots online, a message from the contact and one from us."""

    stage: Stage
    primary: Session
    backup: Session
    received: Target
    sent: Target

    async def send(self, content: Content) -> tuple[str, bytes]:
        secret = secrets.token_bytes(32)
        result = await self.primary.device.send(CHAT, content, secret, 10.0)
        assert (result.outcome, result.error) == (SendOutcome.ACCEPTED, "")
        return result.message_id, secret

    def echo(self, secret: bytes) -> DecodedMessage | None:
        return next((each for _, each in self.backup.messages() if each.secret == secret), None)

    def read_at(self) -> float | None:
        entry = self.stage.emulator.ledger.find(THEIRS, self.received.message_id)
        assert entry is not None
        return entry.read


@pytest.fixture
async def talk(stage: Stage) -> Talk:
    primary, backup = await asyncio.gather(stage.online(Slot.PRIMARY), stage.online(Slot.BACKUP))
    (theirs,) = await stage.emulator.send(CONTACT, NUMBER, "a question")
    await primary.message("a question")
    ours = await primary.device.send(CHAT, Text("an answer"), secrets.token_bytes(32), 10.0)
    received = Target(theirs, str(CHAT), text="a question")
    return Talk(stage, primary, backup, received, Target(ours.message_id, f"{OURS}@s.whatsapp.net", from_me=True))


def content(kind: str, talk: Talk) -> Content:
    choices: dict[str, Content] = {
        "text": Text("plain"),
        "reply": Reply("because", talk.received),
        "reply to own": Reply("moreover", talk.sent),
        "reaction": Reaction("👍", talk.received, 1_700_000_000_000),
        "reaction to own": Reaction("👍", talk.sent, 1_700_000_000_000),
        "reaction taken back": Reaction("", talk.received, 1_700_000_000_000),
        "revoke": Revoke(talk.sent.message_id),
    }
    return choices[kind]


KINDS = ["text", "reply", "reply to own", "reaction", "reaction to own", "reaction taken back", "revoke"]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_leaves_the_same_proof(talk: Talk, kind: str) -> None:
    message_id, secret = await talk.send(content(kind, talk))
    assert keystore.departures(talk.stage.file(Slot.PRIMARY, ".db"), secret) == {message_id}
    echo = await talk.backup.until(lambda: talk.echo(secret))
    assert (echo.message_id, echo.from_me) == (message_id, True)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_proof_stands_before_the_server_has_anything(talk: Talk, kind: str) -> None:
    await talk.stage.fault(kind="no_send_ack", deliver=False)
    secret = secrets.token_bytes(32)
    result = await talk.primary.device.send(CHAT, content(kind, talk), secret, 0.5)
    assert result.outcome is SendOutcome.UNKNOWN
    assert len(keystore.departures(talk.stage.file(Slot.PRIMARY, ".db"), secret)) == 1


async def test_the_contact_sees_reply_reaction_and_revoke(talk: Talk) -> None:
    ledger = talk.stage.emulator.ledger
    reply, _ = await talk.send(Reply("because", talk.received))
    entry = ledger.find(OURS, reply)
    assert entry is not None
    assert (entry.text, entry.about, entry.quoted) == ("because", talk.received.message_id, "a question")
    for emoji, shown in (("👍", {OURS: "👍"}), ("🎉", {OURS: "🎉"}), ("", {})):
        await talk.send(Reaction(emoji, talk.received, 1_700_000_000_000))
        assert ledger.reactions(THEIRS, talk.received.message_id) == shown
    ours = ledger.find(OURS, talk.sent.message_id)
    assert ours is not None
    assert not ledger.is_revoked(THEIRS, ours)
    await talk.send(Revoke(talk.sent.message_id))
    assert ledger.is_revoked(THEIRS, ours)
    assert [each.text for each in ledger.shown(THEIRS)] == ["an answer", "because"]


async def test_a_read_mark_reaches_the_writer_and_may_be_repeated(talk: Talk) -> None:
    assert talk.read_at() is None
    message_id, secret = await talk.send(MarkRead((talk.received,)))
    assert message_id == ""
    assert keystore.departures(talk.stage.file(Slot.PRIMARY, ".db"), secret) == set()
    first = talk.read_at()
    assert first is not None
    await talk.send(MarkRead((talk.received,)))
    assert talk.read_at() == first
