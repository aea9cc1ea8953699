from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The daemon under test shares this process's stdout, which belongs to the command."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests, and lines of one width."""
    for name in list(os.environ):
        if name.startswith("TANDEM_") or name == "PORT":
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
