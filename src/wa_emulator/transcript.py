"""A ring of the last stanzas on all connections, for diagnosis. Data shows only by its length."""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import Any, Final, NamedTuple

from wa_emulator.nodes import Node

_KEPT: Final = 5_000


class Line(NamedTuple):
    """One stanza. ``direction`` is ``in`` (from the client) or ``out``."""

    wall: float
    connection: int
    device: str
    direction: str
    node: Node


class Transcript:
    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=_KEPT)

    def add(self, connection: int, device: str, direction: str, node: Node) -> None:
        self._lines.append(Line(time.time(), connection, device, direction, node))

    def last(self, limit: int) -> list[dict[str, Any]]:
        """Return the last ``limit`` lines, oldest first."""
        start = max(0, len(self._lines) - limit)
        return [
            {
                "at": round(line.wall, 6),
                "connection": line.connection,
                "device": line.device,
                "direction": line.direction,
                "stanza": line.node.outline(),
            }
            for line in islice(self._lines, start, None)
        ]
