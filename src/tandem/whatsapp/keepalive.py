"""The command that changes the library's keep-alive timings, as the host carries it out. Light: the host imports it."""

from __future__ import annotations

from tandem.whatsapp.library import CallRefused
from wa_library.package import LibraryUnusable
from wa_library.timings import KeepAliveTimings, Timings

KEEP_ALIVE = "keep_alive"
"""Its name as an operation. The four timings go down, and what they read back as comes up, in seconds with commas."""


def keep_alive(variables: KeepAliveTimings | None, wanted: bytes) -> bytes:
    """Write the timings and return what reads back. Raises CallRefused if they cannot be set."""
    if variables is None:
        raise CallRefused("the library's keep-alive timings were not found")
    try:
        now = variables.write(Timings(*(float(value) for value in wanted.split(b","))))
    except (ValueError, TypeError, LibraryUnusable) as error:
        raise CallRefused(f"the keep-alive timings were not set: {type(error).__name__}") from None
    return ",".join(str(value) for value in now).encode()
