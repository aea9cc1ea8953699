from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.firestore_emulator import FirestoreEmulator, running


@pytest.fixture(scope="session")
def firestore() -> Iterator[FirestoreEmulator]:
    with running() as emulator:
        yield emulator
