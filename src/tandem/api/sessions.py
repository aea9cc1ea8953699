"""Dashboard sessions: a random id in a cookie, everything else kept here. They end with the process."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from tandem.clock import Clock, Random

LIFETIME = 12 * 3600.0  # seconds without a request
_MOST = 1000


@dataclass(slots=True)
class Session:
    """``admin`` or read only; ``csrf`` must come with every change; ``expires`` on the monotonic clock."""

    admin: bool
    csrf: str
    expires: float


class Sessions:
    """Bounded; the one that was not used for longest goes first."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def open(self, *, admin: bool) -> str:
        """Return the id of a new session."""
        session_id = self._random.token() + self._random.token()
        self._sessions[session_id] = Session(admin, self._random.token(), self._clock.monotonic() + LIFETIME)
        while len(self._sessions) > _MOST:
            self._sessions.popitem(last=False)
        return session_id

    def get(self, session_id: str) -> Session | None:
        """Return a live session and prolong it."""
        session = self._sessions.get(session_id)
        now = self._clock.monotonic()
        if session is None or session.expires < now:
            self._sessions.pop(session_id, None)
            return None
        session.expires = now + LIFETIME
        self._sessions.move_to_end(session_id)
        return session

    def close(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)
