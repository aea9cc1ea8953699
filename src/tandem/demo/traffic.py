"""Messages in both directions, at a steady rate, whatever happens to the daemon meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import cycle, islice

import aiohttp

from tandem.demo.clients import DemoFailed
from tandem.demo.scene import Actor, Scene

OUTBOUND_SHARE = 0.25
_RETRY = 0.2


@dataclass(slots=True)
class Traffic:
    """What was started: message ids of inbound, texts (unique) of accepted outbound messages by their outbox id."""

    inbound: list[str] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)

    async def run(self, scene: Scene, duration: float, rate: float) -> None:
        """Keep both directions going for so many seconds."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._inbound(scene, duration, rate))
            tasks.create_task(self._outbound(scene, duration, rate * OUTBOUND_SHARE))

    async def _inbound(self, scene: Scene, duration: float, rate: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for number, actor in _paced(scene, duration, rate):
                tasks.create_task(self._receive(scene, actor, number))

    async def _receive(self, scene: Scene, actor: Actor, number: int) -> None:
        self.inbound += await scene.emulator.write(actor.contact, actor.number, f"in {number}")

    async def _outbound(self, scene: Scene, duration: float, rate: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for number, actor in _paced(scene, duration, rate):
                tasks.create_task(self._send(scene, actor, number))

    async def _send(self, scene: Scene, actor: Actor, number: int) -> None:
        """Hand one message to the daemon, again and again under one key while it does not answer."""
        text = f"out {number}"
        patience = asyncio.get_running_loop().time() + scene.options.duration + 60
        while asyncio.get_running_loop().time() < patience:
            try:
                identity = await scene.tandem.send(actor.account, actor.contact, text, f"demo-{number}")
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(_RETRY)
                continue
            self.accepted[identity] = text
            return
        raise DemoFailed("the daemon accepted no message for a minute")


async def _paced(scene: Scene, duration: float, rate: float) -> AsyncIterator[tuple[int, Actor]]:
    """Yield a running number and an account in turn, ``rate`` times a second."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number, actor in enumerate(islice(cycle(scene.actors), max(1, int(duration * rate)))):
        delay = start + number / rate - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        yield number, actor
