"""A model of a healthy, noisy line to WhatsApp: what a question and its answer take.

The body is log-normal. Each way, a packet is lost now and then and comes again after TCP's timeout, which doubles: that
makes the tail. Rarely the server leaves one question unanswered, that one alone.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

_FIRST_TIMEOUT: Final = 0.25
_PACKETS: Final = 2


@dataclass(frozen=True, slots=True)
class Line:
    """``median`` in seconds; ``loss`` of packets and ``unanswered`` of questions as probabilities."""

    median: float = 0.06
    sigma: float = 0.4
    loss: float = 0.005
    unanswered: float = 1e-5

    def body(self, chance: random.Random) -> float:
        """Seconds of a round trip in which no packet is lost."""
        return chance.lognormvariate(math.log(self.median), self.sigma)

    def retransmissions(self, chance: random.Random) -> float:
        """Seconds that lost packets add."""
        delay = 0.0
        for _ in range(_PACKETS):
            timeout = _FIRST_TIMEOUT
            while chance.random() < self.loss:
                delay += timeout
                timeout *= 2
        return delay

    def round_trip(self, chance: random.Random) -> float | None:
        """Seconds from a question to its answer; None: there is none."""
        if chance.random() < self.unanswered:
            return None
        return self.body(chance) + self.retransmissions(chance)
