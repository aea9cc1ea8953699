"""How fast an account may send: token buckets, and a brake that WhatsApp's refusals pull.

WhatsApp publishes no limits for linked devices. The defaults are those it publishes for businesses on its own API as
far as a single recipient goes (one message in 6 s, bursts of up to 45 that borrow from the time after), and for the
account what a busy shop's replies need. Whoever sends faster than people read is reported, and then banned.

The brake: each refusal halves the rate, each quiet ``EASE`` seconds double it again. A 429 also pauses everything; a
463 ("reach-out timelock") concerns people that the number has no conversation with, so messages to them wait.
Invariant: time alone always brings the rate back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

EASE = 300.0
_DEEPEST = 6
_PAUSE, _LONGEST_PAUSE = 30.0, 900.0
_STRANGERS, _LONGEST_STRANGERS = 900.0, 6 * 3600.0
_MINUTE = 60.0


class Refusal(IntEnum):
    """What WhatsApp answers to those who send too much, or to the wrong people."""

    RATE_LIMIT = 429  # a query before the message: "rate-overlimit"
    REACH_OUT = 463  # the message itself: restricted from writing to new contacts
    INVALID = 479  # the message itself: seen for recipients that the server does not accept


_WORDS = {
    Refusal.RATE_LIMIT: "WhatsApp limits the rate (429)",
    Refusal.REACH_OUT: "WhatsApp restricts messages to new contacts (463)",
    Refusal.INVALID: "WhatsApp refused a message (479)",
}


@dataclass(frozen=True, slots=True)
class Rate:
    """``per_minute`` messages for ever, ``burst`` at once. 0 a minute: no limit."""

    per_minute: float
    burst: float

    def slowed(self, factor: float) -> Rate:
        return Rate(self.per_minute * factor, max(1.0, self.burst * factor))


@dataclass(frozen=True, slots=True)
class Bucket:
    """Tokens as of an instant, in monotonic seconds. A new one is full: infinitely long ago."""

    tokens: float = 0.0
    at: float = float("-inf")

    def level(self, now: float, rate: Rate) -> float:
        """How many messages may go now. Never above the burst, whatever it was before."""
        if self.at == float("-inf"):
            return rate.burst
        return min(rate.burst, self.tokens + (now - self.at) * rate.per_minute / _MINUTE)

    def wait(self, now: float, rate: Rate) -> float:
        """Seconds until the next message may go."""
        if not rate.per_minute:
            return 0.0
        return max(0.0, 1.0 - self.level(now, rate)) * _MINUTE / rate.per_minute

    def take(self, now: float, rate: Rate) -> Bucket:
        return Bucket(self.level(now, rate) - 1.0, now)

    def give_back(self, now: float, rate: Rate) -> Bucket:
        """A message did not leave after all."""
        return Bucket(min(rate.burst, self.level(now, rate) + 1.0), now)


@dataclass(frozen=True, slots=True)
class Brake:
    """How far sending is slowed. Times in monotonic seconds; ``level`` halvings as of ``pulled_at``."""

    level: int = 0
    pulled_at: float = 0.0
    paused_until: float = 0.0
    strangers_until: float = 0.0
    strangers_since: float = 0.0
    reason: str = ""

    def halvings(self, now: float) -> int:
        return max(0, self.level - int((now - self.pulled_at) // EASE))

    def factor(self, now: float) -> float:
        """What remains of the rate, 0 … 1."""
        return float(0.5 ** self.halvings(now))

    def pause(self, now: float) -> float:
        """Seconds for which nothing may be sent."""
        return max(0.0, self.paused_until - now)

    def strangers(self, now: float) -> float:
        """Seconds for which nothing may be sent to people without a conversation."""
        return max(0.0, self.strangers_until - now)

    def pull(self, refusal: Refusal, now: float) -> Brake:
        """Slow down after a refusal; repeated ones pause for longer and longer."""
        level = min(_DEEPEST, self.halvings(now) + 1)
        longer = 2.0 ** (level - 1)
        paused, strangers, since = self.paused_until, self.strangers_until, self.strangers_since
        if refusal is Refusal.RATE_LIMIT:
            paused = max(paused, now + min(_LONGEST_PAUSE, _PAUSE * longer))
        elif refusal is Refusal.REACH_OUT:
            since = since if strangers > now else now
            strangers = max(strangers, now + min(_LONGEST_STRANGERS, _STRANGERS * longer))
        return Brake(level, now, paused, strangers, since, _WORDS[refusal])

    def sentence(self, now: float) -> str:
        """Say what the brake does, for people."""
        parts = [f"{self.reason}: sending at {self.factor(now):.0%} of the usual rate"]
        if pause := self.pause(now):
            parts.append(f"nothing for {pause:.0f} s")
        if strangers := self.strangers(now):
            parts.append(f"nothing to new contacts for {strangers:.0f} s")
        return ", ".join(parts)


def refusal_of(code: int) -> Refusal | None:
    """Return what a server's code means for the pace, None if nothing."""
    try:
        return Refusal(code)
    except ValueError:
        return None
