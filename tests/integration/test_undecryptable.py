"""Messages that a real library cannot decrypt: on one slot nobody's business, on both told of and kept."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

PATIENCE = 3.0


@pytest.fixture(scope="module")
def scene_environment() -> dict[str, str]:
    return {"TANDEM_QUEUE__DECRYPT_PATIENCE": str(PATIENCE)}


@pytest.fixture
async def scene(scene_environment: dict[str, str]) -> AsyncIterator[Scene]:
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None, scene_environment) as stage:
        await stage.link_everybody()
        yield stage


async def _until(condition: Callable[[], Awaitable[bool]], patience: float = 20.0) -> None:
    ends = time.monotonic() + patience
    while not await condition():
        assert time.monotonic() < ends, "waited in vain"
        await asyncio.sleep(0.1)


def _stored(scene: Scene) -> list[str]:
    with sqlite3.connect(f"file:{scene.data}/store.db?mode=ro", uri=True) as database:
        return [text for (text,) in database.execute("SELECT text FROM messages WHERE from_me = 0 ORDER BY seq")]


async def _missing(scene: Scene) -> int:
    answer = await scene.tandem.call("GET", "/api/events?type=message_undecryptable")
    return len(answer["events"])


async def _letters(scene: Scene) -> list[str]:
    return [each["reason"] for each in (await scene.tandem.call("GET", "/api/dead-letters"))["deadLetters"]]


async def test_what_one_slot_cannot_decrypt_comes_from_the_other_and_is_no_incident(scene: Scene) -> None:
    actor = scene.actors[0]
    for device in (1, 2):
        await scene.emulator.fault("junk_ciphertext", number=actor.number, device=device)
        await scene.emulator.write(actor.contact, actor.number, f"junk on {device}")

        async def stored(text: str = f"junk on {device}") -> bool:
            return text in _stored(scene)

        await _until(stored)
        await scene.emulator.clear_faults()
    await asyncio.sleep(2 * PATIENCE)
    assert await _missing(scene) == 0
    assert await _letters(scene) == []
    assert _stored(scene) == ["junk on 1", "junk on 2"]


async def test_what_no_slot_can_decrypt_is_told_once_and_kept(scene: Scene) -> None:
    actor = scene.actors[0]
    await scene.emulator.fault("junk_ciphertext", number=actor.number)
    await scene.emulator.write(actor.contact, actor.number, "junk on both")

    async def told() -> bool:
        return await _missing(scene) == 1

    await _until(told)
    assert await _letters(scene) == ["no slot could decrypt it within 3 s, and no readable copy came"]
    await scene.emulator.clear_faults()
    await scene.emulator.write(actor.contact, actor.number, "fine again")

    async def fine() -> bool:
        return "fine again" in _stored(scene)

    await _until(fine)
    await asyncio.sleep(PATIENCE)
    assert await _missing(scene) == 1
    assert "junk on both" not in "".join(scene.daemon.lines)
