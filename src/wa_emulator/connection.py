"""One client's WebSocket: handshake, then stanzas in and out. Everything above it is synchronous.

``post`` never waits: stanzas go into an outbox, and one task encrypts and writes them in order. That task first waits
until the journal is durable, so nothing that a client learns can be undone by a crash of the emulator.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import WSMsgType, web

from wa_emulator.codec import Codec
from wa_emulator.journal import Journal
from wa_emulator.nodes import Node, ProtocolViolation
from wa_emulator.noise import FrameReader, Responder, Transport, frame
from wa_emulator.transcript import Transcript

if TYPE_CHECKING:
    from wa_emulator.directory import Device

_HANDSHAKE_SECONDS: Final = 20.0
_CLOSE_SECONDS: Final = 2.0
_GRACE_SECONDS: Final = 0.2
_RESTART: Final = "515"
_RESTART_GRACE_SECONDS: Final = 2.0
"""After a 515 the client closes by itself; this is for one that does not."""

_log = logging.getLogger("wa_emulator")


class _Close(Exception):  # noqa: N818 - a request, not an error
    """Put into the outbox: close the socket with this code once all before it is written."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Plumbing:
    """What all connections share."""

    codec: Codec
    journal: Journal
    transcript: Transcript


class Connection:
    """A client, from its WebSocket upgrade to its end."""

    def __init__(self, number: int, socket: web.WebSocketResponse, request: web.Request, plumbing: Plumbing) -> None:
        self.number = number
        self.device: Device | None = None
        self.active = False
        """The client has asked for messages: the offline queue was delivered, new ones follow."""
        self.stalled = False
        """A fault: whatever arrives is swallowed, nothing is sent."""
        self.deaf = False
        """A fault: everything is answered, but what is stored for the device reaches it at its next login only."""
        self.transport: Transport | None = None
        self._socket = socket
        self._request = request
        self._codec = plumbing.codec
        self._journal = plumbing.journal
        self._transcript = plumbing.transcript
        self._reader = FrameReader()
        self._outbox: deque[Node | _Close] = deque()
        self._wake = asyncio.Event()

    @property
    def label(self) -> str:
        """The device as the transcript names it; the log does without, for it must not show numbers."""
        return str(self.device.jid) if self.device else "-"

    def post(self, node: Node) -> None:
        """Send a stanza after all that were posted before."""
        if not self.stalled:
            self._outbox.append(node)
            self._wake.set()

    def close(self, code: int = 1000) -> None:
        """Close the WebSocket after what was posted."""
        self._outbox.append(_Close(code))
        self._wake.set()

    def dismiss(self, farewell: Node) -> None:
        """Send a last stanza, and close when the client has had time to act on it.

        A close on the stanza's heels can overtake it inside whatsmeow: it then never dials again after a 515, or
        reconnects where it should not.
        """
        self.post(farewell)
        grace = _RESTART_GRACE_SECONDS if farewell.text("code") == _RESTART else _GRACE_SECONDS
        asyncio.get_running_loop().call_later(grace, self.close)

    def deafen(self) -> None:
        self.deaf = True

    def abort(self) -> None:
        """Drop the TCP connection now, without a WebSocket close."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def swallow(self) -> None:
        """Read and forget until the client leaves."""
        async for _message in self._socket:
            pass

    async def handshake(self, responder: Callable[[bytes], Responder]) -> Transport:
        """Run the Noise handshake. Raises ProtocolViolation, also when it takes too long or the client leaves."""
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                return await self._shake_hands(responder)
        except (TimeoutError, StopAsyncIteration) as error:
            raise ProtocolViolation("the handshake was not completed") from error

    async def _shake_hands(self, responder: Callable[[bytes], Responder]) -> Transport:
        self._frames = self._incoming_frames()
        hello = await anext(self._frames)
        server = responder(self._reader.header)
        await self._socket.send_bytes(frame(server.answer(hello)))
        self.transport = server.finish(await anext(self._frames))
        return self.transport

    async def serve(self, transport: Transport, handle: Callable[[Node], None]) -> None:
        """Pass incoming stanzas to ``handle`` until the client leaves. Raises ProtocolViolation."""
        writer = asyncio.create_task(self._write(transport))
        try:
            async for payload in self._frames:
                node = self._codec.decode(transport.incoming.decrypt(payload))
                self._transcript.add(self.number, self.label, "in", node)
                if not self.stalled:
                    handle(node)
        finally:
            writer.cancel()
            await asyncio.wait([writer])

    async def _incoming_frames(self) -> AsyncIterator[bytes]:
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                for complete in self._reader.feed(message.data):
                    yield complete
            elif message.type is WSMsgType.TEXT:
                raise ProtocolViolation("a text message")

    async def _write(self, transport: Transport) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch = list(self._outbox)
            self._outbox.clear()
            try:
                await self._journal.durable()
                await self._write_batch(transport, batch)
            except ConnectionError:
                return  # the reading side learns of it too, and ends the connection
            except _Close as request:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await self._socket.close(code=request.code)
                return
            except Exception:  # noqa: BLE001 - whatever it is, the client must dial again
                _log.exception("connection %d cannot be written to", self.number)
                self.abort()
                return

    async def _write_batch(self, transport: Transport, batch: list[Node | _Close]) -> None:
        for item in batch:
            if isinstance(item, _Close):
                raise item
            self._transcript.add(self.number, self.label, "out", item)
            await self._socket.send_bytes(frame(transport.outgoing.encrypt(self._codec.encode(item))))
