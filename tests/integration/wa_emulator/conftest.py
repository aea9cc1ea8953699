from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from integration.wa_emulator.library import Library
from wa_emulator.server import Emulator

PHONE = "15550100100"
StartLibrary = Callable[..., Awaitable[Library]]


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as running:
        await running.add_phone(PHONE, "Alice")
        yield running


@pytest.fixture
async def start(emulator: Emulator, tmp_path: Path) -> AsyncIterator[StartLibrary]:
    """Start the library on a database by name, pointed at the emulator."""
    async with AsyncExitStack() as stack:

        async def begin(name: str = "device", timings: str = "") -> Library:
            library = Library(tmp_path / f"{name}.db", emulator.port, emulator.root_key, timings)
            return await stack.enter_async_context(library)

        yield begin


@pytest.fixture
async def device(emulator: Emulator, start: StartLibrary) -> Library:
    """One linked device of ``PHONE``, connected."""
    library = await start()
    await library.pair(lambda qr: emulator.scan(PHONE, qr))
    return library
