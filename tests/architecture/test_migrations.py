from __future__ import annotations

from importlib.resources import files

import pytest


@pytest.mark.parametrize("package", ["tandem.queue", "tandem.store"])
def test_migrations_are_numbered_without_gaps(package: str) -> None:
    names = sorted(entry.name for entry in (files(package) / "sql" / "migrations").iterdir())
    assert [name.partition("_")[0] for name in names] == [f"{number:04d}" for number in range(1, len(names) + 1)]
