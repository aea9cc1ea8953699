"""This instance's own heartbeats: it writes them one after the other, and knows what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from tandem.clock import Clock
from tandem.cluster.port import LostRace, Meeting, Put, SeenInstance, Version
from tandem.model.cluster import Instance, InstanceId
from tandem.policy.lease import Limits, end_of_right

_REMEMBERED = 50

Body = Callable[[int, int, float], Instance]
"""Makes the heartbeat of a term, its number in it, and the seconds until the next."""


class Term:
    """``until`` (monotonic seconds) is the end of the right that the last acknowledged heartbeat gives.

    One call at a time. A heartbeat whose answer is lost may have been written: the next one then fails on its
    condition, and what was written is read back; it counts from when it was sent, which its number tells.
    """

    def __init__(self, me: InstanceId, origin: str, meeting: Meeting, clock: Clock, limits: Limits) -> None:
        self.number = 0
        self.until = -inf
        self.sent_at = -inf
        self.written_at = -inf
        """When the last heartbeat was sent that is known to stand (monotonic seconds)."""
        self.begun = False
        self.contested = False
        """Whether another process may be running on this data directory, or on a copy of it."""
        self.last: SeenInstance | None = None
        """The last heartbeat that is known to stand."""
        self._me = me
        self._origin = origin
        self._meeting = meeting
        self._clock = clock
        self._limits = limits
        self._version: Version | None = None
        self._beat = 0
        self._sent: dict[int, tuple[float, Instance]] = {}

    @property
    def timeout(self) -> float:
        """Seconds that one call may take: several have to fit before the end of a right."""
        return max(0.5, self._limits.ttl / 5)

    async def begin(self, body: Body) -> str:
        """Begin the next term. Returns why it has to wait, empty once it has begun. Raises LostRace, StoreUnavailable.

        A heartbeat that another process may still be writing is somebody else's: the one before this process, when the
        lock on the data directory does not prove that it is dead, or a copy of the directory.
        """
        seen = (await self._meeting.read([self._me], [], self.timeout)).instances.get(self._me)
        if seen is not None and not seen.instance.deposed and seen.instance.origin != self._origin:
            if seen.version != self._version:
                self._version, self.sent_at = seen.version, self._clock.monotonic()
            left = self.sent_at + self._limits.ttl - self._clock.monotonic()
            if left > 0:
                self.contested = True
                return f"another process has run on this data directory, or runs on a copy: {left:.0f} s to wait"
        self._version = seen.version if seen else None
        self.number = max(self.number, seen.instance.term if seen else 0) + 1
        self._beat = 0
        self._sent.clear()
        await self.beat(body, self._limits.idle)
        self.begun, self.contested = True, False
        return ""

    async def beat(self, body: Body, every: float) -> None:
        """Write the next heartbeat. Raises LostRace if the term is over, StoreUnavailable if nobody knows."""
        number, put = self.put(body, every)
        try:
            [version] = await self._meeting.commit([put], self.timeout)
        except LostRace:
            await self.read_back()
        else:
            self.acknowledged(number, version)

    def put(self, body: Body, every: float) -> tuple[int, Put]:
        """Return the next heartbeat for a commit, and its number, to be told to ``acknowledged``."""
        self._beat += 1
        instance, self.sent_at = body(self.number, self._beat, every), self._clock.monotonic()
        self._sent[self._beat] = (self.sent_at, instance)
        if len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return self._beat, Put(instance, self._version)

    def acknowledged(self, beat: int, version: Version) -> None:
        """This heartbeat stands, in this version."""
        self._version = version
        if beat in self._sent:
            sent_at, instance = self._sent[beat]
            self.last = SeenInstance(instance, version)
            self.written_at = sent_at
            self.until = max(self.until, end_of_right(sent_at, self._limits))

    async def read_back(self) -> None:
        """Learn which of our heartbeats was the last to be written. Raises LostRace if the term is over."""
        seen = (await self._meeting.read([self._me], [], self.timeout)).instances.get(self._me)
        if seen is None or self.ended_by(seen.instance):
            self.over()
            raise LostRace(
                "another instance has ended this term" if seen else "somebody deleted this instance's document"
            )
        self.acknowledged(seen.instance.beat, seen.version)

    def over(self) -> None:
        """The term is over: whatever was held in it is void."""
        self.until = -inf
        self.begun = False

    def ended_by(self, instance: Instance) -> bool:
        """Whether this document of this instance shows that its term is over, by whoever wrote it."""
        newer = instance.term > self.number
        return newer or (instance.term == self.number and (instance.deposed or instance.origin != self._origin))
