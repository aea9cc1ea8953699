"""What the tests of death share: one account, one message at a time, killed at a named point of its way."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from support.doomed_daemon import DoomedScene, order
from tandem.demo.scene import Actor

PROVEN = ("sent", "delivered", "read")
AFTER_NETWORK = {"after network, server has it": True, "after network, server lost it": False}
"""Points at which the emulator has seen the message and withholds its ack, and whether it delivers it."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one message: how often its contact sees it, the row's state, after how many seconds."""

    point: str
    victim: str
    times: int
    state: str
    attempts: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.point:<30} {self.victim:<7} shown {self.times}  {self.state:<10} "
            f"attempts {self.attempts}  {self.seconds:5.1f} s"
        )


async def link_one(scene: DoomedScene) -> None:
    """Add the account and link its primary only."""
    [actor] = scene.actors
    await scene.emulator.add_phone(actor.number, actor.name)
    account = await scene.tandem.add_account(actor.name, actor.number)
    await scene.emulator.scan(actor.number, await scene.tandem.qr(account, "primary"))
    await scene.tandem.wait_for_slot(account, "primary", "online", 20)
    scene.actors = [replace(actor, account=account)]


class Stage:
    """Sends messages of one account to one contact, and kills on the way."""

    def __init__(self, scene: DoomedScene, order_file: Path, paired: tuple[str, ...] = ("primary", "backup")) -> None:
        self._paired = paired
        self.scene = scene
        self.sent: list[str] = []
        self._order_file = order_file
        self._numbers = count(1)

    @property
    def actor(self) -> Actor:
        return self.scene.actors[0]

    async def die(self, point: str, victim: str, *, wait: Callable[[Stage, str], Coroutine[Any, Any, Any]]) -> Fate:
        """Send one message, kill at the point, start everything again, and send one more behind it.

        ``wait`` is awaited with the row's id, for what the test calls settled. What is behind it arrives in any case,
        although one whose fate stays unknown holds it up for 30 s.
        """
        text = f"{next(self._numbers)} {point} {victim}".replace(" ", "-")
        for slot in self._paired:
            await self.scene.tandem.wait_for_slot(self.actor.account, slot, "online", 30)
        pids = self._pids(victim)
        began = time.monotonic()
        if point in AFTER_NETWORK:
            wish = {"kind": "no_send_ack", "number": self.actor.number, "deliver": AFTER_NETWORK[point], "count": 1}
            fault = (await self.scene.emulator.call("POST", "/control/faults", wish))["id"]
            accepting = asyncio.create_task(self._accept(text))
            await self.until(lambda: self._withheld(fault), "the server sees it")
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        else:
            order(self._order_file, point, pids)
            accepting = asyncio.create_task(self._accept(text))
            await self.until(self._died, f"{point} is reached")
        if victim != "host":
            await self.scene.daemon.child.end(signal.SIGKILL)
            await self.scene.restart_daemon()
        row = await accepting
        behind = await self._accept(f"{text}-behind")
        self.sent += [text, f"{text}-behind"]
        await wait(self, row)
        await self.proven(behind)
        seconds = time.monotonic() - began
        found = await self.scene.tandem.outbox(row)
        return Fate(point, victim, (await self.shown())[text], found["status"], found["attempts"], seconds)

    async def _died(self) -> bool:
        return not self._order_file.exists()

    async def shown(self) -> Counter[str]:
        shown: Counter[str] = Counter()
        for message in await self.scene.emulator.shown_to(self.actor.contact):
            shown[message["text"]] += message["times"]
        return shown

    async def in_order(self) -> list[str]:
        """The texts in the order in which the contact's phone got them."""
        return [message["text"] for message in await self.scene.emulator.shown_to(self.actor.contact)]

    async def state(self, row: str) -> str:
        return str((await self.scene.tandem.outbox(row))["status"])

    async def proven(self, row: str) -> None:
        """Wait until the server provably has it."""
        await self.until(lambda: self._is(row, PROVEN), "the message's fate is known")

    async def at_rest(self, row: str) -> None:
        """Wait until the message's fate is known, or has stayed unknown for as long as it takes to find out."""
        with suppress(AssertionError):
            await self.until(lambda: self._is(row, PROVEN), "the message's fate is known", patience=8)
        assert await self.state(row) in {*PROVEN, "unknown"}

    async def _is(self, row: str, states: tuple[str, ...]) -> bool:
        with suppress(aiohttp.ClientError, TimeoutError):
            return await self.state(row) in states
        return False

    async def _withheld(self, fault: int) -> bool:
        faults = (await self.scene.emulator.call("GET", "/control/faults"))["faults"]
        return any(each["id"] == fault and each["acted"] for each in faults)

    async def _accept(self, text: str) -> str:
        """Hand a message in under one key, again and again while the daemon does not answer."""
        patience = time.monotonic() + 60
        while True:
            try:
                return await self.scene.tandem.send(self.actor.account, self.actor.contact, text, text)
            except (aiohttp.ClientError, TimeoutError):
                assert time.monotonic() < patience, "the daemon accepted nothing for a minute"
                await asyncio.sleep(0.1)

    def _pids(self, victim: str) -> list[int]:
        active = self.scene.log.active.get(self.actor.account, "primary")
        host = [host.pid for host in self.scene.daemon.hosts() if host.slot == active]
        assert len(host) == 1, "the active host runs"
        own = self.scene.daemon.child.pid
        return {"host": host, "daemon": [own], "both": [*host, own]}[victim]

    async def until(self, condition: Callable[[], Coroutine[Any, Any, bool]], what: str, patience: float = 60) -> None:
        ends = time.monotonic() + patience
        while not await condition():
            assert time.monotonic() < ends, f"waited in vain: {what}"
            await asyncio.sleep(0.02)
