"""Which release of the WhatsApp library this Tandem is built on, and how old its knowledge of WhatsApp is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Release:
    """``released`` in Unix seconds: the day of the protocol code inside, for that is what WhatsApp retires."""

    name: str
    version: str
    released: float


LIBRARY = Release("neonize", "0.5.2", datetime(2026, 9, 21, tzinfo=UTC).timestamp())
"""Goes with the pin in pyproject.toml; a test reads the date out of the library itself."""
