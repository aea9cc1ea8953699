"""The way to the emulator, and what can be wrong with it: refused, or hanging at TCP or right after it.

Connections that exist go on; only those who dial meet what is wrong. A dial that hangs goes on hanging when the way is
free again, as it does behind a load balancer that forgot it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from support.fault_proxy import FaultProxy

_FILLERS = 4


class Gate(FaultProxy):
    """A proxy on loopback whose door can be shut. ``silenced`` counts who was let in and never answered."""

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self.silenced = 0
        self.greetings: list[bytes] = []
        self._held: list[socket.socket | asyncio.StreamWriter] = []
        self._silent: asyncio.Server | None = None

    async def refuse(self) -> None:
        """TCP: connection refused."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def hang(self) -> None:
        """TCP: no answer at all, for the queue of a listener that accepts nobody is full."""
        await self.refuse()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(0)
        self._held.append(listener)
        for _ in range(_FILLERS):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))
            self._held.append(filler)

    async def silence(self) -> None:
        """TCP answers; what comes after it (a TLS handshake, an upgrade) never is."""
        await self.refuse()
        self._silent = await asyncio.start_server(self._say_nothing, "127.0.0.1", self.port)

    async def open(self) -> None:
        """The way is free for whoever dials from now on."""
        for held in self._held:
            if isinstance(held, socket.socket):
                held.close()
        self._held = [held for held in self._held if not isinstance(held, socket.socket)]
        if self._silent is not None:
            self._silent.close()
            self._silent = None
        await self.up()

    async def down(self) -> None:
        await self.refuse()
        for held in self._held:
            held.close()
        if self._silent is not None:
            self._silent.close()
        self.cut()

    async def _say_nothing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.silenced += 1
        self._held.append(writer)
        with contextlib.suppress(ConnectionError):
            self.greetings.append(await reader.read(1024))
            await reader.read()


Trouble = Callable[[Gate], Awaitable[None]]
