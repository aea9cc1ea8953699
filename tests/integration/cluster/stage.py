"""Several regions: real daemons with devices of their own, and WhatsApp's and Firestore's emulators, behind proxies.

Everything that was said is judged at the end: from the emulator's ledger and the contacts' phones against Firestore.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from support.fault_proxy import FaultProxy
from support.firestore_emulator import FirestoreEmulator
from tandem.clock import SystemClock
from tandem.demo.clients import DemoFailed, Emulator, Tandem
from tandem.demo.processes import Child, DaemonProcess, LogLine, emulator, free_port
from tandem.model.ids import AccountId, ChatId, Number, account_id
from tandem.store.firestore.credentials import Target
from tandem.store.firestore.store import FirestoreStore

UP, ONLINE = 30.0, 30.0
TTL = 10.0


@dataclass(frozen=True)
class Told:
    """A line of a daemon's log. ``at`` in Unix seconds."""

    at: float
    region: str
    event: str
    account: str
    line: Mapping[str, Any]


class Region:
    """One daemon and its way to Firestore."""

    def __init__(self, stage: Stage, name: str, settings: Mapping[str, str]) -> None:
        self.name = name
        self.data = stage.folder / name
        self.proxy = FaultProxy(stage.firestore.host, stage.firestore.port)
        self.port = free_port()
        self.told: list[Told] = []
        self.stage = stage
        self._settings = dict(settings)
        slots = settings.get("TANDEM_CLUSTER__SLOTS", "both")
        self.slots = ("primary", "backup") if slots == "both" else (slots,)
        self.daemon: DaemonProcess

    async def prepare(self, urls: Mapping[str, str]) -> None:
        await self.proxy.up()
        self.daemon = DaemonProcess(
            self.port,
            self.stage.emulator_port,
            self.data,
            self._hear,
            {
                "TANDEM_STORE": "firestore",
                "FIRESTORE_EMULATOR_HOST": self.proxy.address,
                "TANDEM_FIRESTORE__PROJECT": self.stage.project,
                "TANDEM_CLUSTER__MODE": "on",
                "TANDEM_CLUSTER__REGION": self.name,
                "TANDEM_CLUSTER__URL": f"http://127.0.0.1:{self.port}",
                "TANDEM_INSTANCE": self.name,
                **urls,
                **self._settings,
            },
        )
        self.tandem = Tandem(self.port)

    async def start(self) -> None:
        await self.daemon.start()
        try:
            await self.tandem.wait_until_up("/readyz", UP, f"region {self.name}")
        except DemoFailed as error:
            words = "\n".join(self.daemon.child.last_words)
            raise DemoFailed(f"{error}; its last words:\n{words}") from None

    def kill(self) -> float:
        """Lose the region: daemon and hosts in the same instant. Returns when, in Unix seconds."""
        pids = [self.daemon.child.pid, *(host.pid for host in self.daemon.hosts())]
        at = time.time()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return at

    def pause(self) -> list[int]:
        pids = [self.daemon.child.pid, *(host.pid for host in self.daemon.hosts())]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    @staticmethod
    def resume(pids: Sequence[int]) -> None:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def end(self) -> int:
        return await self.daemon.child.end()

    async def close(self) -> None:
        await self.daemon.child.end()
        await self.tandem.__aexit__(None, None, None)
        await self.proxy.down()

    def _hear(self, line: LogLine) -> None:
        event = str(line.get("event", ""))
        at = datetime.fromisoformat(str(line["timestamp"])).timestamp() if "timestamp" in line else time.time()
        self.told.append(Told(at, self.name, event, str(line.get("account", "")), dict(line)))

    async def cluster(self) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = (await self.tandem.call("GET", "/api/cluster"))["cluster"]
        return answer


@dataclass
class Talk:
    """One account, its contact, and what both said."""

    number: str
    contact: str
    account: str
    texts_in: list[str] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    devices: dict[str, set[int]] = field(default_factory=dict)
    """The device numbers of each region, as WhatsApp gave them."""


class Stage:
    """``async with`` it. ``settings``: of each region, by its name; the first one is where accounts are added."""

    def __init__(
        self, firestore: FirestoreEmulator, settings: Mapping[str, Mapping[str, str]], accounts: int = 1
    ) -> None:
        self.firestore = firestore
        self.project = firestore.fresh_project()
        self._stack = AsyncExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-regions-")))
        self.emulator_port = free_port()
        self._wa: Child = emulator(self.emulator_port, self.folder / "emulator.state")
        self.regions = {name: Region(self, name, each) for name, each in settings.items()}
        self.talks = [
            Talk(f"+1202555{number:04d}", f"+1303555{number:04d}", str(account_id(Number(f"+1202555{number:04d}"))))
            for number in range(100, 100 + accounts)
        ]
        self._traffic: list[asyncio.Task[None]] = []
        self._stopped = asyncio.Event()

    async def __aenter__(self) -> Self:
        try:
            await self._wa.start(lambda _line: None)
            self.emulator = await self._stack.enter_async_context(Emulator(self.emulator_port))
            await self.emulator.wait_until_up("/control/root-key", UP, "the emulator")
            ports = {name: region.port for name, region in self.regions.items()}
            named = {"primary": "PRIMARY_REGION_URL", "backup": "BACKUP_REGION_URL"}
            urls = {named[name]: f"http://127.0.0.1:{port}" for name, port in ports.items() if name in named}
            for region in self.regions.values():
                await region.prepare(urls)
            await asyncio.gather(*(region.start() for region in self.regions.values()))
            for talk in self.talks:
                await self._link(talk)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.show()
        await self._close()

    def show(self) -> None:
        """Print what every region told of leases, for whoever has to find out why a test failed."""
        wanted = {
            "lease_acquired",
            "lease_lost",
            "switched_region",
            "lease_trouble",
            "lease_job_failed",
            "daemon_started",
        }
        lines = sorted((each for region in self.regions.values() for each in region.told), key=lambda each: each.at)
        for each in lines:
            if each.event in wanted or each.line.get("level") in {"error", "critical"}:
                said = each.line
                print(f"{each.at:.3f} {each.region} {each.event}", said.get("message", ""), said.get("reason", ""))

    async def _close(self) -> None:
        for task in self._traffic:
            task.cancel()
        await asyncio.gather(*self._traffic, return_exceptions=True)
        for region in self.regions.values():
            if hasattr(region, "daemon"):
                await region.close()
        await self._wa.end()
        await self._stack.aclose()

    async def _link(self, talk: Talk) -> None:
        """Add the account in the first region, and link every slot that any region runs."""
        first = next(iter(self.regions.values()))
        await self.emulator.add_phone(talk.number, "Shop")
        await first.tandem.add_account("Shop", talk.number)
        for region in self.regions.values():
            await self.until(partial(self._knows, region, talk), UP, f"{region.name} knows the account")
            for slot in region.slots:
                with suppress(aiohttp.ClientResponseError):  # it was offered by itself
                    await region.tandem.pair(talk.account, slot)
                await self.emulator.scan(talk.number, await region.tandem.qr(talk.account, slot))
                await region.tandem.wait_for_slot(talk.account, slot, "online", ONLINE)
            [account] = [each for each in await region.tandem.accounts() if each["id"] == talk.account]
            jids = [each["device"] for each in account["slots"] if each["device"] and each["slot"] in region.slots]
            talk.devices[region.name] = {int(jid.partition(":")[2].partition("@")[0]) for jid in jids}

    @staticmethod
    async def _knows(region: Region, talk: Talk) -> bool:
        return any(each["id"] == talk.account for each in await region.tandem.accounts())

    async def until(self, reached: Callable[[], Any], patience: float, what: str) -> float:
        """Wait until something is so; returns after how many seconds. Raises DemoFailed."""
        began = time.monotonic()
        while time.monotonic() - began < patience:
            with suppress(aiohttp.ClientError, TimeoutError):
                answer = reached()
                if await answer if asyncio.iscoroutine(answer) else answer:
                    return time.monotonic() - began
            await asyncio.sleep(0.02)
        raise DemoFailed(f"{what}: not within {patience:g} s")

    # Traffic

    def talk_on(self, rate: float = 4.0) -> None:
        """Let contacts write and every account answer, until ``quiet``."""
        self._stopped.clear()
        self._traffic = [asyncio.create_task(self._write(talk, rate)) for talk in self.talks]
        self._traffic += [asyncio.create_task(self._send(talk, rate)) for talk in self.talks]

    async def quiet(self) -> None:
        self._stopped.set()
        await asyncio.gather(*self._traffic)
        self._traffic = []

    async def _write(self, talk: Talk, rate: float) -> None:
        while not self._stopped.is_set():
            text = f"in {len(talk.texts_in)} {talk.account}"
            await self.emulator.write(talk.contact, talk.number, text)
            talk.texts_in.append(text)
            await asyncio.sleep(1 / rate)

    async def _send(self, talk: Talk, rate: float) -> None:
        """Accepted anywhere: whichever region answers, in turn."""
        number, regions = 0, list(self.regions.values())
        while not self._stopped.is_set():
            text, key = f"out {number} {talk.account}", f"key-{number}-{talk.account}"
            for turn in range(100):
                region = regions[(number + turn) % len(regions)]
                try:
                    talk.accepted[await region.tandem.send(talk.account, talk.contact, text, key)] = text
                    break
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(0.2)
            number += 1
            await asyncio.sleep(1 / rate)

    # Judging

    def events(self, kind: str, since: float = 0.0) -> list[Told]:
        found = [each for region in self.regions.values() for each in region.told if each.event == kind]
        return sorted((each for each in found if each.at >= since), key=lambda each: each.at)

    async def holder(self, talk: Talk) -> str:
        """The region that says it runs the account; empty if none does. Two are a failure."""
        holders = []
        for region in self.regions.values():
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                leases = (await region.cluster())["leases"]
                holders += [region.name for lease in leases if lease["account"] == talk.account and lease["mine"]]
        assert len(holders) < 2, f"{holders} run the account at once"
        return holders[0] if holders else ""

    async def run_by(self, talk: Talk, name: str, patience: float) -> float:
        async def reached() -> bool:
            return await self.holder(talk) == name

        return await self.until(reached, patience, f"{name} runs the account")

    async def verdict(self, patience: float = 60.0) -> Mapping[str, int]:
        """Wait until everything has arrived, then compare; nothing may be lost or doubled."""
        store = FirestoreStore(Target(self.project, emulator=self.firestore.address), SystemClock())
        await store.open()
        try:
            lost, doubled = Counter[str](), Counter[str]()
            for talk in self.talks:
                await self._judge(store, talk, patience, lost, doubled)
        finally:
            await store.close()
        await self._judge_senders()
        assert (dict(lost), dict(doubled)) == ({}, {})
        return {
            "in": sum(len(talk.texts_in) for talk in self.talks), "out": sum(len(talk.accepted) for talk in self.talks)
        }  # fmt: skip

    async def _judge(
        self, store: FirestoreStore, talk: Talk, patience: float, lost: Counter[str], doubled: Counter[str]
    ) -> None:
        ends = time.monotonic() + patience
        while True:
            stored = await self._stored(store, talk)
            shown = await self.emulator.shown_to(talk.contact)
            arrived = Counter({each["text"]: each["times"] for each in shown})
            wanted = [*talk.texts_in, *talk.accepted.values()]
            missing = [text for text in wanted if not stored[text]]
            missing += [text for text in talk.accepted.values() if not arrived[text]]
            if not missing or time.monotonic() > ends:
                break
            await asyncio.sleep(0.5)
        lost.update(missing)
        doubled.update({text: count for text, count in (*stored.items(), *arrived.items()) if count > 1})

    async def _stored(self, store: FirestoreStore, talk: Talk) -> Counter[str]:
        texts: Counter[str] = Counter()
        for chat in await store.chats(AccountId(talk.account), 100):
            found = await store.messages(AccountId(talk.account), ChatId(chat.id), 5000)
            texts.update(each.message.text for each in found)
        return texts

    async def _judge_senders(self) -> None:
        """No region sent after another one had acquired the account; and generations only grew. From the ledger."""
        for talk in self.talks:
            acquired = [each for each in self.events("lease_acquired") if each.account == talk.account]
            generations = [each.line["generation"] for each in acquired]
            assert generations == sorted(set(generations)), generations
            ledger = await self.emulator.call("GET", f"/control/ledger?number={talk.number.removeprefix('+')}")
            devices = {device: name for name, each in talk.devices.items() for device in each}
            for at, device in self._sends(ledger, talk):
                holders = [each.region for each in acquired if each.at <= at]
                sender = devices[device]
                assert holders[-1] == sender, f"{sender} sent at {at:.3f}, {holders[-1]} ran the account then"

    @staticmethod
    def _sends(ledger: Mapping[str, Any], talk: Talk) -> list[tuple[float, int]]:
        """When, in Unix seconds, the server acknowledged each message of a linked device of the account."""
        digits = talk.number.removeprefix("+")
        own = [each for each in ledger["messages"] if each["from"] == digits and each["from_device"]]
        sends = [(each["accepted"], each["from_device"]) for each in own if each["accepted"] is not None]
        assert sends or not talk.accepted, "the ledger knows of no send"
        return sends
