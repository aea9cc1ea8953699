"""Two instances never run an account at once, whatever happens; and the simulation would see it if they did."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from simulation.lease_faults import DEFECTS, play

SEEDS = 60
MOST = 400


@pytest.fixture(autouse=True)
def _no_logs() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def test_no_seed_shows_a_violation() -> None:
    """Pauses, partitions, lost and late answers, dead streams, clock jumps, crashes, deploys; then all is healed.

    ``make lease-faults SEEDS=10000`` plays more of them.
    """
    outcomes = [play(seed) for seed in range(SEEDS)]
    assert [each for outcome in outcomes for each in outcome.violations] == []
    assert sum(outcome.takeovers for outcome in outcomes) > 10 * SEEDS
    assert sum(outcome.sends for outcome in outcomes) > 100 * SEEDS


@pytest.mark.parametrize("defect", [each for each in DEFECTS if each])
def test_a_copy_with_a_defect_is_caught(defect: str) -> None:
    caught = next((seed for seed in range(MOST) if play(seed, defect).violations), None)
    assert caught is not None, f"{MOST} seeds did not show that the copy is {defect}"
