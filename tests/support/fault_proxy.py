"""A TCP proxy that does to a connection what networks do, by the names that Toxiproxy gave them.

``down`` refuses and resets; ``latency``, ``bandwidth``, ``slicer``, ``limit_data``, ``timeout``, ``reset_peer`` and
``slow_close`` are toxics on one direction; ``swallow`` lets the server hear everything and the client nothing, which is
how an answer gets lost after the work was done. Toxics act on connections that exist, too. Times in seconds.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)


class Way(Enum):
    UP = "upstream"  # from the client to the server
    DOWN = "downstream"


class Cut(Exception):  # noqa: N818 - an act, not an error
    """A toxic ends the connection; ``hard`` with a reset, else after ``last`` went through."""

    def __init__(self, *, hard: bool, last: bytes = b"") -> None:
        super().__init__(hard)
        self.hard = hard
        self.last = last


class Toxic:
    """Passes on what it does not change. One object may act on many connections."""

    async def act(self, data: bytes) -> list[bytes]:
        return [data]

    async def end(self) -> None:
        """Before the end of the stream is passed on."""


@dataclass
class Latency(Toxic):
    seconds: float
    jitter: float = 0.0
    dice: random.Random = field(default_factory=lambda: random.Random(0))

    async def act(self, data: bytes) -> list[bytes]:
        await asyncio.sleep(self.seconds + self.dice.uniform(-self.jitter, self.jitter))
        return [data]


@dataclass
class Bandwidth(Toxic):
    """``rate`` in bytes a second."""

    rate: float

    async def act(self, data: bytes) -> list[bytes]:
        await asyncio.sleep(len(data) / self.rate)
        return [data]


@dataclass
class Slicer(Toxic):
    """Cuts data into pieces of about ``size`` bytes, ``delay`` seconds apart."""

    size: int
    variation: int = 0
    delay: float = 0.0
    dice: random.Random = field(default_factory=lambda: random.Random(0))

    async def act(self, data: bytes) -> list[bytes]:
        pieces = []
        while data:
            length = max(1, self.size + self.dice.randint(-self.variation, self.variation))
            pieces.append(data[:length])
            data = data[length:]
        await asyncio.sleep(self.delay * len(pieces))
        return pieces


@dataclass
class LimitData(Toxic):
    """Closes the connection after so many bytes, of all connections together."""

    left: int

    async def act(self, data: bytes) -> list[bytes]:
        data, self.left = data[: self.left], self.left - len(data)
        if self.left <= 0:
            raise Cut(hard=False, last=data)
        return [data]


@dataclass
class Timeout(Toxic):
    """Nothing passes; the connection is closed ``seconds`` later, with 0 never."""

    seconds: float = 0.0

    async def act(self, data: bytes) -> list[bytes]:
        del data
        if self.seconds:
            await asyncio.sleep(self.seconds)
            raise Cut(hard=False)
        return []


@dataclass
class ResetPeer(Toxic):
    """Resets the connection ``seconds`` after it has something to say."""

    seconds: float = 0.0

    async def act(self, data: bytes) -> list[bytes]:
        del data
        await asyncio.sleep(self.seconds)
        raise Cut(hard=True)


@dataclass
class SlowClose(Toxic):
    seconds: float

    async def end(self) -> None:
        await asyncio.sleep(self.seconds)


@dataclass
class Swallow(Toxic):
    """Loses what comes; ``seconds`` after the first of it the connection is reset, with 0 never."""

    seconds: float = 0.0
    swallowed: int = 0

    async def act(self, data: bytes) -> list[bytes]:
        self.swallowed += len(data)
        if self.seconds:
            await asyncio.sleep(self.seconds)
            raise Cut(hard=True)
        return []


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    hole: bool = False

    def reset(self) -> None:
        for writer in (self.client, self.server):
            sock = writer.get_extra_info("socket")
            if sock is not None and not writer.is_closing():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    def close(self) -> None:
        self.client.close()
        self.server.close()


class FaultProxy:
    """``async with`` it; ``address`` is where clients dial. Without toxics it only passes on."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.accepted = 0
        self.toxics: dict[Way, list[Toxic]] = {Way.UP: [], Way.DOWN: []}
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def up(self) -> None:
        """Listen (again), on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse every connection and reset those that are there."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.cut()
        if server is not None:
            await server.wait_closed()

    def cut(self) -> None:
        """Reset every connection, once."""
        for connection in list(self._open):
            connection.reset()

    def strand(self) -> None:
        """Let every connection that exists swallow all from now on, without a word; new ones work."""
        for connection in self._open:
            connection.hole = True

    def add(self, toxic: Toxic, way: Way = Way.DOWN) -> Toxic:
        self.toxics[way].append(toxic)
        return toxic

    def heal(self) -> None:
        """Remove all toxics."""
        for toxics in self.toxics.values():
            toxics.clear()

    async def _accept(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        try:
            server_in, server_out = await asyncio.open_connection(*self._target)
        except OSError:
            client_out.transport.abort()
            return
        connection = _Connection(client_out, server_out)
        self._open.add(connection)
        try:
            await self._run(connection, client_in, server_in)
        except asyncio.CancelledError:
            pass  # the proxy is closed; asyncio would log a cancelled connection as an error
        finally:
            self._open.discard(connection)
            connection.close()

    async def _run(
        self, connection: _Connection, client_in: asyncio.StreamReader, server_in: asyncio.StreamReader
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(connection, client_in, Way.UP))
                group.create_task(self._pump(connection, server_in, Way.DOWN))
        except* Cut as cuts:
            if any(cut.hard for cut in cuts.exceptions if isinstance(cut, Cut)):
                connection.reset()
        except* OSError:
            connection.reset()

    async def _pump(self, connection: _Connection, source: asyncio.StreamReader, way: Way) -> None:
        sink = connection.server if way is Way.UP else connection.client
        while data := await source.read(_CHUNK):
            if connection.hole:
                continue
            try:
                pieces, cut = await self._poisoned(data, way), None
            except Cut as last:
                pieces, cut = [last.last], last
            for piece in pieces:
                sink.write(piece)
                await sink.drain()
            if cut is not None:
                raise cut
        for toxic in list(self.toxics[way]):
            await toxic.end()
        raise Cut(hard=False)  # one end is gone, so is the other

    async def _poisoned(self, data: bytes, way: Way) -> list[bytes]:
        pieces = [data]
        for toxic in list(self.toxics[way]):
            pieces = [after for piece in pieces for after in await toxic.act(piece)]
        return pieces
