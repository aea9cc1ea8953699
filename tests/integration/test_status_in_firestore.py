"""Statuses on their way into Firestore while the daemon is killed: each message ends where its receipts say."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene
from tandem.model.ids import AccountId
from tandem.model.message import Standing
from tandem.model.states import MessageStatus

pytestmark = pytest.mark.timeout(240)
PATIENCE = 60.0


async def test_kills_between_receipt_and_firestore_lose_no_status() -> None:
    texts: list[str] = []
    async with Scene(DemoOptions(accounts=1, store="firestore"), lambda _sentence: None) as scene:
        await scene.link_everybody()
        actor = scene.actors[0]
        await scene.emulator.call("POST", "/control/contacts", {"number": actor.contact, "reads": True})
        for kill in range(5):
            for number in range(4):
                texts.append(f"out {kill} {number}")
                await scene.tandem.send(actor.account, actor.contact, texts[-1], f"key-{kill}-{number}")
            await asyncio.sleep(0.02 * kill**2)
            await scene.daemon.child.end(signal.SIGKILL)
            await scene.restart_daemon()
            await scene.everybody_online()
        found = await _settled(scene, AccountId(actor.account), texts)
    assert sorted(found) == sorted(texts)
    for standing in found.values():
        assert standing.status is MessageStatus.READ
        assert standing.delivered_at is not None
        assert standing.read_at is not None
        assert standing.delivered_at <= standing.read_at


async def _settled(scene: Scene, account: AccountId, texts: list[str]) -> dict[str, Standing]:
    """Own messages in Firestore, each with its standing, once all are read or patience is over."""
    store = scene.open_store()
    await store.open()
    try:
        ends = time.monotonic() + PATIENCE
        while True:
            chats = await store.chats(account, 10)
            stored = [each for chat in chats for each in await store.messages(account, chat.id, 1000)]
            found = {each.message.text: each.message.standing for each in stored}
            assert len(found) == len(stored), "a message stands there twice"
            done = len(found) == len(texts) and all(each.status is MessageStatus.READ for each in found.values())
            if done or time.monotonic() > ends:
                return found
            await asyncio.sleep(0.5)
    finally:
        await store.close()
