"""All clients: from the WebSocket upgrade through login or pairing to their end, whatever they send."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from aiohttp import web

from wa_emulator.connection import Connection, Plumbing
from wa_emulator.directory import Device, Directory
from wa_emulator.faults import Fault, Faults
from wa_emulator.iq import InfoQueries, result
from wa_emulator.linking_code import REGISTRATION, LinkingCodes
from wa_emulator.nodes import Attributes, Node, ProtocolViolation
from wa_emulator.noise import LARGEST_FRAME, Responder, ServerIdentity, Transport
from wa_emulator.pairing import Pairing
from wa_emulator.relay import Relay
from wa_emulator.strikes import Strikes, replace

_LOGGED_OUT: Final = "401"
_LOGGED_OUT_FAILURE: Final[Attributes] = {"reason": _LOGGED_OUT}
_FINAL_REASONS: Final = (401, 403, 406)
_LOCATION: Final = "frc"
_PING: Final = "w:p"
_POLL_SECONDS: Final = 0.05

_log = logging.getLogger("wa_emulator")


class Clients:
    """Accepts clients and tells their stanzas apart."""

    def __init__(
        self, plumbing: Plumbing, identity: ServerIdentity, directory: Directory, relay: Relay, faults: Faults
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._directory = directory
        self._relay = relay
        self.pairing = Pairing(directory, lambda account: faults.hit_phone("passkey", account.number))
        self.codes = LinkingCodes(self.pairing)
        self._plumbing = plumbing
        self._identity = identity
        self._numbers = itertools.count(1)
        self._present: set[Connection] = set()
        self._queries = InfoQueries(directory, self)
        self._faults = faults
        self._strikes = Strikes(faults, self._present, self.unlink, relay.resume)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._present))

    async def accept(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it leaves."""
        refusal = self._faults.hit("refuse", None)
        if refusal is not None:
            return web.Response(status=refusal.parameters["status"], text="refused by a fault\n")
        hang = self._faults.hit("hang_upgrade", None)
        if hang is not None:
            return await _hang(request, hang)
        socket = web.WebSocketResponse(autoping=True, compress=False, max_msg_size=2 * LARGEST_FRAME)
        try:
            await socket.prepare(request)
        except ConnectionError:
            return socket  # it left before it was let in
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
            connection.dismiss(Node("stream:error", {"code": _LOGGED_OUT}, [conflict]))
        self._relay.announce_devices(device.account, device, "remove")

    def begin_fault(self, wish: Mapping[str, Any]) -> Fault:
        """Begin a fault; strikes act before this returns. Raises BadFault."""
        fault = self._faults.add(wish)
        self._strikes.begin(fault)
        return fault

    def activated(self, device: Device, connection: Connection) -> None:
        """Deliver what waited for a device, and strike it if a fault is armed."""
        self._relay.flush(device)
        self._strikes.on_active(connection)

    async def _serve(self, connection: Connection) -> None:
        self._strikes.on_accept(connection)
        if connection.stalled:
            await connection.swallow()
            return
        transport = await connection.handshake(lambda header: Responder(header, self._identity))
        if transport.payload.HasField("devicePairingData"):
            await self._serve_candidate(connection, transport)
        else:
            await self._serve_device(connection, transport)

    async def _serve_candidate(self, connection: Connection, transport: Transport) -> None:
        candidate = self.pairing.begin(connection, transport.client_key, transport.payload.devicePairingData)

        def handle(node: Node) -> None:
            if node.tag != "iq":
                return
            if node.text("type") in ("result", "error"):
                self.pairing.take_answer(candidate, node)
            else:
                wants_code = node.child(REGISTRATION) is not None
                connection.post(result(node, *(self.codes.take_query(candidate, node) if wants_code else ())))

        try:
            await connection.serve(transport, handle)
        finally:
            self.pairing.end(candidate)
            self.codes.end(candidate)

    async def _serve_device(self, connection: Connection, transport: Transport) -> None:
        device = self._known_device(transport)
        failure = _LOGGED_OUT_FAILURE if device is None else self._failure(device)
        if device is None or failure is not None:
            self.counters["failed logins"] += 1
            connection.dismiss(Node("failure", {"location": _LOCATION, "t": int(time.time()), **(failure or {})}))
            await connection.serve(transport, _ignore)
            return
        self._greet(device, connection)
        await connection.serve(transport, self._router(device, connection))

    def _known_device(self, transport: Transport) -> Device | None:
        """Return the device whose keys the client has; None if it is not, or no longer, linked."""
        account = self._directory.known(str(transport.payload.username))
        device = account.devices.get(transport.payload.device) if account else None
        return device if device is not None and device.noise_key == transport.client_key else None

    def _failure(self, device: Device) -> Attributes | None:
        """Return the attributes of a login failure if a fault wants one. Some reasons end the device for good."""
        fault = self._faults.hit("login_failure", device)
        if fault is None:
            return None
        if fault.parameters["reason"] in _FINAL_REASONS:
            self.unlink(device)
        return {name: None if value is None else str(value) for name, value in fault.parameters.items()}

    def _greet(self, device: Device, connection: Connection) -> None:
        if device.connection is not None:
            replace(device.connection)
        connection.device, device.connection = device, connection
        self._strikes.on_login(connection)
        self.counters["logins"] += 1
        attributes: Attributes = {
            "t": int(time.time()),
            "props": "27",
            "location": _LOCATION,
            "lid": device.lid,
            "creation": int(time.time()),
        }
        connection.post(Node("success", attributes))

    def _router(self, device: Device, connection: Connection) -> Callable[[Node], None]:
        handlers: dict[str, Callable[[Node], None]] = {
            "iq": lambda node: self._take_query(device, connection, node),
            "message": lambda node: self._relay.submit(device, node),
            "receipt": lambda node: self._relay.take_receipt(device, node),
            "ack": lambda node: self._relay.take_ack(device, node),
        }
        return lambda node: handlers.get(node.tag, _ignore)(node)

    def _take_query(self, device: Device, connection: Connection, node: Node) -> None:
        if node.text("xmlns") == _PING:
            if self._faults.hit("no_pings", device):
                return
            slowness = self._faults.hit("slow_pings", device)
            if slowness is not None:
                answer = functools.partial(self._queries.handle, device, connection, node)
                asyncio.get_running_loop().call_later(slowness.parameters["delay"], answer)
                return
        self._queries.handle(device, connection, node)

    def _leave(self, connection: Connection) -> None:
        self._strikes.on_leave(connection)
        device = connection.device
        if device is not None and device.connection is connection:
            device.connection = None


async def _hang(request: web.Request, fault: Fault) -> web.StreamResponse:
    """Never answer the upgrade; when the fault is over, or the client has lost patience, drop the connection."""
    # A transport has no event for its end, hence the polling.
    while request.transport is not None and not request.transport.is_closing() and not fault.over.is_set():  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _ignore(_node: Node) -> None:
    """Presence, chat states and the like need no answer."""
