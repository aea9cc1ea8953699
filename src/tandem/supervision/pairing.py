"""One slot's pairing: the actor around the pairing machine.

The machine moves at once, whoever speaks to it; what it wants done waits in line and is done by ``run``, one thing at a
time. The pairing process belongs to this actor alone and is gone before the slot's session starts its own: a slot that
is linked is out of this actor's reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tandem.clock import Clock
from tandem.errors import Conflict, DataUnusable, TandemError, TooSoon
from tandem.model import signals
from tandem.model.account import Account
from tandem.model.event import EventType, Publish
from tandem.model.ids import Jid, same_number
from tandem.model.reason import NOTHING, PAIR_AGAIN, Reason
from tandem.model.states import Slot
from tandem.model.views import PairingView, PairMethod
from tandem.policy import pairing as machine
from tandem.policy.pairing import Answer, Effect, Phase
from tandem.whatsapp.port import Device, DeviceFactory, DeviceListener, DeviceSpec
from tandem.whatsapp.reasons import QR_RAN_OUT, pairing_refusal

_CODE_SECONDS = 150.0  # shorter than a process lives: its texts run out after 160 s


@dataclass(frozen=True, slots=True)
class PairingPorts:
    """What a pairing needs of the rest.

    ``linked`` is called when the slot's key store holds this account's device; ``refusal`` says why a slot cannot be
    linked now, empty if it can.
    """

    devices: DeviceFactory
    publish: Publish
    clock: Clock
    linked: Callable[[Slot, str, PairMethod], None]
    refusal: Callable[[Slot], str]
    import_leftover: Callable[[], Awaitable[None]]


class Pairing:
    """Links a device to a slot. ``run`` is its one task."""

    def __init__(self, account: Account, slot: Slot, limits: machine.Limits, ports: PairingPorts) -> None:
        self._account = account
        self._slot = slot
        self._limits = limits
        self._ports = ports
        self._machine = machine.Pairing()
        self._device: Device | None = None
        self._process = 0
        self._asking: asyncio.Task[None] | None = None
        self._last_words = Reason("ended", "the pairing process ended", PAIR_AGAIN)
        self._found = ""
        self._work: asyncio.Queue[Effect | None] = asyncio.Queue()

    @property
    def view(self) -> PairingView | None:
        """What is shown of a pairing under way; None if there is none."""
        now = self._machine
        if not now.under_way:
            return None
        wall = self._ports.clock.now() - self._ports.clock.monotonic()
        expires = now.text_expires + wall if now.text else 0.0
        return PairingView(self._account.id, self._slot, now.method, now.text, expires, now.ends + wall)

    @property
    def failure(self) -> Reason | None:
        """Why the last pairing failed; None when it did not, or another one is under way."""
        return None if self._machine.under_way else self._machine.failure

    def begin(self, method: PairMethod, *, by_itself: bool = False, why: str = "") -> tuple[PairingView, bool]:
        """Start linking, or return the pairing under way and False. Raises Conflict, TooSoon."""
        if refusal := self._ports.refusal(self._slot):
            raise Conflict(refusal)
        now = self._ports.clock.monotonic()
        reply = machine.begin(self._machine, method, now, self._limits, by_itself=by_itself)
        if reply.answer is Answer.TOO_SOON:
            raise TooSoon(f"the {self._slot}'s pairing was started a moment ago", reply.wait)
        started = reply.answer is Answer.STARTED
        if started:
            self._publish(EventType.PAIRING_STARTED, reply.decision.sentence + why, method=str(method))
        self._take(reply.decision)
        view = self.view
        assert view is not None  # noqa: S101 - under way in every branch above
        return view, started

    def cancel(self) -> bool:
        """End a pairing under way, keeping what the phone may have linked meanwhile. Returns whether there was one."""
        under_way = self._machine.under_way
        self._decide(machine.Cancel())
        return under_way

    async def run(self) -> None:
        """Carry out what the machine wants until cancelled; then the process is ended."""
        try:
            while True:
                await self._step()
        finally:
            await self._end_process()
            failure = machine.BROKEN if self._machine.under_way else self._machine.failure
            self._machine, self._work = machine.Pairing(failure=failure), asyncio.Queue()

    async def _step(self) -> None:
        deadline = self._machine.deadline if self._machine.phase not in {Phase.IDLE, Phase.CLOSING} else None
        left = None if deadline is None else max(0.0, deadline - self._ports.clock.monotonic())
        try:
            async with asyncio.timeout(left):
                effect = await self._work.get()
        except TimeoutError:
            if self._machine.deadline == deadline:
                self._decide(machine.Expired())
            return
        if effect is not None:
            await self._carry_out(effect)

    def _decide(self, event: machine.Input) -> None:
        self._take(machine.decide(self._machine, event, self._ports.clock.monotonic(), self._limits))

    def _take(self, decision: machine.Decision) -> None:
        before, self._machine = self._machine, decision.pairing
        self._tell(before, decision)
        if Effect.LINK in decision.effects:  # at once: nobody may see a slot that is neither pairing nor linked
            self._ports.linked(self._slot, self._found, decision.pairing.method)
        for effect in (*decision.effects, None):  # the last only makes ``run`` look at the deadline again
            self._work.put_nowait(effect)

    def _tell(self, before: machine.Pairing, decision: machine.Decision) -> None:
        after = decision.pairing
        if Effect.LINK in decision.effects:
            self._publish(EventType.PAIRING_SUCCEEDED, f"the {self._slot} is linked")
        elif before.under_way and not after.under_way and after.failure:
            reason = after.failure
            event = EventType.PAIRING_CANCELLED if reason == machine.CANCELLED else EventType.PAIRING_FAILED
            sentence = f"{self._slot}: {decision.sentence}; next: {reason.next_step}"
            self._publish(event, sentence, reason.words, cause=reason.key, next_step=reason.next_step)
        elif before.under_way and decision.sentence:
            self._publish(EventType.PAIRING_STEP, f"{self._slot}: {decision.sentence}")

    def _hear(self, process: int, signal: signals.Signal) -> None:
        if process != self._process:
            return
        match signal:
            case signals.QrShown(text, lasts) if self._machine.method is PairMethod.QR:
                self._decide(machine.Shown(text, lasts))
            case signals.QrShown() if self._asking is None:
                self._asking = asyncio.create_task(self._ask_for_code(), name=f"pairing code {self._slot}")
            case signals.PairSucceeded(device):
                self._decide(machine.Scanned(self._ours(device)))
            case signals.Connected():
                self._decide(machine.LoggedIn())
            case signals.HostEnded(reason=words):
                self._last_words = Reason("process_ended", words, PAIR_AGAIN)
                self._work.put_nowait(Effect.END_PROCESS)
            case _:
                refusal = pairing_refusal(signal)
                if refusal is not None and refusal != QR_RAN_OUT:
                    self._decide(machine.Refused(refusal))

    async def _ask_for_code(self) -> None:
        device = self._device
        if device is None:
            return
        try:
            code = await device.pair_by_code(self._account.number, self._limits.first_text)
        except TandemError as error:
            self._decide(machine.Refused(Reason("code_refused", str(error), PAIR_AGAIN)))
            return
        if device is self._device:
            self._decide(machine.Shown(code, _CODE_SECONDS))

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Effect.START_PROCESS if self._machine.phase is Phase.STARTING:
                await self._start_process()
            case Effect.END_PROCESS:
                await self._end_process()
                await self._look(self._last_words)
            case Effect.QUARANTINE:
                await asyncio.to_thread(
                    self._ports.devices.quarantine, self._account, self._slot, machine.WRONG_PHONE.words, journal=True
                )

    async def _start_process(self) -> None:
        await self._end_process()
        self._process += 1
        process = self._process
        listener = DeviceListener(lambda signal: self._hear(process, signal), _leave_in_the_journal)
        try:
            await self._ports.import_leftover()
            if await asyncio.to_thread(self._ports.devices.paired_device, self._account, self._slot):
                await self._look(self._last_words)
                return
            spec = DeviceSpec(self._account, self._slot, process, pairing=True)
            self._device = await self._ports.devices.start(spec, listener)
        except DataUnusable as error:  # no device is linked by these keys: aside with them
            await asyncio.to_thread(self._ports.devices.quarantine, self._account, self._slot, str(error))
            self._decide(machine.Ended(Reason("keys_unusable", str(error), PAIR_AGAIN)))
        except TandemError as error:
            self._decide(machine.Ended(Reason("no_process", str(error), NOTHING)))

    async def _look(self, reason: Reason) -> None:
        """Say how it stands with the key store, now that no process runs."""
        try:
            device = await asyncio.to_thread(self._ports.devices.paired_device, self._account, self._slot)
        except DataUnusable as error:
            await asyncio.to_thread(self._ports.devices.quarantine, self._account, self._slot, str(error))
            device, reason = "", Reason("keys_unusable", str(error), PAIR_AGAIN)
        self._found = device
        self._decide(machine.Ended(reason, device, bool(device) and self._ours(device)))

    async def _end_process(self) -> None:
        device, self._device = self._device, None
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
        if device is not None:
            self._process += 1  # whatever it still says is of the past
            await device.stop()

    def _ours(self, device: str) -> bool:
        return same_number(self._account.number, Jid.parse(device).user)

    def _publish(self, event: EventType, sentence: str, reason: str = "", **texts: str) -> None:
        data: dict[str, Any] = dict(texts)
        self._ports.publish(event, sentence, account=self._account.id, slot=self._slot, reason=reason, **data)


def _leave_in_the_journal(_event: object) -> None:
    """The session imports it when it starts; by then it is known whose it is."""
