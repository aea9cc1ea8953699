"""The self-probe: finds slots that are deaf although nobody can tell, because both are, or because nobody writes.

Now and then one slot sends a message that nobody sees to the account's own number, and the other must get its echo;
then the other way round. A slot that misses two in a row is deaf.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Protocol

from tandem.clock import Clock, Random
from tandem.errors import NotOnline
from tandem.model.ids import ChatId, Number
from tandem.model.outbox import Content, SendOutcome, SendResult
from tandem.model.self_probe import Probe, probe_of
from tandem.model.states import Slot

_TRIES = 2
_ECHO_SECONDS = 5.0
_SEND_SECONDS = 10.0
_AGAIN_SECONDS = 60.0
_LEAST_JITTER = 60.0


class Account(Protocol):
    """The pair whose slots are probed."""

    @property
    def active(self) -> Slot: ...

    @property
    def number(self) -> Number: ...

    def both_online(self) -> bool: ...

    async def send(self, slot: Slot, chat: ChatId, content: Content, secret: bytes, timeout: float) -> SendResult: ...

    def deaf(self, slot: Slot, reason: str) -> None:
        """A slot does not hear."""


class Prober:
    """One an account. ``interval`` in seconds is the least between two rounds; ``run`` is its task."""

    def __init__(self, account: Account, interval: float, clock: Clock, random: Random) -> None:
        self.counts: Counter[str] = Counter()
        """Probes ``sent``, ``echoed`` and ``missed`` since the start."""
        self._account = account
        self._interval = interval
        self._clock = clock
        self._random = random
        self._awaited: dict[bytes, tuple[Slot, asyncio.Event]] = {}

    async def run(self) -> None:
        """Probe both slots, again and again, until cancelled."""
        while True:
            await self._clock.sleep(self._interval + self._random.uniform(0.0, max(_LEAST_JITTER, self._interval / 4)))
            active = self._account.active
            await self._probe(active, active.partner)
            await self._probe(active.partner, active)

    def echoed(self, slot: Slot, secret: bytes) -> None:
        """A slot received a probe. One that nobody waits for any more is of the past."""
        listener, heard = self._awaited.get(secret, (None, None))
        if listener is slot and heard is not None:
            heard.set()

    async def _probe(self, sender: Slot, listener: Slot) -> None:
        """See whether a slot hears what its partner sends, as soon as both are online."""
        if not await self._wait_for_both():
            return
        for _ in range(_TRIES):
            heard = await self._try(sender, listener)
            if heard is None or heard:
                return
        reason = f"it has received neither of {_TRIES} self-probes within {_ECHO_SECONDS:g} s"
        self._account.deaf(listener, reason)

    async def _wait_for_both(self) -> bool:
        deadline = self._clock.monotonic() + _AGAIN_SECONDS
        while not self._account.both_online():
            if self._clock.monotonic() > deadline:
                return False
            await self._clock.sleep(1.0)
        return True

    async def _try(self, sender: Slot, listener: Slot) -> bool | None:
        """Whether the echo came; None if nothing can be said, because the probe was not acknowledged."""
        probe = probe_of(self._account.number, self._random.token(), self._clock.now())
        heard = asyncio.Event()
        self._awaited[probe.secret] = (listener, heard)
        try:
            if not await self._sent(sender, probe):
                return None
            self.counts["sent"] += 1
            async with asyncio.timeout(_ECHO_SECONDS):
                await heard.wait()
        except TimeoutError:
            self.counts["missed"] += 1
            return False if self._account.both_online() else None
        else:
            self.counts["echoed"] += 1
            return True
        finally:
            del self._awaited[probe.secret]

    async def _sent(self, sender: Slot, probe: Probe) -> bool:
        try:
            result = await self._account.send(sender, probe.chat, probe.content, probe.secret, _SEND_SECONDS)
        except NotOnline:
            return False
        return result.outcome is SendOutcome.ACCEPTED
