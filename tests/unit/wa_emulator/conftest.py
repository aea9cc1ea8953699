from __future__ import annotations

import pytest

from wa_emulator.codec import Codec
from wa_library.tokens import TokenTables, token_tables


@pytest.fixture(scope="session")
def tables() -> TokenTables:
    return token_tables()


@pytest.fixture(scope="session")
def codec(tables: TokenTables) -> Codec:
    return Codec(tables)
