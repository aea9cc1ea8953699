"""Plays many seeds of lease faults: ``python -m simulation.lease_faults --seeds 10000``. Ends with 1 on a violation."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import structlog

from simulation.lease_world import InstanceClock, Unconditional, Unfenced, WallClock, World
from support.virtual_time import run_virtually
from tandem.cluster.keeper import Keeper

_PORTION = 50
DEFECTS: dict[str, tuple[type[Keeper], type[InstanceClock]]] = {
    "": (Keeper, InstanceClock),
    "unfenced": (Unfenced, InstanceClock),
    "wall clock": (Keeper, WallClock),
    "unconditional": (Unconditional, InstanceClock),
}


@dataclass(frozen=True)
class Outcome:
    violations: list[str]
    sends: int
    takeovers: int


def play(seed: int, defect: str = "") -> Outcome:
    """Play one seed, on a copy with a defect if one is named."""
    keeper, clock = DEFECTS[defect]
    world = World(seed, keeper=keeper, clock=clock)
    run_virtually(world.play())
    return Outcome(world.violations, world.sends, world.takeovers)


def quiet() -> None:
    """Nobody reads the logs of thousands of storms."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _portion(first: int, last: int, defect: str) -> Outcome:
    outcomes = [play(seed, defect) for seed in range(first, last)]
    violations = [each for outcome in outcomes for each in outcome.violations]
    return Outcome(violations, sum(each.sends for each in outcomes), sum(each.takeovers for each in outcomes))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=10_000)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--defect", choices=list(DEFECTS), default="")
    given = options.parse_args()
    started, sends, takeovers, violations = time.monotonic(), 0, 0, 0
    starts = range(given.first, given.first + given.seeds, _PORTION)
    ends = [min(start + _PORTION, given.first + given.seeds) for start in starts]
    with ProcessPoolExecutor(initializer=quiet) as pool:
        for end, outcome in zip(ends, pool.map(_portion, starts, ends, [given.defect] * len(ends)), strict=True):
            sends, takeovers = sends + outcome.sends, takeovers + outcome.takeovers
            violations += len(outcome.violations)
            print(*outcome.violations[:3], sep="\n", end="\n" if outcome.violations else "")
            if (end - given.first) % 1000 == 0 or end == ends[-1]:
                print(f"{end - given.first} seeds: {violations} violations, {sends} sends, {takeovers} acquisitions, "
                      f"{time.monotonic() - started:.0f} s", flush=True)  # fmt: skip
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
