"""Real device hosts with the real library, against the emulator on loopback."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tandem.model import signals
from tandem.model.account import Account
from tandem.model.event import EventType
from tandem.model.ids import Number, account_id
from tandem.model.message import DecodedMessage, DecodedReceipt, RawEvent
from tandem.model.signals import Signal
from tandem.model.states import Slot
from tandem.settings import DeviceSettings
from tandem.whatsapp.decode import decode
from tandem.whatsapp.factory import HostFactory
from tandem.whatsapp.link import Link
from tandem.whatsapp.options import EmulatorEndpoint
from tandem.whatsapp.port import DeviceListener, DeviceSpec
from wa_emulator.server import Emulator

NUMBER = Number("+12025550123")
CONTACT = "+12025550199"
ACCOUNT = Account(account_id(NUMBER), NUMBER, "Ann", 0.0)
SETTINGS = DeviceSettings(hello_timeout=15.0, stop_grace=1.5)
PATIENCE = 15.0
AFTER_PAIRING = 3.0

T = TypeVar("T")


@dataclass
class Session:
    """A running host and everything it said."""

    slot: Slot
    news: list[Signal | RawEvent] = field(default_factory=list)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    link: Link | None = None

    @property
    def device(self) -> Link:
        assert self.link is not None
        return self.link

    def listener(self) -> DeviceListener:
        return DeviceListener(self._hear, self._hear)

    def _hear(self, item: Signal | RawEvent) -> None:
        self.news.append(item)
        self.moved.set()

    async def until(self, found: Callable[[], T | None], patience: float = PATIENCE) -> T:
        try:
            async with asyncio.timeout(patience):
                while (result := found()) is None:
                    self.moved.clear()
                    await self.moved.wait()
        except TimeoutError:
            raise TimeoutError(f"waited in vain; so far: {[type(item).__name__ for item in self.news]}") from None
        return result

    async def signal(self, kind: type[T], patience: float = PATIENCE) -> T:
        return await self.until(lambda: next((item for item in self.news if isinstance(item, kind)), None), patience)

    async def message(self, text: str) -> tuple[RawEvent, DecodedMessage]:
        return await self.until(lambda: next((pair for pair in self.messages() if pair[1].text == text), None))

    def messages(self) -> list[tuple[RawEvent, DecodedMessage]]:
        return [(item, found) for item, found in self._decoded() if isinstance(found, DecodedMessage)]

    def receipts(self) -> list[DecodedReceipt]:
        return [found for _, found in self._decoded() if isinstance(found, DecodedReceipt)]

    def _decoded(self) -> list[tuple[RawEvent, Any]]:
        return [(item, decode(item)) for item in self.news if isinstance(item, RawEvent)]

    async def gone(self) -> signals.HostEnded:
        async with asyncio.timeout(PATIENCE):
            await self.device.gone()
        last = self.news[-1]
        assert isinstance(last, signals.HostEnded)
        assert sum(isinstance(item, signals.HostEnded) for item in self.news) == 1
        return last


@dataclass
class Stage:
    """The emulator, a factory on a data directory of its own, and the hosts that were started."""

    emulator: Emulator
    folder: Path
    timings: tuple[float, ...] = ()
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    stuck_after_pairing: int = 0

    @property
    def factory(self) -> HostFactory:
        endpoint = EmulatorEndpoint(self.emulator.port, self.emulator.root_key)
        return HostFactory(self.folder, SETTINGS, endpoint, timings=self.timings, publish=self._publish)

    def _publish(self, type: EventType, message: str, **data: Any) -> None:  # noqa: A002 - the port's name
        assert type is EventType.HOST_LOG
        self.lines.append((data["level"], data["source"], message))

    async def begin(self, slot: Slot, *, pairing: bool = False) -> Session:
        session = Session(slot)
        self.sessions.append(session)
        spec = DeviceSpec(ACCOUNT, slot, 1, pairing, receipts=slot is Slot.PRIMARY)
        session.link = await self.factory.start(spec, session.listener())
        return session

    async def online(self, slot: Slot) -> Session:
        session = await self.begin(slot)
        await session.signal(signals.Connected)
        await session.signal(signals.SyncCompleted)
        return session

    async def pair(self, slot: Slot) -> Session:
        """Link a slot by QR. The library now and then loses its way after the server's 515: then start it again."""
        session = await self.begin(slot, pairing=True)
        shown = await session.signal(signals.QrShown)
        await self.emulator.scan(NUMBER, shown.text)
        await session.signal(signals.PairSucceeded)
        try:
            await session.signal(signals.Connected, AFTER_PAIRING)
        except TimeoutError:
            self.stuck_after_pairing += 1
            await session.device.stop()
            return await self.online(slot)
        return session

    def file(self, slot: Slot, suffix: str) -> Path:
        return self.folder / "sessions" / ACCOUNT.id / f"{slot}{suffix}"

    async def fault(self, **wish: Any) -> None:
        self.emulator.clients.begin_fault({"number": NUMBER, **wish})

    async def close(self) -> None:
        for session in self.sessions:
            if session.link is not None:
                session.link.kill()
                await session.link.gone()


def memory(pid: int) -> Mapping[str, float]:
    """Return a process's memory in MB: proportional, resident, its own dirty pages."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    fields = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in text.splitlines()[1:]}
    return {name: round(fields[name], 1) for name in ("Pss", "Rss", "Private_Dirty")}


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until_gone(pid: int, seconds: float) -> float:
    """Return after how many seconds a process was gone. Raises TimeoutError. Blocks: use a thread."""
    began = time.monotonic()
    while alive(pid):
        if time.monotonic() - began > seconds:
            os.kill(pid, 9)
            raise TimeoutError(f"process {pid} still runs")
        time.sleep(0.005)
    return time.monotonic() - began
