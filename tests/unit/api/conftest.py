from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from unit.api.world import Api, serving, settings


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """With admin and read token."""
    async with serving(settings()) as api:
        yield api


@pytest.fixture
async def open_api() -> AsyncIterator[Api]:
    """Without any token: loopback only."""
    async with serving(settings(api_token=None, read_token=None)) as api:
        yield api
