"""The fleet's actor side: every session asks here before it logs in, and tells here how it fares.

All of it is in memory and returns at once; nobody's control way waits here. What to do is ``policy.fleet``'s.
"""

from __future__ import annotations

from collections.abc import Callable

from tandem.clock import Clock
from tandem.model.event import EventType, Publish
from tandem.model.states import SessionState as S
from tandem.policy import fleet as policy
from tandem.policy.fleet import Admission, Cause, FleetLimits

_LOGGING_IN = frozenset({S.CONNECTING, S.SYNCING, S.RECONNECTING})


class Fleet:
    """``linked`` tells how many sessions are linked; ``released`` is called when a hold has ended. It must not block.

    A session is named by a string of its own; which one is the supervisor's business.
    """

    def __init__(
        self,
        limits: FleetLimits,
        clock: Clock,
        publish: Publish,
        linked: Callable[[], int],
        released: Callable[[], None],
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._publish = publish
        self._linked = linked
        self._released = released
        self._fleet = policy.Fleet()

    @property
    def held(self) -> str:
        """Why all logins are held, in words; empty if they are not."""
        return self._fleet.hold.reason if self._fleet.hold else ""

    def admit(self, session: str) -> Admission:
        """Ask for a login. A yes is spent with this call."""
        self._fleet, admission = policy.admit(self._fleet, session, self._clock.monotonic(), self._limits)
        return admission

    def charge(self, session: str) -> None:
        """Count a login that nobody may delay."""
        self._fleet = policy.charge(self._fleet, session, self._clock.monotonic(), self._limits)

    def moved(self, session: str, before: S, state: S, cause: Cause | None) -> None:
        """Take note of what became of a session."""
        held, now = self._fleet.hold, self._clock.monotonic()
        if state is S.ONLINE and not before.connected:
            self._fleet = policy.online(self._fleet, session, now)
        elif cause is not None:
            linked = self._linked()
            self._fleet = policy.failed(self._fleet, session, cause, now, linked=linked, limits=self._limits)
        elif state not in _LOGGING_IN:
            self._fleet = policy.left(self._fleet, session, now, self._limits)
        self._tell(held, now)

    def forget(self, session: str) -> None:
        """Drop a session that is no more."""
        self._fleet = policy.forget(self._fleet, session, self._clock.monotonic(), self._limits)

    def _tell(self, before: policy.Hold | None, now: float) -> None:
        hold = self._fleet.hold
        if hold is not None and before is None:
            sentence = f"all logins are held: {hold.reason}; one session at a time tries until it comes online"
            self._publish(EventType.FLEET_HELD, sentence, reason=hold.reason, cause=hold.cause.name.lower())
        if hold is None and before is not None:
            lasted = now - before.since
            sentence = f"logins are free again after {lasted:.0f} s: a session came online at try {before.tries + 1}"
            self._publish(EventType.FLEET_RELEASED, sentence, reason=before.reason, seconds=round(lasted, 1))
            self._released()
