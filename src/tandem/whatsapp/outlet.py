"""What a host prints and logs, turned into log records of the daemon. Nothing of it is trusted to be clean."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from tandem.whatsapp.loglines import redacted

_CHUNK = 65_536
_LONGEST_LINE = 65_536
_KEPT = 40
_CHATTER = ("Press Ctrl+C to exit", "Login event: success")

Tell = Callable[[str, str, str], None]
"""Called with a level (debug, info, warning, error), where the line came from, and the line, redacted."""


class Outlet:
    """Collects the lines of a host's stdout and stderr and hands them on; remembers the last few for a post mortem."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._last: deque[str] = deque(maxlen=_KEPT)

    @property
    def last_lines(self) -> str:
        """The last lines printed, raw: to be searched, never shown."""
        return "\n".join(self._last)

    async def drain(self, stream: asyncio.StreamReader, source: str) -> None:
        """Read until the stream ends. A line without an end is cut, never waited for."""
        rest = b""
        while chunk := await stream.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._printed(line, source)
            if len(rest) > _LONGEST_LINE:
                self._printed(rest, source)
                rest = b""
        self._printed(rest, source)

    def _printed(self, line: bytes, source: str) -> None:
        text = line.decode(errors="replace").strip()
        if text:
            self._last.append(text[:_LONGEST_LINE])
            self._tell(_level(text, source), source, redacted(text))


def _level(text: str, source: str) -> str:
    if text.startswith(_CHATTER):
        return "debug"
    return "warning" if source == "stderr" else "info"
