"""Pair divergence: a slot that does not hear what its partner hears is deaf, however well it answers pings.

Both devices of an account get their own copy of every message. So a message that one slot has had for longer than the
other usually lags behind is missing there. One that is missing is a reason to ask; several are a verdict. Silence alone
says nothing: where nobody hears anything, nothing is missing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from tandem.model.states import Slot

_REMEMBERED = 2048
"""Messages, and people, remembered of each slot; beyond it the oldest are forgotten."""
_MOST_MISSING = 256
_RECENT = 20
_TICK = 0.001  # a timer may come a moment early
_WEIGHT = 1 / 8
_DEVIATIONS = 4.0


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds: ``suspect`` and ``deaf`` are the least that a message must be missing, whatever the usual lag.

    ``messages`` must be missing for a verdict; ``unfamiliar`` as many if the slot has never yet shared one with its
    partner: a contact that learned of a new device late sends it nothing. ``reading`` is what an unreadable message has
    to become readable, by a retry or by the partner.
    """

    suspect: float = 1.5
    deaf: float = 2.0
    messages: int = 3
    unfamiliar: int = 10
    reading: float = 10.0


class Verdict(Enum):
    HEARS = auto()
    SUSPECT = auto()
    DEAF = auto()


@dataclass(frozen=True, slots=True)
class Finding:
    """``due``: monotonic seconds at which to look again, None when nothing is missing. ``reason`` in words."""

    verdict: Verdict
    due: float | None = None
    reason: str = ""


@dataclass(slots=True)
class _Ear:
    """What is known of one slot's hearing.

    ``heard`` maps a message to when it came, ``missing`` to its sender and when the partner had it, ``unread`` to when
    its unreadable copy came; ``recent`` are the last messages; ``excused`` are senders who have been judged already.
    """

    listening: bool = False
    familiar: bool = False
    lag: float = 0.0
    deviation: float = 0.0
    heard: OrderedDict[str, float] = field(default_factory=OrderedDict)
    missing: OrderedDict[str, tuple[str, float]] = field(default_factory=OrderedDict)
    unread: OrderedDict[str, float] = field(default_factory=OrderedDict)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=_RECENT))
    excused: OrderedDict[str, None] = field(default_factory=OrderedDict)

    @property
    def usual(self) -> float:
        return self.lag + _DEVIATIONS * self.deviation

    def learn(self, lag: float) -> None:
        self.deviation += _WEIGHT * (abs(lag - self.lag) - self.deviation)
        self.lag += _WEIGHT * (lag - self.lag)


class Divergence:
    """One an account. Times are monotonic seconds. Memory is bounded, whatever comes."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._ears = {slot: _Ear() for slot in Slot}

    def listen(self, slot: Slot, *, listening: bool) -> None:
        """Note whether a slot is online. What came while it was not reaches it when it is again, in its own time."""
        ear = self._ears[slot]
        if ear.listening != listening:
            ear.listening = listening
            ear.missing.clear()

    def heard(self, slot: Slot, message: str, sender: str, now: float, *, readable: bool = True) -> None:
        """Note a copy of a message that somebody else wrote. Unreadable or not: it was heard."""
        own, partner = self._ears[slot], self._ears[slot.partner]
        self._note_reading(own, partner, message, now, readable=readable)
        if message in own.heard:
            return
        _remember(own.heard, message, now)
        own.recent.append(message)
        own.excused.pop(sender, None)
        lagging = own.missing.pop(message, None)
        first = partner.heard.get(message)
        if first is not None:
            own.familiar = partner.familiar = True
            if lagging is not None:
                own.learn(now - first)
        elif own.listening and partner.listening and sender not in partner.excused:
            _remember(partner.missing, message, (sender, now), _MOST_MISSING)
        self._excuse_older(own, now)

    def look(self, slot: Slot, now: float) -> Finding:
        """Judge a slot's hearing."""
        ear, limits = self._ears[slot], self._limits
        if not ear.missing:
            return Finding(Verdict.HEARS)
        _, since = next(iter(ear.missing.values()))
        age, count = now - since, len(ear.missing)
        suspect, deaf = max(limits.suspect, ear.usual), max(limits.deaf, 2 * ear.usual)
        if age + _TICK < suspect:
            return Finding(Verdict.HEARS, since + suspect)
        reason = f"its partner has received {_messages(count)} that it has not, the first {age:.1f} s ago"
        if age + _TICK < deaf:
            return Finding(Verdict.SUSPECT, since + deaf, reason)
        needed = limits.messages if ear.familiar else limits.unfamiliar
        return Finding(Verdict.DEAF if count >= needed else Verdict.SUSPECT, None, reason)

    def excuse(self, slot: Slot) -> None:
        """The slot has been judged for what is missing: whoever sent it counts again once the slot hears of them."""
        ear = self._ears[slot]
        for sender, _ in ear.missing.values():
            _remember(ear.excused, sender, None)
        ear.missing.clear()

    def unread(self, slot: Slot, now: float) -> float:
        """Return which part of the slot's last messages nobody could read, 0 to 1.

        One that its partner could read, or that came again readable, is none of them.
        """
        ear = self._ears[slot]
        if not ear.unread or len(ear.recent) < _RECENT // 4:
            return 0.0
        late = now - self._limits.reading
        return sum(ear.unread.get(message, now) <= late for message in ear.recent) / len(ear.recent)

    @staticmethod
    def _note_reading(own: _Ear, partner: _Ear, message: str, now: float, *, readable: bool) -> None:
        if readable:
            own.unread.pop(message, None)
            partner.unread.pop(message, None)
        elif message not in partner.heard or message in partner.unread:
            _remember(own.unread, message, now, _MOST_MISSING)

    def _excuse_older(self, ear: _Ear, now: float) -> None:
        """A slot that hears is not deaf: what it still misses is a matter of those senders."""
        while ear.missing:
            message, (sender, since) = next(iter(ear.missing.items()))
            if now - since < max(self._limits.deaf, 2 * ear.usual):
                return
            del ear.missing[message]
            _remember(ear.excused, sender, None)


def _remember(memory: OrderedDict[str, Any], key: str, value: object, most: int = _REMEMBERED) -> None:
    memory[key] = value
    if len(memory) > most:
        memory.popitem(last=False)


def _messages(count: int) -> str:
    return "a message" if count == 1 else f"{count} messages"
