"""Quiet account-years, ping by ping: how often would a healthy pair be moved or started afresh for nothing?

    make quiet-years YEARS=100

Real code: ``policy.quality`` and ``policy.keepalive`` see every ping of both sessions, ``policy.divergence`` every copy
of every message; their verdicts are counted. Model: the line (``noise.Line``), the traffic, and the second in which a
session is asked twice after a missed ping (``supervision.vitals`` itself runs in ``test_quiet_accounts.py``). Round
trips without lost packets come from a pool of a million; everything rarer is drawn afresh, at its exact rate.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import random
import sys
import time
from array import array
from collections import Counter
from typing import Final

from simulation.noise import Line
from tandem.model.states import Slot
from tandem.policy import keepalive
from tandem.policy.divergence import Divergence, Verdict
from tandem.policy.quality import Quality
from tandem.supervision.vitals import VitalLimits

LIMITS: Final = VitalLimits()
LINE: Final = Line()
YEAR: Final = 365 * 86_400.0
POOL: Final = 1_000_000
MESSAGES_A_DAY: Final = 50
ONE_SLOT_ONLY: Final = 1e-3
"""Part of the messages whose sender does not know of one of the two devices yet."""
_, _SHORTEST, _LONGEST, _ = keepalive.timings(LIMITS.keep_alive.floor, LIMITS.keep_alive)


class SessionYears:
    """One session's pings, year after year."""

    def __init__(self, chance: random.Random, pool: array[float]) -> None:
        self.counts: Counter[str] = Counter()
        self._chance = chance
        self._pool = pool
        self._quality = Quality(LIMITS.quality)
        self._keep_alive = keepalive.start(LIMITS.keep_alive)
        self._now = 0.0

    def run(self, years: float) -> None:
        left = int(years * YEAR / ((_SHORTEST + _LONGEST) / 2))
        self.counts["pings"] += left
        rare = 1 - (1 - LINE.unanswered) * (1 - LINE.loss) ** 2
        while left > 0:
            run = min(left, int(math.log(1 - self._chance.random()) / math.log(1 - rare)))
            self._calm(run)
            left -= run
            if left > 0:
                self._rare()
                left -= 1

    def _calm(self, count: int) -> None:
        """Pings of which no packet is lost."""
        quality, limits, state, now = self._quality, LIMITS.keep_alive, self._keep_alive, self._now
        start = self._chance.randrange(POOL - count)
        for milliseconds in self._pool[start : start + count]:
            state = keepalive.answered(state, now, limits)
            quality.pinged(milliseconds)
            if quality.verdict(now):
                self._verdict()
        self._now += count * _LONGEST

    def _rare(self) -> None:
        """A ping with a lost packet at least, or without an answer."""
        seconds = self._rare_round_trip()
        if seconds is not None and seconds <= LIMITS.keep_alive.answer:
            self._quality.pinged(seconds * 1000)
        else:
            self.counts["pings missed"] += 1
            self._quality.ping_lost()
            self._confirm(seconds)
        if self._quality.verdict(self._now):
            self._verdict()
        self._now += _LONGEST

    def _rare_round_trip(self) -> float | None:
        rare_loss = 1 - (1 - LINE.loss) ** 2
        if self._chance.random() < LINE.unanswered / (LINE.unanswered + rare_loss):
            return None
        while not (delay := LINE.retransmissions(self._chance)):
            pass
        return LINE.body(self._chance) + delay

    def _confirm(self, seconds: float | None) -> None:
        """The model of ``Vitals``: two questions, half the time apart; any answer clears the session."""
        confirm = LIMITS.confirm
        answers = [LINE.round_trip(self._chance), LINE.round_trip(self._chance)]
        late = seconds is not None and seconds <= LIMITS.keep_alive.answer + confirm
        first = answers[0] is not None and answers[0] <= confirm
        second = answers[1] is not None and answers[1] <= confirm / 2
        if not (late or first or second):
            self.counts["failovers"] += 1

    def _verdict(self) -> None:
        self.counts["proactive reconnects"] += 1
        self._quality.condemned(self._now)


def messages(chance: random.Random, years: float) -> Counter[str]:
    """A pair's messages: each slot's copy with its own lag, now and then one that only one slot gets."""
    counts: Counter[str] = Counter()
    ears = Divergence()
    for slot in Slot:
        ears.listen(slot, listening=True)
    now = 0.0
    contacts = [f"{number}@lid" for number in range(40)]
    for number in range(int(years * 365 * MESSAGES_A_DAY)):
        now += chance.expovariate(MESSAGES_A_DAY / 86_400.0) + 60.0 * (chance.random() < 0.3)
        sender = chance.choice(contacts)
        lags = [LINE.body(chance) + LINE.retransmissions(chance) for _ in Slot]
        if chance.random() < 1e-3:  # the server takes its time with one of the copies
            lags[chance.randrange(2)] += chance.expovariate(0.5)
        copies = sorted(zip(lags, Slot, strict=True))
        if chance.random() < ONE_SLOT_ONLY:
            copies.pop()
            counts["copies that one slot never gets"] += 1
        for lag, slot in copies:
            _look(ears, slot.partner, now + lag, counts)
            ears.heard(slot, str(number), sender, now + lag)
        for later in (1.5, 2.0, 5.0):
            for slot in Slot:
                _look(ears, slot, now + later, counts)
        now += 5.0
    counts["messages"] = int(years * 365 * MESSAGES_A_DAY)
    return counts


def _look(ears: Divergence, slot: Slot, now: float, counts: Counter[str]) -> None:
    finding = ears.look(slot, now)
    if finding.verdict is Verdict.DEAF:
        counts["proactive reconnects"] += 1
        ears.excuse(slot)
    elif finding.verdict is Verdict.SUSPECT:
        counts["questions for a missing message"] += 1


def account_years(seed: int, years: float) -> Counter[str]:
    """Simulate quiet years of one account and return what happened."""
    chance = random.Random(seed)
    pool = array("d", (LINE.body(chance) * 1000 for _ in range(POOL)))
    counts = messages(chance, years)
    for _ in Slot:
        session = SessionYears(chance, pool)
        session.run(years)
        counts += session.counts
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description="Quiet account-years on a noisy line.")
    parser.add_argument("--years", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began, total, done = time.monotonic(), Counter[str](), 0
    step = min(5, options.years)
    jobs = [(options.seed * 1000 + start, min(step, options.years - start)) for start in range(0, options.years, step)]
    with multiprocessing.get_context("spawn").Pool(2) as workers:
        for counts, years in zip(workers.starmap(account_years, jobs, chunksize=1), jobs, strict=True):
            total += counts
            done += years[1]
    alarms = total["proactive reconnects"] + total["failovers"]
    print(f"{done} quiet account-years, two sessions each, in {time.monotonic() - began:.0f} s:")
    for name in ("pings", "pings missed", "messages", "copies that one slot never gets"):
        print(f"  {name}: {total[name]:,}")
    print(f"  questions for a missing message: {total['questions for a missing message']:,}")
    print(f"  proactive reconnects: {total['proactive reconnects']}")
    print(f"  failovers: {total['failovers']}")
    sys.exit(1 if alarms else 0)


if __name__ == "__main__":
    main()
