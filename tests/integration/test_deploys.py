"""Deploys on one data directory, under traffic both ways: whatever ends the old daemon, nothing is lost or doubled.

Real processes; judged as the demo is, from the emulator's ledger against the store and the contacts' phones.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

import aiohttp
import pytest

from tandem.demo.clients import Tandem
from tandem.demo.options import DemoOptions
from tandem.demo.processes import DaemonProcess, LogLine, free_port
from tandem.demo.scene import Scene
from tandem.demo.verdict import judge

pytestmark = pytest.mark.timeout(180)
IN_RATE, OUT_RATE = 40.0, 12.0
BURST = 80
PATIENCE = 60.0
WAITING = {"TANDEM_WAIT_FOR_DIRECTORY": "60"}


async def until(condition: Callable[[], Awaitable[bool]], patience: float, what: str) -> None:
    ends = time.monotonic() + patience
    while not await condition():
        assert time.monotonic() < ends, f"not within {patience:g} s: {what}"
        await asyncio.sleep(0.02)


@dataclass
class Daemon:
    """A daemon on the scene's data directory, with a port and a log of its own."""

    scene: Scene
    tandem: Tandem
    process: DaemonProcess
    lines: list[LogLine]

    def events(self, kind: str) -> list[LogLine]:
        return [line for line in self.lines if line.get("event") == kind]

    async def told(self, kind: str, count: int = 1, patience: float = 20.0) -> None:
        async def heard() -> bool:
            return len(self.events(kind)) >= count

        await until(heard, patience, f"{count} of {kind}")


@dataclass
class Deploys:
    """The daemons that have been on the directory, newest last, and what was said meanwhile."""

    scene: Scene
    stack: AsyncExitStack
    daemons: list[Daemon] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    over: bool = False

    async def start(self, environment: Mapping[str, str]) -> Daemon:
        """Start another daemon on the directory; return at once."""
        port, lines = free_port(), list[LogLine]()
        process = DaemonProcess(port, self.scene._emulator_port, self.scene.data, lines.append, environment)
        await process.start()
        tandem = await self.stack.enter_async_context(Tandem(port))
        self.stack.push_async_callback(process.child.end, signal.SIGKILL)
        self.daemons.append(Daemon(self.scene, tandem, process, lines))
        return self.daemons[-1]

    async def up(self, environment: Mapping[str, str]) -> Daemon:
        daemon = await self.start(environment)
        await daemon.tandem.wait_until_up("/readyz", 20, "the daemon")
        await daemon.tandem.wait_for("both slots online", "online", 30)
        return daemon

    async def replace(self, sign: signal.Signals, environment: Mapping[str, str]) -> tuple[Daemon, float]:
        """Start the next daemon, end the last; return when the next has both slots online, and after how long."""
        old, new = self.daemons[-1], await self.start({**WAITING, **environment})
        await new.told("directory_taken")
        await new.tandem.wait_until_up("/readyz", 5, "the waiting daemon")
        await self._burst(old)
        began = time.monotonic()
        ending = asyncio.create_task(old.process.child.end(sign))
        await new.told("session_online", 2)
        took = time.monotonic() - began
        assert await ending == (0 if sign is signal.SIGTERM else -sign)
        return new, took

    async def _burst(self, daemon: Daemon) -> None:
        """Have much under way in both directions when the daemon is ended."""
        actor, number = self.scene.actors[0], len(self.daemons)
        order = {"from": actor.contact, "to": actor.number, "text": f"burst {number}", "count": BURST}
        self.received += (await self.scene.emulator.call("POST", "/control/messages", order))["ids"]
        for index in range(BURST // 4):
            text = f"out burst {number} {index}"
            self.accepted[await daemon.tandem.send(actor.account, actor.contact, text, text.replace(" ", "-"))] = text

    def count(self, kind: str) -> int:
        return sum(len(daemon.events(kind)) for daemon in self.daemons)

    async def write(self) -> None:
        actor = self.scene.actors[0]
        while not self.over:
            text = f"in {len(self.received)}"
            self.received += await self.scene.emulator.write(actor.contact, actor.number, text)
            await asyncio.sleep(1 / IN_RATE)

    async def send(self) -> None:
        """Hand each message to whichever daemon takes it, under one key."""
        actor, number = self.scene.actors[0], 0
        while not self.over:
            text, key = f"out {number}", f"key-{number}"
            for turn in range(500):
                daemon = self.daemons[-1 - turn % len(self.daemons)]
                try:
                    self.accepted[await daemon.tandem.send(actor.account, actor.contact, text, key)] = text
                    break
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(0.02)
            number += 1
            await asyncio.sleep(1 / OUT_RATE)

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.write()), asyncio.create_task(self.send())]
        try:
            await asyncio.sleep(1.5)
            yield
            await asyncio.sleep(1.5)
        finally:
            self.over = True
            await asyncio.gather(*tasks)

    async def verdict(self) -> str:
        """Wait until everything has come to rest; nothing may be lost or doubled."""
        actor = self.scene.actors[0]

        async def at_rest() -> bool:
            shown = {each["text"] for each in await self.scene.emulator.shown_to(actor.contact)}
            return set(self.received) <= set(self._stored()) and set(self.accepted.values()) <= shown

        try:
            await until(at_rest, PATIENCE, "everything has arrived")
        finally:
            shown: list[str] = []
            for each in await self.scene.emulator.shown_to(actor.contact):
                shown += [each["text"]] * each["times"]
            inbound, outbound = judge(self.received, self._stored()), judge(self.accepted.values(), shown)
            print(f"in {inbound}, out {outbound}")
        assert (inbound.lost, inbound.duplicated, outbound.lost, outbound.duplicated) == (0, 0, 0, 0)
        assert (inbound.started, outbound.started) == (len(self.received), len(self.accepted))
        assert inbound.started > 100
        late = sum(int(str(line["count"])) for daemon in self.daemons for line in daemon.events("queue_restored"))
        return (
            f"{inbound.started} in and {outbound.started} out, none lost, none doubled; {late} of the former were left "
            f"for the next daemon to write, of {self.count('message_send_unknown')} of the latter it was not known"
        )

    def _stored(self) -> list[str]:
        with sqlite3.connect(f"file:{self.scene.data}/store.db?mode=ro", uri=True, timeout=10) as database:
            rows = database.execute("SELECT message_id FROM messages WHERE from_me = 0").fetchall()
        return [message_id for (message_id,) in rows]


@pytest.fixture
async def deploys() -> AsyncIterator[Deploys]:
    """One account, linked; no daemon runs."""
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as scene, AsyncExitStack() as stack:
        await scene.link_everybody()
        await scene.stop_daemon()
        yield Deploys(scene, stack)


async def test_overlapping_deploys_lose_and_double_nothing(deploys: Deploys) -> None:
    await deploys.up({})
    times = []
    async with deploys.traffic():
        for _ in range(3):
            new, took = await deploys.replace(signal.SIGTERM, {})
            times.append(took)
            await new.tandem.wait_for("both slots online", "online", 30)
            await asyncio.sleep(1.5)
    said = await deploys.verdict()
    print(f"SIGTERM to both sessions of the next daemon online: {[f'{took:.2f} s' for took in times]}; {said}")
    assert median(times) < 3.0


async def test_without_a_second_to_drain_nothing_is_lost_or_doubled_either(deploys: Deploys) -> None:
    settings = {"TANDEM_DRAIN": "0"}
    await deploys.up(settings)
    times = []
    async with deploys.traffic():
        for _ in range(4):
            new, took = await deploys.replace(signal.SIGTERM, settings)
            times.append(took)
            await new.tandem.wait_for("both slots online", "online", 30)
            await asyncio.sleep(1.0)
    said = await deploys.verdict()
    print(f"drain 0, SIGTERM to both sessions online: {[f'{took:.2f} s' for took in times]}; {said}")
    assert median(times) < 3.0


async def test_a_daemon_killed_before_the_next_goes_in_loses_and_doubles_nothing(deploys: Deploys) -> None:
    await deploys.up({})
    times = []
    async with deploys.traffic():
        for _ in range(4):
            new, took = await deploys.replace(signal.SIGKILL, {})
            times.append(took)
            await new.tandem.wait_for("both slots online", "online", 30)
            await asyncio.sleep(1.0)
    said = await deploys.verdict()
    print(f"kill -9 to both sessions online: {[f'{took:.2f} s' for took in times]}; {said}")
    assert median(times) < 3.0


@pytest.mark.parametrize(("drain", "least", "most"), [(0.0, 0.0, 2.5), (4.0, 2.2, 5.5)])
async def test_a_send_without_an_answer_has_its_part_of_the_configured_seconds(
    deploys: Deploys, drain: float, least: float, most: float
) -> None:
    daemon, actor = await deploys.up({"TANDEM_DRAIN": str(drain)}), deploys.scene.actors[0]
    await deploys.scene.emulator.fault("no_send_ack", number=actor.number, seconds=15)
    await daemon.tandem.send(actor.account, actor.contact, "no answer", "key")
    await asyncio.sleep(0.3)
    began = time.monotonic()
    assert await daemon.process.child.end() == 0
    took = time.monotonic() - began
    print(f"drain {drain:g}: ended after {took:.2f} s with a send that WhatsApp does not answer")
    assert least < took < most


async def test_a_second_signal_does_not_wait(deploys: Deploys) -> None:
    daemon, actor = await deploys.up({"TANDEM_DRAIN": "60"}), deploys.scene.actors[0]
    await deploys.scene.emulator.fault("no_send_ack", number=actor.number, seconds=15)
    await daemon.tandem.send(actor.account, actor.contact, "no answer", "key")
    process = daemon.process.child._process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    await daemon.told("shutdown_started")
    assert process.returncode is None
    began = time.monotonic()
    assert await daemon.process.child.end(signal.SIGTERM) == 1
    assert time.monotonic() - began < 1


async def test_while_it_waits_it_is_ready_and_sends_everybody_away(deploys: Deploys) -> None:
    old = await deploys.up({})
    new = await deploys.start(WAITING)
    await new.told("directory_taken")
    assert new.events("directory_taken")[0]["pid"] == str(old.process.child.pid)
    assert (await new.tandem.call("GET", "/livez")) == {"status": "alive"}
    assert (await new.tandem.call("GET", "/readyz")) == {"ready": True, "reason": None, "role": "passive"}
    health = await new.tandem.call("GET", "/health")
    assert (health["role"], health["status"], health["accounts"]["total"]) == ("passive", "healthy", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{new.process.port}") as session:
        for method, path in (("GET", "/api/whatsapp/accounts"), ("POST", "/api/whatsapp/add-account"), ("GET", "/")):
            async with session.request(method, path, headers={"Authorization": "Bearer wrong"}) as answer:
                problem = await answer.json()
                assert (answer.status, problem["error"]) == (503, "instance_passive")
                assert int(answer.headers["Retry-After"]) >= 1
    assert await new.process.child.end() == 0
    assert [line["event"] for line in new.lines if line.get("event") == "queue_restored"] == []
    await old.tandem.wait_for("both slots online", "online", 5)
    assert old.events("session_offline") == []


async def test_on_the_same_port_it_waits_unseen_and_then_serves(deploys: Deploys) -> None:
    old = await deploys.up({})
    new = await deploys.start({**WAITING, "PORT": str(old.process.port)})
    await new.told("waiting_unseen")
    assert (await old.tandem.call("GET", "/health"))["role"] == "active"
    assert await old.process.child.end() == 0
    await new.told("daemon_started")
    await old.tandem.wait_for("both slots online", "online", 30)


async def test_without_waiting_the_second_refuses_and_the_first_goes_on(deploys: Deploys) -> None:
    old = await deploys.up({})
    for settings in ({}, {"TANDEM_WAIT_FOR_DIRECTORY": "1"}):
        began = time.monotonic()
        second = await deploys.start(settings)
        assert await asyncio.wait_for(second.process.child._process.wait(), 15) == 3  # type: ignore[union-attr]
        words = "\n".join(second.process.child.last_words)
        assert f"used by another tandem (pid {old.process.child.pid})" in words
        assert time.monotonic() - began < 10
    await old.tandem.wait_for("both slots online", "online", 5)
    assert old.events("session_offline") == []
    assert old.events("shutdown_started") == []
