from __future__ import annotations

import json

import pytest

from wa_library import tokens
from wa_library.package import LibraryUnusable
from wa_library.tokens import TokenTables


def test_the_tables_are_those_of_protocol_version_3(tables: TokenTables) -> None:
    assert tables.single[3] == "s.whatsapp.net"
    assert tables.single[-1] == "screen_height"
    assert tables.double[0][:3] == ("read-self", "active", "fbns")
    assert len({token for table in tables.double for token in table}) > 1000


def test_the_tables_are_read_once(tables: TokenTables) -> None:
    assert tokens.token_tables() is tables


@pytest.mark.parametrize(
    "document",
    [b"", b"null", b"{}", b'{"single": 1, "double": 2}', json.dumps({"single": [""], "double": []}).encode()],
)
def test_other_tables_are_refused(document: bytes) -> None:
    with pytest.raises(LibraryUnusable):
        tokens.parse(document)


def test_without_the_library_there_are_none() -> None:
    with pytest.raises(LibraryUnusable, match="not loaded"):
        tokens.read_from_memory()
