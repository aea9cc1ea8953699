"""The table of faults is what the policy does, what ARCHITECTURE.md shows, and what the integration test runs."""

from __future__ import annotations

import re

import pytest

from support.fault_document import BEGIN, DOCUMENT, path, walk, written
from support.fault_rows import MATRIX, ROWS, End, Notice, Row
from tandem.settings import SessionSettings
from wa_emulator.faults import KINDS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_policy_leads_down_the_path_of_the_row(row: Row) -> None:
    assert re.fullmatch(row.path, path(row)), f"the policy's path is: {path(row)}"


STRUCK = [row for row in ROWS if row.strike is not None]
PING = SessionSettings().ping_interval


@pytest.mark.parametrize("row", STRUCK, ids=lambda row: row.name)
def test_the_role_moves_as_the_row_says_and_once_at_most(row: Row) -> None:
    moves = [step for step in walk(row) if step.moved]
    assert len(moves) == row.moves
    assert all(step.at == 0 for step in moves), "the role waits for no deadline"


def test_a_silent_active_slot_keeps_the_role_no_longer_than_promised() -> None:
    bounds = {row.notice: row.keeps_role(PING) for row in STRUCK if row.moves}
    assert bounds[Notice.SEND] <= 2.5
    assert bounds[Notice.PING] <= PING + 2.5


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_is_not_at_rest_at_its_end_has_a_deadline(row: Row) -> None:
    for step in walk(row):
        session = step.decision.session
        assert session.deadline or session.state.terminal or session.state == "online"
    if row.ends is not End.ITSELF:
        assert walk(row)[-1].decision.session.state.terminal


def test_the_architecture_shows_the_table() -> None:
    text = DOCUMENT.read_text()
    assert BEGIN in text
    assert written(text) == text, "run `make fault-table`"


def test_every_fault_of_the_emulator_has_a_row() -> None:
    outages = {"refuse", "hang_upgrade"}  # they hit whoever dials: tests/integration/faults/test_outages.py
    linking = {"passkey"}  # it hits no linked device
    struck = {str(wish["kind"]) for row in ROWS for wish in row.wishes}
    assert set(KINDS) - outages - linking == struck


def test_names_are_unique_and_the_named_tests_exist() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert all((DOCUMENT.parent / row.test).is_file() for row in ROWS)
    assert all(row.test != MATRIX for row in ROWS if row.strike is None)
