"""The durable form of what can be sent, and the way rows of the first release come to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import DataUnusable
from tandem.model.outbox import IfUnknown, MarkRead, Reaction, Reply, Revoke, Target, Text
from tandem.queue.database import SCHEMA
from tandem.queue.outbox_content import dump, load
from tandem.queue.outbox_rows import find
from tandem.sqlite_file import SqliteFile
from tandem.sqlite_schema import seal

FIRST = replace(SCHEMA, migrations=SCHEMA.migrations[:1], checks={})
NOW = 1_700_000_000.0
texts = st.text(st.characters(exclude_categories=["Cs"]))
targets = st.builds(Target, texts, texts, st.booleans(), texts)
contents = st.one_of(
    st.builds(Text, texts),
    st.builds(Reply, texts, targets),
    st.builds(Reaction, texts, targets, st.integers(0, 2**53)),
    st.builds(Revoke, texts),
    st.builds(MarkRead, st.lists(targets).map(tuple)),
)


@given(contents)
def test_everything_that_can_be_sent_has_a_durable_form(content: Text) -> None:
    assert load(dump(content)) == content
    assert json.loads(dump(content))["v"] == 1


def test_what_no_release_wrote_is_not_guessed_at() -> None:
    for form in ('{"v":2,"kind":"text","text":"x"}', '{"v":1,"kind":"smoke"}', "{}"):
        with pytest.raises(ValueError, match="unknown form"):
            load(form)


def _insert(file: SqliteFile, identifier: str, text: str, state: str, *, damaged: bool = False) -> None:
    row = (identifier, "a" * 16, "1@lid", text, identifier.encode(), 1.0, 2.0, state, "why", 3.0, "3EB0", "backup", 1)
    places = ", ".join("?" * 14)
    with file.transaction() as connection:
        connection.execute(
            "INSERT INTO outbox (id, account, chat, text, secret, created_at, expires_at, state, reason, updated_at, "  # noqa: S608 - question marks
            f"message_id, slot, attempts, seal) VALUES ({places})",
            (*row, seal(*row) + damaged),
        )


def test_rows_of_the_first_release_stay_valid(tmp_path: Path) -> None:
    old = SqliteFile(tmp_path / "queue.db", FIRST, NOW)
    said = ['quotes " and \\ and \n\t\x01\x7f', "ünï 👍🏽", "", "null\x00inside"]
    states = ["queued", "sent", "failed", "read"]
    for number, (text, state) in enumerate(zip(said, states, strict=True)):
        _insert(old, f"id{number}", text, state)
    old.close()

    SqliteFile(tmp_path / "queue.db", SCHEMA, NOW).close()
    file = SqliteFile(tmp_path / "queue.db", SCHEMA, NOW)  # this one checks every row's seal
    rows = [find(file.connection, "id", f"id{number}") for number in range(4)]
    file.close()
    assert [row and row.content for row in rows] == [Text(text) for text in said]
    assert [row and (row.sent_at, row.read_at, row.ended_at) for row in rows] == [
        (0.0, 0.0, 0.0),
        (3.0, 0.0, 0.0),
        (0.0, 0.0, 3.0),
        (0.0, 3.0, 0.0),
    ]
    assert {row.if_unknown for row in rows if row} == {IfUnknown.RESEND}


def test_damage_in_an_old_row_is_not_sealed_over(tmp_path: Path) -> None:
    old = SqliteFile(tmp_path / "queue.db", FIRST, NOW)
    _insert(old, "id0", "text", "queued", damaged=True)
    old.close()
    SqliteFile(tmp_path / "queue.db", SCHEMA, NOW).close()
    with pytest.raises(DataUnusable, match="damaged rows"):
        SqliteFile(tmp_path / "queue.db", SCHEMA, NOW)
