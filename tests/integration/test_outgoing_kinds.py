"""A conversation over the API alone: reply, reaction, revoke and read mark, seen on the contact's phone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as stage:
        await stage.link_everybody()
        yield stage


async def _sent(scene: Scene, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Wait until the server has it, and return its outbox row."""
    assert answer["online"] is True
    ends = time.monotonic() + 20
    while (row := await scene.tandem.outbox(answer["id"]))["sentAt"] is None:
        assert time.monotonic() < ends, row
        await asyncio.sleep(0.05)
    return row


async def test_a_conversation_with_everything_in_it(scene: Scene) -> None:
    actor = scene.actors[0]
    send = f"/api/whatsapp/send/{actor.account}/{actor.contact}"
    (theirs,) = await scene.emulator.write(actor.contact, actor.number, "are you open?")
    read = await scene.tandem.call(
        "POST", f"/api/whatsapp/messages/{actor.account}/{actor.contact}/read", {"messageIds": [theirs]}
    )
    marked = await _sent(scene, read)
    assert (marked["kind"], marked["messageId"], marked["refersTo"]) == ("read", None, [theirs])

    ends = time.monotonic() + 20
    while True:
        try:
            answer = await scene.tandem.call("POST", send, {"message": "until six", "replyTo": theirs})
            break
        except Exception:  # noqa: BLE001 - a 404 until the message has come in
            assert time.monotonic() < ends
            await asyncio.sleep(0.05)
    reply = await _sent(scene, answer)
    for emoji in ("👍", "🎉"):
        reaction = {"reaction": {"messageId": theirs, "emoji": emoji}}
        await _sent(scene, await scene.tandem.call("POST", send, reaction))
    mistake = await _sent(scene, await scene.tandem.call("POST", send, {"message": "until seven"}))
    await _sent(scene, await scene.tandem.call("POST", send, {"revoke": {"messageId": mistake["messageId"]}}))

    shown = await scene.emulator.shown_to(actor.contact)
    assert [(each["text"], each["replyTo"], each["revoked"], each["times"]) for each in shown] == [
        ("until six", theirs, False, 1),
        ("until seven", None, True, 1),
    ]
    assert shown[0]["id"] == reply["messageId"]
    ledger = await scene.emulator.call("GET", f"/control/ledger?number={actor.contact.removeprefix('+')}")
    by_id = {each["id"]: each for each in ledger["messages"]}
    assert by_id[theirs]["read"] is not None
    reactions = [each["text"] for each in ledger["messages"] if each["kind"] == "reaction"]
    assert reactions == ["👍", "🎉"]

    listed = await scene.tandem.call("GET", f"/api/whatsapp/outbox?account={actor.account}&limit=3")
    assert [each["kind"] for each in listed["messages"]] == ["revoke", "text", "reaction"]
    assert listed["next"]
