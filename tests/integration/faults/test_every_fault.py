"""Every fault at the active slot, the standby and both: what the pair does and in what time, with real processes.

What is expected stands in ``support/fault_rows.py``. All cases run at once, on accounts of one daemon; each has its own
traffic in both directions, and is judged by the emulator's ledger against the store and the contact's phone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from integration.faults.play import Case, Outcome, play_all
from integration.faults.stage import chosen
from support.fault_rows import ROWS

pytestmark = pytest.mark.timeout(400)

CASES = [Case(row, where) for row in ROWS if row.strike is not None for where in row.where]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Mapping[str, Outcome]:
    """What became of the cases that were asked for."""
    return asyncio.run(play_all([case for case in CASES if case.name in chosen(request)]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_pair_survives(case: Case, outcomes: Mapping[str, Outcome]) -> None:
    outcome = outcomes[case.name]
    print(outcome, *outcome.log, sep="\n")
    assert not outcome.complaints, f"{outcome}: {'; '.join(outcome.complaints)}"
