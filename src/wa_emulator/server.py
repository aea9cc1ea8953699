"""The composition of the emulator, usable in-process: ``async with Emulator() as emulator: …``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from wa_emulator import certificates, world
from wa_emulator.clients import Clients
from wa_emulator.codec import Codec
from wa_emulator.connection import Plumbing
from wa_emulator.control import Handler, control_routes
from wa_emulator.directory import Account, Device, canonical
from wa_emulator.faults import Faults
from wa_emulator.journal import Forgetful, Journal
from wa_emulator.noise import ServerIdentity
from wa_emulator.persistence import StateFile
from wa_emulator.phones import Phones
from wa_emulator.relay import Relay
from wa_emulator.transcript import Transcript
from wa_emulator.world import World
from wa_library.tokens import token_tables

LOOPBACK = "127.0.0.1"
_BATCH = 25
_BODY_BYTES = 8 * 1024 * 1024

_log = logging.getLogger("wa_emulator")


class Emulator:
    """A WhatsApp server on loopback. Port 0 lets the system choose; ``port`` says which after the start."""

    def __init__(self, port: int = 0, state: Path | None = None) -> None:
        self.port = port
        self._state_path = state
        self._state: StateFile | None = None
        self._journal: Journal = Forgetful()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def root_key(self) -> bytes:
        """The public key (32 bytes) that clients must trust instead of WhatsApp's."""
        return self._root.public

    async def start(self) -> None:
        """Serve. Raises OSError if the port is taken, StateUnusable if the state file cannot be used."""
        codec = Codec(await asyncio.to_thread(token_tables))
        lasting = self._world(codec)
        self._root = lasting.root
        self.directory, self.ledger = lasting.directory, lasting.ledger
        self.transcript, self.faults = Transcript(), Faults()
        self._phones = Phones(self.directory, self.ledger)
        self._relay = Relay(self.directory, self.ledger, self._phones, self.faults)
        identity = ServerIdentity(lasting.server, certificates.chain(lasting.root, lasting.server))
        plumbing = Plumbing(codec, self._journal, self.transcript)
        self.clients = Clients(plumbing, identity, self.directory, self._relay, self.faults)
        await self._listen()

    def _world(self, codec: Codec) -> World:
        if self._state_path is None:
            return world.fresh(codec)
        self._journal = self._state = StateFile(self._state_path)
        return world.restored(self._state, codec)

    async def stop(self) -> None:
        """Leave abruptly, as a server that is killed: clients see their connections break."""
        self.faults.clear()
        for connection in self.clients:
            connection.abort()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._state is not None:
            await self._state.close()
            self._state = None

    async def _listen(self) -> None:
        application = web.Application(middlewares=[self._sort], client_max_size=_BODY_BYTES)
        control_routes(application, self)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    @web.middleware
    async def _sort(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """WebSocket upgrades at any path are clients; all else is the control API."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self.clients.accept(request)
        return await handler(request)

    async def add_phone(self, number: str, name: str = "") -> None:
        """Make a phone that can link devices. Raises ValueError for a bad number."""
        self.directory.add_phone(canonical(number), name)
        await self._journal.durable()

    async def configure_contact(self, number: str, settings: Mapping[str, str | bool]) -> Account:
        """Change how a contact's phone behaves: ``name``, ``reads``, ``reply``, ``on_whatsapp``. Raises ValueError."""
        account = self.directory.account(canonical(number))
        for name, value in settings.items():
            setattr(account, name, value)
        self.directory.save(account)
        await self._journal.durable()
        return account

    async def scan(self, number: str, qr: str) -> str:
        """Scan a QR's text with a phone; return the new device's JID. Raises UnknownNumber or ScanRefused."""
        account = self.directory.phone(canonical(number))
        return await self._linked(account, await self.clients.pairing.scan(account, qr))

    async def type_code(self, number: str, code: str) -> str:
        """Type a linking code on a phone; return the new device's JID. Raises UnknownNumber or ScanRefused."""
        account = self.directory.phone(canonical(number))
        return await self._linked(account, await self.clients.codes.type(account, code))

    async def _linked(self, account: Account, device: Device) -> str:
        self._relay.announce_devices(account, device, "add")
        await self._journal.durable()
        return str(device.jid)

    async def send(self, sender: str, to: str, text: str, count: int = 1) -> list[str]:
        """Type a message on a phone (or contact) ``count`` times; return the ids. Raises ValueError."""
        author, reader = self.directory.account(canonical(sender)), self.directory.account(canonical(to))
        ids = []
        for number in range(count):
            message_id, mail = self._phones.type(author, reader, text)
            self._relay.post(mail)
            ids.append(message_id)
            if number % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)
        await self._journal.durable()
        return ids

    async def read(self, reader: str, sender: str, message_id: str) -> None:
        """Look at a message on its recipient's own phone. Raises ValueError if it got none like that."""
        account = self.directory.account(canonical(reader))
        entry = self.ledger.find(canonical(sender), message_id)
        if entry is None or entry.recipient != account.number:
            raise ValueError("that phone got no such message")
        self._relay.post(self._phones.read(account, entry))
        await self._journal.durable()
