"""How good a session is, 0 to 1, and what it lacks: from answers, never from silence.

Each signal has a cost: pings that were lost or slow against the session's own usual round trip, sends that were
acknowledged slowly, messages nobody could read, messages that only the partner received. What is left of 1 is the
quality. Bad in enough of the last samples, the session is to be started afresh; not too soon again, not too often.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tandem.policy.intensity import Window


@dataclass(frozen=True, slots=True)
class Limits:
    """Costs of one sample each; ``slow_ping`` and ``slow_ack`` in milliseconds are slow however slow is usual.

    A sample is bad below ``bad``; a session that was bad is so until above ``good``. ``cool_down`` and ``period`` in
    seconds; ``budget`` restarts are allowed within the period.
    """

    lost: float = 0.2
    slow: float = 0.15
    late_ack: float = 0.12
    unread: float = 0.3
    deaf: float = 0.7
    slow_ping: float = 500.0
    slow_ack: float = 1000.0
    times_usual: float = 4.0
    bad: float = 0.5
    good: float = 0.7
    needed: int = 3
    cool_down: float = 600.0
    budget: int = 3
    period: float = 3600.0


_PINGS = 6
_ACKS = 5
_SAMPLES = 5
_YOUNG, _SMOOTHING, _LONG_RUN = 5, 64, 256


@dataclass(slots=True)
class Usual:
    """A session's own usual duration, learned slowly; ``limit`` is from when on one is slow. In milliseconds."""

    least: float
    times: float
    mean: float = 0.0
    count: int = 0
    limit: float = 0.0

    def learn(self, milliseconds: float) -> bool:
        """Note one and return whether it was slow. What is slow becomes usual too, but only in the long run."""
        slow = self.count >= _YOUNG and milliseconds > self.limit
        if not slow and self.count < _SMOOTHING:
            self.count += 1
        self.mean += (milliseconds - self.mean) / (_LONG_RUN if slow else self.count)
        self.limit = max(self.least, self.times * self.mean)
        return slow


@dataclass(slots=True)
class Last:
    """The last few outcomes, the newest in the lowest bit; a set bit is a bad one."""

    size: int
    bits: int = 0

    def add(self, *, bad: bool) -> None:
        self.bits = (self.bits << 1 | bad) & ((1 << self.size) - 1)

    @property
    def bad(self) -> int:
        return self.bits.bit_count()


@dataclass(frozen=True, slots=True)
class Cost:
    """What one signal takes from the quality, and why."""

    points: float
    words: str


@dataclass(slots=True)
class Quality:
    """One a slot. What is usual outlives the host, the rest does not: call ``restarted`` for a new one."""

    limits: Limits = field(default_factory=Limits)
    _ping: Usual = field(init=False)
    _ack: Usual = field(init=False)
    _lost: Last = field(default_factory=lambda: Last(_PINGS))
    _slow: Last = field(default_factory=lambda: Last(_PINGS))
    _late: Last = field(default_factory=lambda: Last(_ACKS))
    _samples: Last = field(default_factory=lambda: Last(_SAMPLES))
    _unread: float = 0.0
    _deaf: str = ""
    _known: bool = False
    _restarts: Window = field(default_factory=Window)
    _rested_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._ping = Usual(self.limits.slow_ping, self.limits.times_usual)
        self._ack = Usual(self.limits.slow_ack, self.limits.times_usual)

    def restarted(self) -> None:
        """A new host: nothing is known of it yet."""
        for last in (self._lost, self._slow, self._late, self._samples):
            last.bits = 0
        self._unread, self._deaf, self._known = 0.0, "", False

    def pinged(self, milliseconds: float) -> None:
        """Note a ping that was answered in time."""
        self._known = True
        slow = self._ping.learn(milliseconds)
        if slow or self._lost.bits or self._slow.bits or self._late.bits or self._samples.bits:  # else nothing changes
            self._lost.add(bad=False)
            self._slow.add(bad=slow)
            self._late.add(bad=False)  # an answered ping is an acknowledgement too: nobody else may send for long
            self._sample()

    def ping_lost(self) -> None:
        self._known = True
        self._lost.add(bad=True)
        self._slow.add(bad=False)
        self._sample()

    def acknowledged(self, milliseconds: float) -> None:
        """Note how long the server took to acknowledge a send."""
        self._known = True
        late = self._ack.learn(milliseconds)
        if late or self._late.bits or self._samples.bits:
            self._late.add(bad=late)
            self._sample()

    def unread(self, part: float) -> None:
        """Note which part of the last messages nobody could read, 0 to 1."""
        self._unread = part

    def deaf(self, reason: str) -> None:
        """Note that only the partner receives, and why that is said. Several messages: as good as so many samples."""
        self._known, self._deaf = True, reason
        self._samples.bits = (1 << _SAMPLES) - 1

    @property
    def is_deaf(self) -> bool:
        """Whether only the partner receives."""
        return bool(self._deaf)

    def hears(self) -> None:
        self._deaf = ""

    @property
    def score(self) -> float | None:
        """None while nothing is known."""
        if not self._known:
            return None
        return max(0.0, round(1.0 - sum(cost.points for cost in self._costs()), 3))

    @property
    def detail(self) -> str:
        """What the quality lacks, in words; empty if nothing."""
        return "; ".join(f"{cost.words} (-{cost.points:.2f})" for cost in self._costs())

    def verdict(self, now: float) -> str:
        """Return why the session is to be started afresh, empty if it is not. ``now`` in monotonic seconds."""
        if not self._samples.bits or self._samples.bad < self.limits.needed:
            return ""
        score = self.score
        if score is None or score >= self.limits.bad or now < self._rested_at:
            return ""
        if self._restarts.since(now, self.limits.period) >= self.limits.budget:
            return ""
        return f"quality {score:.2f}: {self.detail}"

    def condemned(self, now: float) -> None:
        """It is started afresh: not again before the cool-down is over."""
        self._restarts = self._restarts.add(now, self.limits.period)
        self._rested_at = now + self.limits.cool_down

    def _sample(self) -> None:
        score = self.score
        line = self.limits.good if self._samples.bad >= self.limits.needed else self.limits.bad
        self._samples.add(bad=score is not None and score < line)

    def _costs(self) -> Iterator[Cost]:
        limits = self.limits
        if lost := self._lost.bad:
            yield Cost(limits.lost * lost, f"{lost} of the last {_PINGS} pings unanswered")
        if slow := self._slow.bad:
            usual = f"usually {self._ping.mean:.0f} ms"
            yield Cost(limits.slow * slow, f"{slow} of the last {_PINGS} pings slow, {usual}")
        if late := self._late.bad:
            usual = f"usually {self._ack.mean:.0f} ms"
            yield Cost(limits.late_ack * late, f"{late} of the last {_ACKS} sends acknowledged late, {usual}")
        if self._unread:
            yield Cost(limits.unread * self._unread, f"{self._unread:.0%} of the last messages unreadable for both")
        if self._deaf:
            yield Cost(limits.deaf, self._deaf)
