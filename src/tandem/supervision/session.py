"""One slot's session: the actor around the session machine.

Everything that concerns the slot goes through one queue and is decided by ``policy.session_machine``; the actor only
carries out effects and keeps the deadline. It owns the device host: one at a time, each a generation, and news of an
older generation is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from tandem.clock import Clock, Random
from tandem.errors import DataUnusable, NotOnline, TandemError
from tandem.model import signals
from tandem.model.account import Account, SlotRecord
from tandem.model.event import EventType, Publish
from tandem.model.message import RawEvent
from tandem.model.states import SessionState, Slot
from tandem.policy import session_machine as machine
from tandem.policy.fleet import FREE, Admission
from tandem.policy.intensity import Window
from tandem.supervision.fleet import Fleet
from tandem.supervision.lifetime import Lifetime
from tandem.supervision.vitals import VitalLimits, Vitals
from tandem.whatsapp.port import Device, DeviceFactory, DeviceListener, DeviceSpec

_HOUR = 3600.0
_ENDINGS = (signals.LoggedOut, signals.Disconnected, signals.HostEnded)
"""How a host says that the logout of its device has come through."""


@dataclass(frozen=True, slots=True)
class SessionPorts:
    """What a session needs of the rest. ``changed`` is called after every move; nothing in here may block it."""

    devices: DeviceFactory
    fleet: Fleet
    publish: Publish
    clock: Clock
    random: Random
    receive: Callable[[RawEvent], None]
    import_leftover: Callable[[Sequence[RawEvent]], Awaitable[None]]
    save: Callable[[SlotRecord], None]
    changed: Callable[[Session, machine.Session], None]
    vitals: VitalLimits = field(default_factory=VitalLimits)
    keys_are_ours: Callable[[], bool] = lambda: True
    """Whether nobody else can have a right to the slot's keys: asked when somebody connected with them."""


@dataclass(frozen=True, slots=True)
class _News:
    generation: int
    input: machine.Input


class Session:
    """A slot of an account, from boot to shutdown. ``run`` is its one task."""

    def __init__(self, account: Account, record: SlotRecord, limits: machine.Limits, ports: SessionPorts) -> None:
        self.account = account
        self.slot = record.slot
        self.device_jid = record.device
        self.linked_since = record.linked_since
        self.generation = 0
        self.starts = 0
        self.host_started_at: float | None = None
        self.since = record.since
        self.name = f"{account.id} {record.slot}"
        self.hears_receipts: Callable[[], bool] = lambda: record.slot is Slot.PRIMARY
        """Asked at every start of the host: at most one slot of a pair, for one bad receipt ends whoever hears it."""
        self._limits = limits
        self._ports = ports
        self._logins = Window()
        self._device: Device | None = None
        self._leaving = False
        self._life: Lifetime | None = None
        self._news: asyncio.Queue[_News] = asyncio.Queue()
        self.vitals = Vitals(self, ports.vitals, ports.clock)
        unlinked = machine.Session(SessionState.UNPAIRED, "not linked yet")
        self._machine = machine.Session(paired=True) if record.device else unlinked
        outdated_no_more = record.state is SessionState.OUTDATED and record.release != ports.devices.release
        if record.state.terminal and not outdated_no_more:
            self._machine = self._remembered(record)
        self.tell(machine.Start())

    @property
    def state(self) -> SessionState:
        return self._machine.state

    @property
    def reason(self) -> str:
        return self._machine.reason

    @property
    def paired(self) -> bool:
        return self._machine.paired

    @property
    def banned_for(self) -> float:
        """Seconds until the end of the number's ban; 0 if there is none."""
        if self.state is not SessionState.BANNED:
            return 0.0
        return max(0.0, self._machine.deadline - self._ports.clock.monotonic())

    @property
    def due(self) -> bool:
        """Whether its host is started again at once."""
        return self.state is SessionState.WAITING and self._machine.deadline <= self._ports.clock.monotonic()

    @property
    def logins(self) -> int:
        """How often this slot has logged in, or tried to, within the last hour."""
        now = self._ports.clock.monotonic()
        return sum(now - time < _HOUR for time in self._logins.times)

    @property
    def pid(self) -> int:
        """Process id of the running host, 0 if there is none."""
        return self._device.pid if self._device is not None else 0

    @property
    def device(self) -> Device:
        """The running host. Raises NotOnline if the session cannot send now."""
        if self._device is None or not self.state.connected:
            raise NotOnline(f"the {self.slot} is {self.state}")
        return self._device

    def tell(self, command: machine.Input) -> None:
        """Put a command into the queue."""
        self._news.put_nowait(_News(self.generation, command))

    def link(self, device: str) -> None:
        """Take over a slot into whose key store a pairing has put this device."""
        self.device_jid = device
        self.linked_since = self._ports.clock.now()
        self.tell(machine.Linked(device))

    def acknowledge(self, generation: int, sequence: int) -> None:
        """Let the journal of this generation's host forget what is durable; for an older one it no longer matters."""
        if generation == self.generation and self._device is not None:
            self._device.acknowledge(sequence)

    async def run(self) -> None:
        """Handle news and deadlines until cancelled; then the host is ended, without logging out.

        A defect ends it too, and the machine learns of it first thing in the next run.
        """
        try:
            while True:
                await self._handle(await self._next())
        except Exception:
            self.tell(machine.ActorFailed())
            raise
        finally:
            await self._end_host(gently=True)

    async def import_leftover(self) -> None:
        """What a dead host journaled but could not hand over becomes durable before the next one starts."""
        devices = self._ports.devices
        events = await asyncio.to_thread(devices.leftover, self.account, self.slot)
        if events:
            await self._ports.import_leftover(events)
            await asyncio.to_thread(devices.forget_leftover, self.account, self.slot)

    async def logout(self, deadline: float) -> None:
        """Unlink the device from the phone, best effort. Called from the operator's "delete account" only."""
        if self._device is not None and self.state.connected:
            self._leaving = True
            try:
                await self._device.logout(deadline)
                self.tell(machine.Removed())
            except TandemError as error:
                self.publish(EventType.SESSION_STATE, f"the {self.slot} could not be logged out: {error}")

    async def _next(self) -> machine.Input:
        while True:
            try:
                async with asyncio.timeout(self._time_left()):
                    news = await self._news.get()
            except TimeoutError:
                return machine.Expired()
            if news.generation == self.generation or isinstance(news.input, machine.Command):
                return news.input

    def _time_left(self) -> float | None:
        deadline = self._machine.deadline
        return max(0.0, deadline - self._ports.clock.monotonic()) if deadline else None

    async def _handle(self, news: machine.Input) -> None:
        self._note(news)
        before = self._machine
        chance, admission = self._ports.random.uniform(0.0, 1.0), self._admission(news)
        now = self._ports.clock.monotonic()
        limits = replace(self._limits, lease_held=self._ports.keys_are_ours())
        decision = machine.decide(before, news, now, chance, limits, admission=admission)
        self._machine = decision.session
        if decision.session.state is not before.state:
            self.since = self._ports.clock.now()
            self._moved(before, decision.sentence)
        self._remember(before)
        self._ports.fleet.moved(self.name, before.state, self.state, decision.cause)
        for effect in decision.effects:
            await self._carry_out(effect)

    def _admission(self, news: machine.Input) -> Admission:
        """Return the fleet's word on a login, asked for only if this may become one. An operator need not ask."""
        if isinstance(news, machine.Linked) or (isinstance(news, machine.Restart) and self.paired):
            self._ports.fleet.charge(self.name)
        return self._ports.fleet.admit(self.name) if machine.wants_login(self._machine, news) else FREE

    def _note(self, news: machine.Input) -> None:
        """Remember what is shown to people but decides nothing."""
        match news:
            case signals.HostEnded(code, reason):
                self.publish(EventType.HOST_ENDED, f"the {self.slot}'s host ended: {reason}", reason, exit_code=code)
                self._life_over(reason)

    def _moved(self, before: machine.Session, sentence: str) -> None:
        now = self._machine
        if before.paired and not now.paired:
            self.device_jid = ""
        noticed = {"silent_ms": round(self.vitals.silence * 1000)} if now.state is SessionState.DEGRADED else {}
        self.publish(_event_of(before.state, now.state), f"{self.slot}: {sentence}", now.reason, **noticed)
        if now.state is SessionState.PARKED:
            self.publish(
                EventType.SESSION_PARKED, f"{self.slot}: {sentence}; an operator has to restart it", now.reason
            )
        self._ports.changed(self, before)

    def _remember(self, before: machine.Session) -> None:
        """Save what a restart of the daemon must not forget, if it has changed."""
        now = self._machine
        lasting = now.state.terminal or before.state.terminal
        changed = (now.state, now.deadline) != (before.state, before.deadline)
        if now.paired != before.paired or (lasting and changed):
            self._ports.save(self.record())

    def record(self) -> SlotRecord:
        """What is to be remembered of this slot."""
        until = 0.0
        if self.state is SessionState.BANNED:
            until = self._ports.clock.now() + (self._machine.deadline - self._ports.clock.monotonic())
        state = self.state if self.state.terminal else SessionState.STOPPED
        return SlotRecord(
            account=self.account.id,
            slot=self.slot,
            device=self.device_jid,
            state=state,
            reason=self.reason,
            since=self.since,
            until=until,
            release=self._ports.devices.release,
            linked_since=self.linked_since,
        )

    def _remembered(self, record: SlotRecord) -> machine.Session:
        left = max(0.001, record.until - self._ports.clock.now())
        return machine.Session(
            state=record.state,
            reason=record.reason,
            since=self._ports.clock.monotonic(),
            deadline=self._ports.clock.monotonic() + left if record.state is SessionState.BANNED else 0.0,
            paired=bool(record.device),
        )

    async def _carry_out(self, effect: machine.Effect) -> None:
        match effect:
            case machine.Effect.START_HOST:
                await self._start_host()
            case machine.Effect.STOP_HOST:
                await self._end_host(gently=True)
            case machine.Effect.KILL_HOST:
                await self._end_host(gently=False)
            case machine.Effect.QUARANTINE_KEYS:
                await asyncio.to_thread(self._ports.devices.quarantine, self.account, self.slot, self.reason)

    async def _start_host(self) -> None:
        await self._end_host(gently=False)
        self.generation += 1
        self.starts += 1
        self._logins = self._logins.add(self._ports.clock.monotonic(), _HOUR)
        generation = self.generation
        life = self._life = Lifetime(self.account.id, self.slot, generation, self._ports.clock.monotonic())
        listener = DeviceListener(lambda signal: self._hear(life, signal), lambda event: self._receive(life, event))
        timings = self.vitals.begin()
        try:
            await self.import_leftover()
            spec = DeviceSpec(self.account, self.slot, generation, timings=timings, receipts=self.hears_receipts())
            self._device = await self._ports.devices.start(spec, listener)
            self.host_started_at = self._ports.clock.now()
        except DataUnusable as error:
            self._news.put_nowait(_News(generation, signals.LoggedOut(str(error), on_connect=False)))
        except TandemError as error:
            self._news.put_nowait(_News(generation, machine.StartFailed(str(error))))

    def _hear(self, life: Lifetime, signal: signals.Signal) -> None:
        life.heard(signal)
        if self._leaving and life.generation == self.generation and isinstance(signal, _ENDINGS):
            self.tell(machine.Removed())
        elif life.generation != self.generation or not self.vitals.takes(signal):
            self._news.put_nowait(_News(life.generation, signal))

    def _receive(self, life: Lifetime, event: RawEvent) -> None:
        life.received += 1
        self._ports.receive(event)

    def sent(self, milliseconds: float) -> None:
        """The server acknowledged a message of the running host after so long."""
        if self._life is not None:
            self._life.sent += 1
        self.vitals.acknowledged(milliseconds)

    def _life_over(self, why: str) -> None:
        if self._life is not None:
            self._life.end(self._ports.clock.monotonic(), why)
            self._life = None

    async def _end_host(self, *, gently: bool) -> None:
        self.vitals.end()
        device, self._device, self.host_started_at = self._device, None, None
        if device is None:
            return
        self._life_over(self.reason or "it was stopped")
        self.generation += 1  # whatever it still says is of the past
        if not gently:
            device.kill()
        await device.stop()

    def publish(self, event: EventType, sentence: str, reason: str = "", **data: object) -> None:
        self._ports.publish(
            event,
            sentence,
            account=self.account.id,
            slot=self.slot,
            generation=self.generation,
            reason=reason,
            state=str(self.state),
            **data,
        )


def _event_of(before: SessionState, after: SessionState) -> EventType:
    if before.connected != after.connected:
        return EventType.SESSION_ONLINE if after.connected else EventType.SESSION_OFFLINE
    return EventType.SESSION_STATE
