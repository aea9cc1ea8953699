"""A slot's vital signs: its pings, what WhatsApp says of its pace, and what follows from them.

Everything a host says passes here first. Pings and their like are weighed here and reach the session machine only when
they mean something: a ping that went unanswered is told to it only when the session does not answer a question either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from tandem.clock import Clock
from tandem.errors import TandemError
from tandem.model import signals
from tandem.model.event import EventType
from tandem.model.signals import Signal
from tandem.model.states import SessionState, Slot
from tandem.policy import keepalive, quality
from tandem.policy import session_machine as machine
from tandem.whatsapp.port import Device

_COMMAND_SECONDS = 5.0
_QUESTIONS = 2


@dataclass(frozen=True, slots=True)
class VitalLimits:
    """``confirm``: seconds in which a session must give a sign of life after a ping went unanswered.

    ``patience``: seconds in which one that did is not asked again because a message is missing. ``self_probe``: least
    seconds between two rounds of self-probes, 0 for none.
    """

    keep_alive: keepalive.Limits = field(default_factory=keepalive.Limits)
    quality: quality.Limits = field(default_factory=quality.Limits)
    confirm: float = 0.8
    patience: float = 30.0
    self_probe: float = 0.0


class Subject(Protocol):
    """The session whose vital signs these are."""

    @property
    def slot(self) -> Slot: ...

    @property
    def state(self) -> SessionState: ...

    @property
    def device(self) -> Device:
        """Raise NotOnline if there is none."""
        ...

    def tell(self, command: machine.Input) -> None: ...

    def publish(self, event: EventType, sentence: str, reason: str = "", **data: object) -> None: ...


class Vitals:
    """One a slot, for as long as the slot lives; hosts come and go."""

    def __init__(self, subject: Subject, limits: VitalLimits, clock: Clock) -> None:
        self.ping_ms: float | None = None
        self.keep_alive: float | None = None
        """The longest wait between two pings as it reads back from the library, None where it cannot be set."""
        self.condemn: Callable[[str], bool] = lambda _reason: False
        """Starts the session afresh, for a reason in words, after the role has moved. False: not now."""
        self.quality = quality.Quality(limits.quality)
        self._subject = subject
        self._limits = limits
        self._clock = clock
        self._wanted = keepalive.start(limits.keep_alive)
        self._sign: asyncio.Future[bool] | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._said_fixed = False
        self._asked_at = float("-inf")
        self._heard_at = clock.monotonic()

    def begin(self) -> tuple[float, ...]:
        """A host is about to start: forget the old one's signs. Returns the timings that it is to have."""
        self.end()
        self._heard_at = self._clock.monotonic()
        self.quality.restarted()
        self._wanted = keepalive.cooled(self._wanted, self._clock.monotonic(), self._limits.keep_alive)
        return keepalive.timings(self._wanted.interval, self._limits.keep_alive)

    def end(self) -> None:
        """The host is gone: nothing is asked any more."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self.keep_alive = None

    def takes(self, signal: Signal) -> bool:
        """Weigh what the host says. True: it is settled here, the session machine need not hear of it."""
        match signal:
            case signals.PingTimed(milliseconds):
                self._answered(milliseconds)
                return self._subject.state is SessionState.ONLINE
            case signals.KeepAliveTimeout():
                self.quality.ping_lost()
                self._start("confirm", self._confirm(signal))
                self._judge()
                return True
            case signals.RateLimited(detail, answered_send):
                self._slow_down(detail, tell=not answered_send)
                return True
            case signals.Started(keep_alive=longest_wait):
                self._found(longest_wait)
        return False

    @property
    def silence(self) -> float:
        """Seconds since the last sign of life: no fault can have lasted longer unnoticed."""
        return self._clock.monotonic() - self._heard_at

    def alive(self) -> None:
        """The session gave a sign of life: whatever it was asked, it has answered."""
        self._heard_at = self._clock.monotonic()
        if self._sign is not None and not self._sign.done():
            self._sign.set_result(True)

    def _answered(self, milliseconds: float) -> None:
        self.ping_ms = milliseconds
        self.alive()
        if milliseconds <= self._limits.keep_alive.answer * 1000:
            self._wanted = keepalive.answered(self._wanted, self._clock.monotonic(), self._limits.keep_alive)
            self._adjust()
            self.quality.pinged(milliseconds)
            self._judge()

    def acknowledged(self, milliseconds: float) -> None:
        """The server acknowledged a send after so long."""
        self.alive()
        self.quality.acknowledged(milliseconds)
        self._judge()

    def hears(self, unread: float) -> None:
        """A message came; ``unread`` is the part of the last ones that nobody could read."""
        self.alive()
        self.quality.hears()
        self.quality.unread(unread)

    def suspect(self, reason: str) -> None:
        """The partner has a message that this slot has not: see whether it answers at all."""
        now = self._clock.monotonic()
        if self._subject.state is SessionState.ONLINE and now - self._asked_at >= self._limits.patience:
            self._asked_at = now
            self._start("confirm", self._interrogate(reason))

    def deaf(self, reason: str) -> None:
        """The partner receives, this slot does not."""
        self.quality.deaf(reason)
        self._judge()

    def _judge(self) -> None:
        now = self._clock.monotonic()
        if (reason := self.quality.verdict(now)) and self.condemn(reason):
            self.quality.condemned(now)

    async def _interrogate(self, reason: str) -> None:
        if not await self._sign_of_life():
            self.condemn(f"{reason}, and it does not answer")

    async def _confirm(self, missed: signals.KeepAliveTimeout) -> None:
        if not await self._sign_of_life():
            self._subject.tell(missed)

    async def _sign_of_life(self) -> bool:
        """Ask, and ask once more: a single lost answer is no fault. The ping's own answer, come late, counts too."""
        self._sign = asyncio.get_running_loop().create_future()
        questions: list[asyncio.Task[None]] = []
        try:
            for _ in range(_QUESTIONS):
                questions.append(asyncio.create_task(self._ask()))
                answered, _ = await asyncio.wait({self._sign}, timeout=self._limits.confirm / _QUESTIONS)
                if answered:
                    return True
            return False
        finally:
            for question in questions:
                question.cancel()

    async def _ask(self) -> None:
        with suppress(TandemError):
            await self._subject.device.probe(self._limits.confirm)
            self.alive()

    def _slow_down(self, detail: str, *, tell: bool) -> None:
        """Ask less often; ``tell`` unless somebody else tells of the same refusal: one is to be counted once."""
        before = self._wanted
        self._wanted = keepalive.rate_limited(before, self._clock.monotonic(), self._limits.keep_alive)
        if self._wanted == before:
            return
        interval = self._wanted.interval
        sentence = f"{detail}: the {self._subject.slot} is asked every {interval:g} s from now on"
        if tell:
            self._subject.publish(EventType.RATE_LIMIT_DETECTED, sentence, detail, interval=interval)
        self._adjust()

    def _found(self, longest_wait: float | None) -> None:
        """Note what the host's library read back; say once if it cannot be set."""
        self.keep_alive = longest_wait
        if longest_wait is None and not self._said_fixed:
            self._said_fixed = True
            sentence = "the library's keep-alive timings were not found: it asks every 20 to 30 s and waits 10 s"
            self._subject.publish(EventType.KEEP_ALIVE_FIXED, sentence)

    def _adjust(self) -> None:
        if self.keep_alive is not None and self.keep_alive != self._wanted.interval:
            self._start("adjust", self._set_interval())

    async def _set_interval(self) -> None:
        with suppress(TandemError):  # the next answer tries again
            wanted = keepalive.timings(self._wanted.interval, self._limits.keep_alive)
            self.keep_alive = await self._subject.device.keep_alive(wanted, _COMMAND_SECONDS)

    def _start(self, name: str, work: object) -> None:
        """Run something beside the session, one of its name at a time."""
        running = self._tasks.get(name)
        if running is not None and not running.done():
            work.close()  # type: ignore[attr-defined]  # a coroutine that is not needed
            return
        self._tasks[name] = asyncio.create_task(work, name=f"{name} {self._subject.slot}")  # type: ignore[arg-type]
