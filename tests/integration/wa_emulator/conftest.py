from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from integration.wa_emulator.library import Library
from wa_emulator.server import Emulator

PHONE = "15550100100"
StartLibrary = Callable[..., Awaitable[Library]]


async def pair_once(folder: Path) -> None:
    async with Emulator(state=folder / "state.db") as emulator:
        await emulator.add_phone(PHONE, "Alice")
        async with Library(folder / "device.db", emulator.port, emulator.root_key) as library:
            await library.pair(lambda qr: emulator.scan(PHONE, qr))
            await library.wait_for("OfflineSyncCompleted")


async def connected(library: Library) -> Library:
    await library.wait_for("Connected")
    await library.wait_for("OfflineSyncCompleted")
    return library


@pytest.fixture(scope="session")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the emulator's and the library's files just after pairing. (Pairing makes 812 prekeys: slow.)"""
    folder = tmp_path_factory.mktemp("paired")
    asyncio.run(pair_once(folder))
    return folder


@pytest.fixture
async def emulator(paired: Path, tmp_path: Path) -> AsyncIterator[Emulator]:
    shutil.copytree(paired, tmp_path, dirs_exist_ok=True)
    async with Emulator(state=tmp_path / "state.db") as running:
        yield running


@pytest.fixture
async def start(emulator: Emulator, tmp_path: Path) -> AsyncIterator[StartLibrary]:
    """Start the library on a database by name (``device`` is paired already), pointed at the emulator."""
    async with AsyncExitStack() as stack:

        async def begin(name: str = "device", timings: str = "") -> Library:
            library = Library(tmp_path / f"{name}.db", emulator.port, emulator.root_key, timings)
            return await stack.enter_async_context(library)

        yield begin


@pytest.fixture
async def device(start: StartLibrary) -> Library:
    """One linked device of ``PHONE``, connected."""
    return await connected(await start())
