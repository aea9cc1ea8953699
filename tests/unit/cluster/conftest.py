from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from support.fault_proxy import FaultProxy
from support.firestore_emulator import FirestoreEmulator, running


@pytest.fixture(scope="session")
def emulator() -> Iterator[FirestoreEmulator]:
    with running() as emulator:
        yield emulator


@pytest.fixture
async def proxy(emulator: FirestoreEmulator) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(emulator.host, emulator.port) as proxy:
        yield proxy
