"""Starting a device host: a fresh process with a socket to the daemon and an environment of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tandem
from tandem.whatsapp.options import HostOptions

_LEAN = {
    "GOGC": "40",  # these cost nothing measurable and save 2 MB a host
    "GOMAXPROCS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",  # fixed, so that large buffers go back to the system: 6 MB after a redirect
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "NEONIZE_BOT_TAG": "off",  # else every message carries the mark of a business bot
}
_INHERITED = ("LD_LIBRARY_PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TZ")
"""What a host may see of the daemon's environment. Go reads it at exec only; secrets have no business there."""

COMMAND = ("-P", "-s", "-m", "tandem.whatsapp.host")
"""What the interpreter is told: neither the working directory nor a user's own packages may get in the way."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """``socket`` is read from and ``writer`` written to: two descriptors of one socket.

    A transport that meets the host's end while it writes throws away what it has not read: the host's last words.
    """

    process: Process
    socket: socket.socket
    writer: asyncio.StreamWriter


async def spawn(options_for: Callable[[int], HostOptions]) -> Spawned:
    """Exec a host (never fork: the daemon has threads) and connect to it. Raises OSError.

    ``options_for`` is told the number of the descriptor that the host finds its socket under.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    writer = await _writer(ours)
    try:
        with theirs:
            options = options_for(theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *COMMAND, *options.arguments()),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                cwd="/",
                env=environment(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
    except BaseException:
        ours.close()
        writer.close()
        raise
    return Spawned(process, ours, writer)


async def _writer(ours: socket.socket) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection(sock=ours.dup())
    if isinstance(writer.transport, asyncio.ReadTransport):
        writer.transport.pause_reading()
    return writer


def environment() -> dict[str, str]:
    """Return the whole environment of a host."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    sources = Path(tandem.__file__).resolve().parent.parent
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(sources), **inherited, **_LEAN}
