"""The stage of the fault tests: real daemon, real hosts, the emulator, and an ear on the daemon's log."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import aiohttp
import pytest

from support.fault_rows import Act
from tandem.demo.clients import DemoFailed
from tandem.demo.options import DemoOptions
from tandem.demo.processes import LogLine, emulator
from tandem.demo.scene import Actor, Scene

SLOTS = ("primary", "backup")
PATIENCE = 45.0
_AGAIN = 0.5
_STATES = frozenset({"session_state", "session_online", "session_offline", "session_parked"})
_MOVES = frozenset({"switched_to_primary", "switched_to_backup"})


def chosen(request: pytest.FixtureRequest) -> set[str]:
    """The ids of the module's parametrized tests that are to be run: nothing else need be played."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    return {item.callspec.id for item in items if item.path == request.path and hasattr(item, "callspec")}


@dataclass(frozen=True, slots=True)
class Told:
    """A line of the daemon's log about one slot. ``at`` in Unix seconds."""

    at: float
    event: str
    account: str
    slot: str
    state: str
    message: str


class FaultStage(Scene):
    """A scene that keeps what the daemon tells, and can strike one slot."""

    def __init__(
        self, accounts: int, environment: Mapping[str, str] | None = None, emulator_port: int | None = None
    ) -> None:
        super().__init__(DemoOptions(accounts=accounts), lambda _sentence: None, environment)
        if emulator_port is not None:
            self._emulator_port = emulator_port
            self._emulator = emulator(emulator_port, self._folder / "emulator.state")
        self.told: list[Told] = []
        self._heard = asyncio.Event()

    @property
    def emulator_port(self) -> int:
        return self._emulator_port

    def _on_log(self, line: LogLine) -> None:
        super()._on_log(line)
        if line.get("event") in _STATES | _MOVES:
            at = datetime.fromisoformat(str(line["timestamp"])).timestamp()
            words = (str(line.get(name, "")) for name in ("event", "account", "slot", "state", "message"))
            self.told.append(Told(at, *words))
            self._heard.set()

    async def hear(self, found: Callable[[], bool], patience: float) -> bool:
        """Wait until what was told satisfies ``found``; say whether it did within ``patience`` seconds."""
        ends = time.monotonic() + patience
        while not found():
            self._heard.clear()
            try:
                async with asyncio.timeout(max(0.0, ends - time.monotonic())):
                    await self._heard.wait()
            except TimeoutError:
                return found()
        return True

    def states(self, account: str, slot: str, since: int) -> list[Told]:
        """The states a slot went through since that many lines were told."""
        return [
            told
            for told in self.told[since:]
            if (told.account, told.slot) == (account, slot) and told.event in _STATES and told.state
        ]

    def path(self, account: str, slot: str, since: int) -> str:
        """The same as ``Row.path`` writes it: catching up on what was missed counts as coming online."""
        states = [told.state for told in self.states(account, slot, since) if told.state != "syncing"]
        return " ".join(after for before, after in zip(["", *states], states, strict=False) if after != before)

    def moves(self, account: str, since: int = 0) -> list[Told]:
        return [told for told in self.told[since:] if told.account == account and told.event in _MOVES]

    async def slots(self, account: str) -> dict[str, Mapping[str, Any]]:
        accounts = await self.tandem.accounts()
        return {slot["slot"]: slot for each in accounts if each["id"] == account for slot in each["slots"]}

    async def active(self, account: str) -> str:
        """The slot that has the role; there must be exactly one."""
        (active,) = [name for name, slot in (await self.slots(account)).items() if slot["role"] == "active"]
        return active

    async def give_role(self, actor: Actor, slot: str) -> None:
        """Have the role moved, as an operator may, if it is not there."""
        if await self.active(actor.account) != slot:
            await self.tandem.call("POST", f"/api/whatsapp/account/{actor.account}/switch")

    async def whole(self, account: str, patience: float = PATIENCE) -> None:
        for slot in SLOTS:
            await self.tandem.wait_for_slot(account, slot, "online", patience)

    async def wish(self, actor: Actor, slot: str, wish: Mapping[str, object]) -> int:
        """Ask the emulator for a fault at one linked device; return its number."""
        device = (await self.slots(actor.account))[slot]["device"].rpartition(":")[2].partition("@")[0]
        where = {"number": actor.number, "device": int(device)}
        return int((await self.emulator.call("POST", "/control/faults", {**wish, **where}))["id"])

    async def lift(self, fault: int) -> None:
        await self.emulator.call("DELETE", f"/control/faults?id={fault}")

    async def hit(self, actor: Actor, slot: str, act: Act) -> None:
        """Kill or freeze a slot's host. The list of children may miss one while others come and go: look again."""
        sign = signal.SIGKILL if act is Act.KILL else signal.SIGSTOP
        for _ in range(100):
            for host in self.daemon.hosts():
                if (host.account, host.slot) == (actor.account, slot):
                    os.kill(host.pid, sign)
                    return
            await asyncio.sleep(0.01)
        raise DemoFailed(f"the {slot} has no host")

    async def link(self, actor: Actor, slot: str) -> None:
        """What an operator does: show the slot's QR, as soon as one may be asked for again, and scan it."""
        async with asyncio.timeout(PATIENCE):
            while not await self._asked(actor, slot):
                await asyncio.sleep(_AGAIN)
        await self.emulator.scan(actor.number, await self.tandem.qr(actor.account, slot))
        await self.tandem.wait_for_slot(actor.account, slot, "online", PATIENCE)

    async def _asked(self, actor: Actor, slot: str) -> bool:
        try:
            await self.tandem.pair(actor.account, slot)
        except aiohttp.ClientResponseError as error:
            if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise
            return False
        return True

    async def restart(self, actor: Actor, slot: str) -> None:
        await self.tandem.call("POST", f"/api/whatsapp/account/{actor.account}/restart", {"slot": slot})
        await self.tandem.wait_for_slot(actor.account, slot, "online", PATIENCE)

    def stored(self, ids: list[str]) -> list[str]:
        """Which of these messages the store has, as often as it has them, read behind the daemon's back."""
        with sqlite3.connect(f"file:{self.data}/store.db?mode=ro", uri=True) as database:
            marks = ",".join("?" * len(ids))
            query = f"SELECT message_id FROM messages WHERE from_me = 0 AND message_id IN ({marks})"  # noqa: S608
            return [found for (found,) in database.execute(query, ids)]

    async def ledger(self, number: str) -> list[Mapping[str, Any]]:
        """The emulator's entries of one contact."""
        answer = await self.emulator.call("GET", f"/control/ledger?number={number.removeprefix('+')}")
        return list(answer["messages"])

    async def fate(self, outbox: str) -> str:
        try:
            return str((await self.tandem.outbox(outbox))["status"])
        except aiohttp.ClientError:
            return ""
