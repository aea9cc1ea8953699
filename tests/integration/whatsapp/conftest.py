from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.whatsapp.host_stage import NUMBER, Stage
from tandem.model.states import Slot
from wa_emulator.server import Emulator


async def _pair_both(folder: Path) -> None:
    async with Emulator(state=folder / "emulator.db") as emulator:
        await emulator.add_phone(NUMBER, "Ann")
        stage = Stage(emulator, folder / "data")
        for slot in Slot:
            session = await stage.pair(slot)
            await session.device.stop()


@pytest.fixture(scope="session")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an account whose two slots were linked by QR, and the emulator that knows them."""
    folder = tmp_path_factory.mktemp("linked")
    asyncio.run(_pair_both(folder))
    return folder


@pytest.fixture
async def stage(linked: Path, tmp_path: Path) -> AsyncIterator[Stage]:
    shutil.copytree(linked, tmp_path, dirs_exist_ok=True)
    async with Emulator(state=tmp_path / "emulator.db") as emulator:
        running = Stage(emulator, tmp_path / "data")
        yield running
        await running.close()
