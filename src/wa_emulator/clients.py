"""All clients: from the WebSocket upgrade through login or pairing to their end, whatever they send."""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from wa_emulator.connection import Connection, Plumbing
from wa_emulator.directory import Device, Directory
from wa_emulator.iq import InfoQueries
from wa_emulator.nodes import Node, ProtocolViolation
from wa_emulator.noise import LARGEST_FRAME, Responder, ServerIdentity, Transport
from wa_emulator.pairing import Pairing
from wa_emulator.relay import Relay

_LOGGED_OUT: Final = "401"
_LOCATION: Final = "frc"

_log = logging.getLogger("wa_emulator")


class Clients:
    """Accepts clients and tells their stanzas apart."""

    def __init__(
        self, plumbing: Plumbing, identity: ServerIdentity, directory: Directory, relay: Relay, pairing: Pairing
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._directory = directory
        self._relay = relay
        self._pairing = pairing
        self._plumbing = plumbing
        self._identity = identity
        self._numbers = itertools.count(1)
        self._present: set[Connection] = set()
        self._queries = InfoQueries(directory, relay, self.unlink)

    def __iter__(self) -> Any:
        return iter(list(self._present))

    async def accept(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it leaves."""
        socket = web.WebSocketResponse(autoping=True, compress=False, max_msg_size=2 * LARGEST_FRAME)
        await socket.prepare(request)
        connection = Connection(next(self._numbers), socket, request, self._plumbing)
        self._present.add(connection)
        self.counters["connections"] += 1
        try:
            await self._serve(connection)
        except ProtocolViolation as violation:
            self.counters["violations"] += 1
            _log.warning("connection %d closed: %s", connection.number, violation)
            await socket.close(code=1002)
        except ConnectionError:
            _log.debug("connection %d broke", connection.number)
        except Exception:  # noqa: BLE001 - one client must not hurt the others
            self.counters["errors"] += 1
            _log.exception("connection %d closed: an error of the emulator", connection.number)
            await socket.close(code=1011)
        finally:
            self._present.discard(connection)
            self._leave(connection)
        return socket

    def unlink(self, device: Device) -> None:
        """Remove a linked device: it is told, and everyone else too."""
        self._directory.unlink(device)
        connection = device.connection
        if connection is not None:
            conflict = Node("conflict", {"type": "device_removed"})
            connection.post(Node("stream:error", {"code": _LOGGED_OUT}, [conflict]))
            connection.close()
        self._relay.announce_devices(device.account, device, "remove")

    async def _serve(self, connection: Connection) -> None:
        transport = await connection.handshake(lambda header: Responder(header, self._identity))
        if transport.payload.HasField("devicePairingData"):
            await self._serve_candidate(connection, transport)
        else:
            await self._serve_device(connection, transport)

    async def _serve_candidate(self, connection: Connection, transport: Transport) -> None:
        candidate = self._pairing.begin(connection, transport.client_key, transport.payload.devicePairingData)

        def handle(node: Node) -> None:
            if node.tag == "iq" and node.text("type") in ("result", "error"):
                self._pairing.take_answer(candidate, node)

        try:
            await connection.serve(transport, handle)
        finally:
            self._pairing.end(candidate)

    async def _serve_device(self, connection: Connection, transport: Transport) -> None:
        device = self._login(connection, transport)
        if device is None:
            connection.post(Node("failure", {"reason": _LOGGED_OUT, "location": _LOCATION}))
            connection.close()
            await connection.serve(transport, lambda _node: None)
            return
        await connection.serve(transport, self._router(device, connection))

    def _login(self, connection: Connection, transport: Transport) -> Device | None:
        """Return the device whose keys the client has, greeted; None if it is not, or no longer, linked."""
        account = self._directory.known(str(transport.payload.username))
        device = account.devices.get(transport.payload.device) if account else None
        if device is None or device.noise_key != transport.client_key:
            return None
        if device.connection is not None:
            self.replace(device.connection)
        connection.device, device.connection = device, connection
        self.counters["logins"] += 1
        connection.post(
            Node("success", {
                "t": int(time.time()), "props": "27", "companion_enc_static": "", "location": _LOCATION,
                "lid": device.lid, "creation": int(time.time()),
            })
        )  # fmt: skip
        return device

    def replace(self, connection: Connection) -> None:
        """Tell a client that another one has taken its place."""
        connection.post(Node("stream:error", {}, [Node("conflict", {"type": "replaced"})]))
        connection.close()

    def _router(self, device: Device, connection: Connection) -> Callable[[Node], None]:
        handlers: dict[str, Callable[[Node], None]] = {
            "iq": lambda node: self._queries.handle(device, connection, node),
            "message": lambda node: self._relay.submit(device, node),
            "receipt": lambda node: self._relay.take_receipt(device, node),
            "ack": lambda node: self._relay.take_ack(device, node),
        }
        ignored: Callable[[Node], None] = lambda _node: None  # noqa: E731 - presence, chatstate and the like

        def handle(node: Node) -> None:
            handlers.get(node.tag, ignored)(node)

        return handle

    def _leave(self, connection: Connection) -> None:
        device = connection.device
        if device is not None and device.connection is connection:
            device.connection = None
