"""Device hosts on virtual time that behave as a script says: what the server answers, how long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from support.devices import LOGGED_IN, TwinDevice, TwinDevices
from tandem.model import signals
from tandem.model.signals import Signal
from tandem.whatsapp.port import DeviceListener, DeviceSpec

LOGIN_SECONDS = 0.2
Answer = Iterable[tuple[float, Signal]]


def accepted(_device: TwinDevice) -> Answer:
    """The login succeeds."""
    return [(LOGIN_SECONDS, signal) for signal in LOGGED_IN]


def unreachable(_device: TwinDevice) -> Answer:
    """The host cannot dial, and ends."""
    return [(LOGIN_SECONDS, signals.HostEnded(21, "WhatsApp could not be reached", unreachable=True))]


def hanging(_device: TwinDevice) -> Answer:
    """The connection hangs at TCP, at TLS or at the upgrade: nothing is ever said."""
    return []


def refused(_device: TwinDevice) -> Answer:
    return [(LOGIN_SECONDS, signals.ConnectFailed("WhatsApp was not available"))]


def outdated(_device: TwinDevice) -> Answer:
    return [(LOGIN_SECONDS, signals.Outdated())]


@dataclass
class ScriptedDevices(TwinDevices):
    """``answer`` says what follows the start of a host; what a host that is gone would have said is not heard."""

    answer: Callable[[TwinDevice], Answer] = accepted
    starts: list[tuple[float, DeviceSpec]] = field(default_factory=list)

    async def start(self, spec: DeviceSpec, listener: DeviceListener) -> TwinDevice:
        loop = asyncio.get_running_loop()
        self.starts.append((loop.time(), spec))
        device = await super().start(spec, listener)
        for delay, signal in self.answer(device):
            loop.call_later(delay, _say, device, signal)
        return device

    def started_since(self, when: float) -> int:
        return sum(time >= when for time, _ in self.starts)

    def alive(self) -> list[TwinDevice]:
        return [device for device in self.started if device.alive]


def _say(device: TwinDevice, signal: Signal) -> None:
    if device.alive:
        device.alive = not isinstance(signal, signals.HostEnded)
        device.says(signal)
