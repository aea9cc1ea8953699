"""An account whose twin devices live on noisy lines: real supervisor, pair, sessions and vitals on virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

from simulation.noise import Line
from support.devices import LOGGED_IN, TwinDevice, TwinDevices
from support.virtual_time import SeededRandom, VirtualClock
from tandem.errors import NotOnline
from tandem.model import signals
from tandem.model.account import Account, SlotRecord
from tandem.model.event import EventType
from tandem.model.ids import ChatId, Jid, Number, account_id
from tandem.model.message import DecodedMessage, RawEvent
from tandem.model.outbox import Content, SendResult
from tandem.model.states import SessionState, Slot
from tandem.policy.session_machine import Limits
from tandem.supervision.account import Pair
from tandem.supervision.supervisor import Supervisor, SupervisorPorts
from tandem.supervision.vitals import VitalLimits
from tandem.whatsapp.port import DeviceListener, DeviceSpec

NUMBER = Number("+12025550123")
ACCOUNT = Account(account_id(NUMBER), NUMBER, "Shop", 0.0)


@dataclass
class NoisyDevice(TwinDevice):
    """Pings by itself as the library does, over its line. A stalled one answers nothing; a deaf one hears nothing."""

    line: Line = field(default_factory=Line)
    chance: random.Random = field(default_factory=random.Random)
    stalled: bool = False
    deaf: bool = False
    no_pongs: bool = False
    echo: Callable[[Slot, bytes], None] = lambda _slot, _secret: None
    errors: int = 0
    missed: int = 0

    def comes_online(self) -> None:
        self.says(signals.Started(self.pid, paired=True, keep_alive=self.timings[2]), *LOGGED_IN)
        self._wait()

    def _wait(self) -> None:
        _, shortest, longest, _ = self.timings
        asyncio.get_running_loop().call_later(self.chance.uniform(shortest, longest), self._ping)

    def _ping(self) -> None:
        if not self.alive:
            return
        loop = asyncio.get_running_loop()
        seconds = None if self.stalled or self.no_pongs else self.line.round_trip(self.chance)
        if seconds is not None:
            loop.call_later(seconds, self._answered, seconds)
        if seconds is None or seconds > self.timings[0]:
            loop.call_later(self.timings[0], self._unanswered)

    def _answered(self, seconds: float) -> None:
        if self.alive and not self.stalled:
            self.says(signals.PingTimed(seconds * 1000))
            if seconds <= self.timings[0]:
                if self.errors:
                    self.says(signals.KeepAliveRestored())
                self.errors = 0
                self._wait()

    def _unanswered(self) -> None:
        if self.alive:
            self.errors += 1
            self.missed += 1
            self.says(signals.KeepAliveTimeout(self.errors))
            self._wait()

    async def send(
        self, chat: ChatId, content: Content, secret: bytes, timeout: float, not_after: float = inf
    ) -> SendResult:
        result = await super().send(chat, content, secret, timeout, not_after)
        self.echo(self.spec.slot.partner, secret)
        return result

    async def probe(self, timeout: float) -> float:
        self.probes += 1
        seconds = None if self.stalled else self.line.round_trip(self.chance)
        if seconds is None or seconds > timeout:
            await asyncio.sleep(timeout)
            raise NotOnline("no answer in time")
        await asyncio.sleep(seconds)
        return seconds * 1000


@dataclass
class NoisyDevices(TwinDevices):
    """``lines``: what each slot's hosts are connected by."""

    chance: random.Random = field(default_factory=lambda: random.Random(1))
    echo: Callable[[Slot, bytes], None] = lambda _slot, _secret: None
    lines: dict[Slot, Line] = field(default_factory=lambda: dict.fromkeys(Slot, Line()))

    async def start(self, spec: DeviceSpec, listener: DeviceListener) -> NoisyDevice:
        device = NoisyDevice(
            spec, listener, len(self.started) + 1, timings=spec.timings, line=self.lines[spec.slot], chance=self.chance
        )
        device.echo = self.echo
        self.started.append(device)
        asyncio.get_running_loop().call_later(0.1, device.comes_online)
        return device

    def running(self, slot: Slot) -> NoisyDevice:
        device = self.last(slot)
        assert isinstance(device, NoisyDevice)
        return device


class _Registry:
    async def load(self) -> list[tuple[Account, list[SlotRecord]]]:
        return [(ACCOUNT, [])]

    async def save_slot(self, record: SlotRecord) -> None: ...

    async def save_account(self, account: Account) -> None: ...


@dataclass
class Stage:
    """One account with both slots online."""

    devices: NoisyDevices = field(default_factory=NoisyDevices)
    events: list[tuple[float, EventType, str]] = field(default_factory=list)
    written: int = 0
    self_probe: float = 0.0

    def __post_init__(self) -> None:
        for slot in Slot:
            self.devices.paired[ACCOUNT.id, slot] = f"12025550123:{slot.number}@s.whatsapp.net"
        ports = SupervisorPorts(
            devices=self.devices,
            registry=_Registry(),  # type: ignore[arg-type]  # a twin
            publish=self._publish,
            clock=VirtualClock(),
            random=SeededRandom(),
            receive=lambda _event: None,
            import_leftover=self._nothing,
            serve=self._serve,
            save_account=self._nothing,
        )
        limits = VitalLimits(self_probe=self.self_probe)
        self.supervisor = Supervisor(Limits(), ports, suspect_after=2.0, max_accounts=3, vitals=limits)
        self.devices.echo = self._echo

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def pair(self) -> Pair:
        return self.supervisor.pair_of(ACCOUNT.id)

    def alarms(self) -> list[tuple[float, EventType, str]]:
        """What a quiet account must never see."""
        loud = {
            EventType.PROACTIVE_RECONNECT,
            EventType.SWITCHED_TO_BACKUP,
            EventType.SWITCHED_TO_PRIMARY,
            EventType.SESSION_OFFLINE,
            EventType.HOST_ENDED,
        }
        return [event for event in self.events if event[1] in loud]

    def message_comes(self, lag: float = 0.05) -> None:
        """A contact writes: each slot that hears gets its copy."""
        self.written += 1
        for slot in Slot:
            delay = lag * self.devices.chance.uniform(0.5, 2.0)
            asyncio.get_running_loop().call_later(delay, self._deliver, slot, f"m{self.written}")

    def _echo(self, slot: Slot, secret: bytes) -> None:
        asyncio.get_running_loop().call_later(0.05, self._deliver, slot, "echo", secret)

    def _deliver(self, slot: Slot, message_id: str, secret: bytes = b"") -> None:
        device = self.devices.running(slot)
        if device.alive and not device.deaf and not device.stalled:
            event = RawEvent(ACCOUNT.id, slot, device.spec.generation, 1, 17, b"", self.now)
            self.supervisor.heard(event, _message(message_id, secret))

    def _publish(self, type: EventType, message: str, **_rest: object) -> None:  # noqa: A002
        self.events.append((self.now, type, message))

    async def _nothing(self, _what: Any) -> None: ...

    async def _serve(self, _pair: Pair) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def online(devices: NoisyDevices | None = None, self_probe: float = 0.0) -> AsyncIterator[Stage]:
    """Bring the account up; forget what happened until then."""
    stage = Stage(devices or NoisyDevices(), self_probe=self_probe)
    await stage.supervisor.prepare()
    stage.supervisor.start()
    await asyncio.sleep(120.0)
    assert {session.state for session in stage.pair.sessions.values()} == {SessionState.ONLINE}
    stage.events.clear()
    try:
        yield stage
    finally:
        await stage.supervisor.stop()


def _message(message_id: str, secret: bytes) -> DecodedMessage:
    sender = Jid("100000000000099", "lid")
    return DecodedMessage(
        message_id=message_id,
        chat=sender,
        sender=sender,
        sender_alt=None,
        recipient_alt=None,
        from_me=bool(secret),
        is_group=False,
        push_name="",
        timestamp=0,
        kind="text",
        text="",
        has_media=False,
        reply_to="",
        secret=secret,
        raw=b"",
    )
