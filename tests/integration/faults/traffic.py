"""Messages both ways between an account and a contact that nobody else uses, and what became of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp

from integration.faults.stage import PATIENCE, FaultStage
from tandem.demo.scene import Actor

IN_EVERY, OUT_EVERY = 0.15, 0.12
_POLL = 0.1
_DONE = frozenset({"sent", "delivered", "read"})


@dataclass(slots=True)
class Traffic:
    """``accepted``: texts by outbox id; ``fates``: the states that are final."""

    stage: FaultStage
    actor: Actor
    contact: str
    label: str
    received: list[str] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    fates: dict[str, str] = field(default_factory=dict)
    _enough: frozenset[str] = _DONE
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self) -> None:
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._send())]

    async def end(self) -> None:
        self._over.set()
        for task in self._tasks:
            await task

    async def settled(self, *, no_witness: bool = False) -> bool:
        """Wait until everything has arrived or failed; say whether it did. ``no_witness``: or stays unknown."""
        self._enough = _DONE | {"failed", "expired", *(("unknown",) if no_witness else ())}
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while await self._missing() or await self._undecided():
                    await asyncio.sleep(_POLL)
                return True
        return False

    async def judge(self, *, refused: bool) -> list[str]:
        """Say what was lost or doubled. ``refused``: the server refused sends: they are told as failed, not shown.

        A send that stayed unknown, since both devices were unlinked, may have been shown or not, but never twice.
        """
        stored = Counter(self.stage.stored(self.received))
        shown = await self._shown()
        missing = await self._missing()
        failed, unknown = self._told_as("failed"), self._told_as("unknown")
        wanted = set(self.accepted.values()) - failed - unknown
        findings = {
            "lost on their way in": missing,
            "doubled in the store": [found for found, times in stored.items() if times > 1],
            "lost on their way out": wanted - set(shown),
            "doubled at the contact": [text for text, times in shown.items() if times > 1],
            "shown although told as failed": failed & set(shown),
            "failed": set() if refused else failed,
        }
        complaints = [f"{len(found)} {what}: {sorted(found)[:3]}" for what, found in findings.items() if found]
        return complaints + (["nothing was refused"] if refused and not failed else [])

    async def _missing(self) -> set[str]:
        """What a linked device was given, or could have been given, and the store does not have."""
        entries = {str(entry["id"]): entry for entry in await self.stage.ledger(self.contact)}
        without = set(self.received) - set(self.stage.stored(self.received))
        linked = {slot["device"] for slot in (await self.stage.slots(self.actor.account)).values()}
        devices = {int(device.rpartition(":")[2].partition("@")[0]) for device in linked if device}
        return {
            message
            for message in without
            if any(copy["receipted"] or copy["device"] in devices for copy in entries[message]["deliveries"])
        }

    async def _undecided(self) -> bool:
        for outbox in self.accepted.keys() - self.fates.keys():
            fate = await self.stage.fate(outbox)
            if fate in self._enough:
                self.fates[outbox] = fate
        return self.accepted.keys() != self.fates.keys()

    def _told_as(self, fate: str) -> set[str]:
        return {text for outbox, text in self.accepted.items() if self.fates.get(outbox) == fate}

    async def _shown(self) -> Counter[str]:
        shown: Counter[str] = Counter()
        for message in await self.stage.emulator.shown_to(self.contact):
            shown[str(message["text"])] += int(message["times"])
        return shown

    async def _write(self) -> None:
        number = 0
        while not self._over.is_set():
            self.received += await self.stage.emulator.write(
                self.contact, self.actor.number, f"{self.label} in {number}"
            )
            number += 1
            await asyncio.sleep(IN_EVERY)

    async def _send(self) -> None:
        number = 0
        while not self._over.is_set():
            text = f"{self.label} out {number}"
            with suppress(aiohttp.ClientConnectionError):
                outbox = await self.stage.tandem.send(self.actor.account, self.contact, text, text.replace(" ", "-"))
                self.accepted[outbox] = text
                number += 1
            await asyncio.sleep(OUT_EVERY)
