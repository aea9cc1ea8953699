"""An in-memory twin of the device hosts, for unit tests and simulation: does what it is told, remembers what it was."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from tandem.errors import DataUnusable, NotOnline
from tandem.model import signals
from tandem.model.account import Account
from tandem.model.ids import ChatId
from tandem.model.message import RawEvent
from tandem.model.outbox import Content, SendOutcome, SendResult
from tandem.model.signals import Signal
from tandem.model.states import Slot
from tandem.whatsapp.port import DeviceListener, DeviceSpec

LOGGED_IN: tuple[Signal, ...] = (signals.SyncCompleted(0), signals.Connected())


@dataclass
class TwinDevice:
    spec: DeviceSpec
    listener: DeviceListener
    pid: int = 1
    alive: bool = True
    stopped_gently: bool = False
    logged_out: bool = False
    acknowledged: int = 0
    stalled_for: float = 0.0
    unreachable: bool = False
    probes: int = 0
    timings: tuple[float, ...] = ()
    sent: list[tuple[ChatId, Content]] = field(default_factory=list)

    def says(self, *news: Signal) -> None:
        for item in news:
            self.listener.signal(item)

    def logs_in(self) -> None:
        """Come online: logged in, and nothing (more) of what arrived meanwhile is to come."""
        self.says(*LOGGED_IN)

    def dies(self, code: int = -9, reason: str = "killed") -> None:
        self.alive = False
        self.says(signals.HostEnded(code, reason))

    def acknowledge(self, sequence: int) -> None:
        self.acknowledged = sequence

    async def send(
        self,
        chat: ChatId,
        content: Content,
        secret: bytes,  # noqa: ARG002 - the same
        timeout: float,  # noqa: ARG002 - the port's
        not_after: float = inf,  # noqa: ARG002 - the same
    ) -> SendResult:
        if not self.alive:
            raise NotOnline("the host is gone")
        await asyncio.sleep(self.stalled_for)
        self.sent.append((chat, content))
        return SendResult(SendOutcome.ACCEPTED, f"3EB0{len(self.sent):04d}", 1)

    async def probe(self, timeout: float) -> float:
        self.probes += 1
        if self.unreachable:
            await asyncio.sleep(timeout)
            raise NotOnline("no answer in time")
        return 1.0

    async def keep_alive(self, timings: Sequence[float], timeout: float) -> float:  # noqa: ARG002
        if not self.alive:
            raise NotOnline("the host is gone")
        self.timings = tuple(timings)
        return self.timings[2]

    async def pair_by_code(self, number: str, timeout: float) -> str:  # noqa: ARG002
        return "ABCD-EFGH"

    async def logout(self, timeout: float) -> None:  # noqa: ARG002
        self.logged_out = True
        self.says(signals.LoggedOut("the device was unlinked on the phone", on_connect=False))
        await asyncio.sleep(0.1)

    async def stop(self) -> None:
        self.stopped_gently = self.alive
        self.alive = False

    def kill(self) -> None:
        self.alive = False


@dataclass
class TwinDevices:
    """``paired`` holds the linked slots, ``broken`` those whose key store is corrupt."""

    paired: dict[tuple[str, Slot], str] = field(default_factory=dict)
    broken: set[tuple[str, Slot]] = field(default_factory=set)
    journals: dict[tuple[str, Slot], list[RawEvent]] = field(default_factory=dict)
    quarantined: list[tuple[str, Slot]] = field(default_factory=list)
    started: list[TwinDevice] = field(default_factory=list)
    refuse: bool = False
    release: str = "1.0"

    async def start(self, spec: DeviceSpec, listener: DeviceListener) -> TwinDevice:
        if self.refuse:
            raise NotOnline("the host did not come up in time")
        device = TwinDevice(spec, listener, pid=len(self.started) + 1, timings=spec.timings)
        self.started.append(device)
        return device

    def scanned(self, slot: Slot, jid: str = "12025550123:1@s.whatsapp.net") -> None:
        """The phone scans what the slot shows: the keys are kept, the library logs in for the first time."""
        device = self.last(slot)
        self.paired[device.spec.account.id, slot] = jid
        device.says(signals.PairSucceeded(jid), signals.Connected())

    def last(self, slot: Slot) -> TwinDevice:
        return next(device for device in reversed(self.started) if device.spec.slot is slot)

    def paired_device(self, account: Account, slot: Slot) -> str:
        if (account.id, slot) in self.broken:
            raise DataUnusable("the session database is corrupt")
        return self.paired.get((account.id, slot), "")

    def leftover(self, account: Account, slot: Slot) -> Sequence[RawEvent]:
        return self.journals.get((account.id, slot), [])

    def forget_leftover(self, account: Account, slot: Slot) -> None:
        self.journals.pop((account.id, slot), None)

    def quarantine(self, account: Account, slot: Slot, why: str, *, journal: bool = False) -> Path | None:  # noqa: ARG002
        self.quarantined.append((account.id, slot))
        if journal:
            self.journals.pop((account.id, slot), None)
        self.paired.pop((account.id, slot), None)
        self.broken.discard((account.id, slot))
        return None
