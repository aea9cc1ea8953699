"""Where changed objects are noted, so that a state file can follow. Without a state file, nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Record = Callable[[], bytes]
"""Serializes an object as it is when asked, so that many changes cost one write."""


class Journal(Protocol):
    """Takes note of changes; ``durable`` returns when all that were noted before are on disk."""

    def save(self, kind: str, key: str, record: Record) -> None: ...

    def delete(self, kind: str, key: str) -> None: ...

    async def durable(self) -> None: ...


class Forgetful:
    """The journal of an emulator that lives in memory only."""

    def save(self, kind: str, key: str, record: Record) -> None:
        pass

    def delete(self, kind: str, key: str) -> None:
        pass

    async def durable(self) -> None:
        pass
