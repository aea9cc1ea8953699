"""A pair's ears: notes which slot received what, and tells the vitals of the one that does not hear its partner's news.

Nothing runs while both hear: one timer a slot is set when a message is missing, and looks when it may mean something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from tandem.clock import Clock
from tandem.model.states import Slot
from tandem.policy.divergence import Divergence, Verdict
from tandem.supervision.vitals import Vitals


class Hearing:
    """One an account. ``behind`` says whether events of a slot are here that were not looked at yet."""

    def __init__(self, vitals: Mapping[Slot, Vitals], behind: Callable[[Slot], bool], clock: Clock) -> None:
        self._vitals = vitals
        self._behind = behind
        self._clock = clock
        self._divergence = Divergence()
        self._timers: dict[Slot, asyncio.TimerHandle] = {}

    def listen(self, slot: Slot, *, listening: bool) -> None:
        """Note whether a slot is connected."""
        self._divergence.listen(slot, listening=listening)

    def heard(self, slot: Slot, message: str, sender: str, *, readable: bool) -> None:
        """Note a copy of a message that somebody else wrote."""
        now = self._clock.monotonic()
        self._divergence.heard(slot, message, sender, now, readable=readable)
        self._vitals[slot].hears(self._divergence.unread(slot, now))
        if slot.partner not in self._timers:
            self._look(slot.partner)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _look(self, slot: Slot) -> None:
        self._timers.pop(slot, None)
        now = self._clock.monotonic()
        finding = self._divergence.look(slot, now)
        if finding.verdict is not Verdict.HEARS and self._behind(slot):
            return  # its copies may be among them: each of them looks again
        if finding.verdict is Verdict.SUSPECT:
            self._vitals[slot].suspect(finding.reason)
        elif finding.verdict is Verdict.DEAF:
            self._vitals[slot].deaf(finding.reason)
            self._divergence.excuse(slot)
        if finding.due is not None:
            delay = max(0.0, finding.due - now)
            self._timers[slot] = asyncio.get_running_loop().call_later(delay, self._look, slot)
