"""The stage of a demo: emulator, daemon, accounts and contacts, brought up step by step and brought down again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tandem.clock import SystemClock
from tandem.demo import firestore
from tandem.demo.clients import DemoFailed, Emulator, Tandem
from tandem.demo.options import DemoOptions
from tandem.demo.processes import DaemonProcess, LogLine, emulator, free_port
from tandem.demo.verdict import Fault, Move
from tandem.settings import load
from tandem.store.choice import choose_store
from tandem.store.port import Store

Tell = Callable[[str], None]
_UP = 20.0
_ALL_ONLINE = 60.0


@dataclass(frozen=True, slots=True)
class Actor:
    """An account of the demo and the contact it talks with. Numbers from the range reserved for fiction."""

    number: str
    contact: str
    name: str
    account: str = ""


@dataclass(slots=True)
class Log:
    """What the demo remembers of the daemon's log lines."""

    moves: list[Move] = field(default_factory=list)
    ups: list[Move] = field(default_factory=list)
    active: dict[str, str] = field(default_factory=dict)
    restored: list[int] = field(default_factory=list)

    def note(self, line: LogLine) -> None:
        event, account, slot = (str(line.get(key, "")) for key in ("event", "account", "slot"))
        if event in {"switched_to_backup", "switched_to_primary"}:
            self.moves.append(Move(_seconds(line), account, slot))
            self.active[account] = slot
        elif event == "session_online":
            self.ups.append(Move(_seconds(line), account, slot))
        elif event == "queue_restored":
            self.active.clear()
            self.restored.append(int(str(line.get("count", 0))))


class Scene:
    """Everything that runs. Use as an async context manager; leaving it ends every process it started."""

    def __init__(self, options: DemoOptions, tell: Tell, environment: Mapping[str, str] | None = None) -> None:
        """``environment``: settings of the daemon beyond those that the scene gives it."""
        self.options = options
        self.log = Log()
        self.faults: list[Fault] = []
        self.actors = _cast(options.accounts)
        self._tell = tell
        self._environment = dict(environment or {})
        self._stack = AsyncExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-demo-")))
        port = free_port()
        self._emulator = emulator(port, self._folder / "emulator.state")
        self._emulator_port = port
        self.data = self._folder / "data"
        self.daemon = self._daemon({"TANDEM_STORE": "sqlite"})
        self.firestore = ""

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self.daemon.child.end()
        await self._emulator.end()
        await self._stack.aclose()

    async def link_everybody(self) -> None:
        """Add the accounts and let their phones scan both QRs."""
        cast = []
        for actor in self.actors:
            await self.emulator.add_phone(actor.number, actor.name)
            account = await self.tandem.add_account(actor.name, actor.number)
            await self.emulator.scan(actor.number, await self.tandem.qr(account, "primary"))
            await self.tandem.wait_for_slot(account, "primary", "online", _UP)
            await self.tandem.pair(account, "backup")
            await self.emulator.scan(actor.number, await self.tandem.qr(account, "backup"))
            cast.append(Actor(actor.number, actor.contact, actor.name, account))
            self._tell(f"{actor.name}: both QRs scanned, two linked devices")
        self.actors = cast
        await self.everybody_online()

    async def everybody_online(self) -> None:
        await self.tandem.wait_for("every account online with both slots", "online", _ALL_ONLINE)

    async def restart_daemon(self) -> None:
        """Start the daemon again on the data it left behind."""
        await self.daemon.start()
        await self.tandem.wait_until_up("/readyz", _UP, "the daemon")

    def open_store(self) -> Store:
        """Return the store that the daemon writes to, not opened yet."""
        overrides: dict[str, object] = {"data_dir": self.data, "store": self.options.store}
        if self.firestore:
            overrides["firestore_emulator_host"] = self.firestore
            overrides["firestore"] = {"project": firestore.PROJECT}
        return choose_store(load(overrides), SystemClock())[0]

    async def restart_emulator(self) -> None:
        """End the emulator and start it again on the state it kept."""
        await self._emulator.end()
        await self._emulator.start(lambda _line: None)
        await self.emulator.wait_until_up("/control/root-key", _UP, "the emulator")

    async def stop_daemon(self) -> None:
        code = await self.daemon.child.end()
        if code != 0:
            raise DemoFailed(f"the daemon did not end cleanly (exit code {code})")

    def _daemon(self, environment: Mapping[str, str]) -> DaemonProcess:
        port = self.options.port or free_port()
        return DaemonProcess(port, self._emulator_port, self.data, self._on_log, {**environment, **self._environment})

    async def _with_firestore(self) -> None:
        self.firestore = await self._stack.enter_async_context(firestore.running())
        self.daemon = self._daemon(
            {
                "TANDEM_STORE": "firestore",
                "FIRESTORE_EMULATOR_HOST": self.firestore,
                "TANDEM_FIRESTORE__PROJECT": firestore.PROJECT,
            }
        )

    async def _start(self) -> None:
        if self.options.store == "firestore":
            await self._with_firestore()
        await self._emulator.start(lambda _line: None)
        self.emulator = await self._stack.enter_async_context(Emulator(self._emulator_port))
        await self.emulator.wait_until_up("/control/root-key", _UP, "the emulator")
        await self.daemon.start()
        self.tandem = await self._stack.enter_async_context(
            Tandem(self.daemon.port, self._environment.get("TANDEM_API_TOKEN", ""))
        )
        try:
            await self.tandem.wait_until_up("/readyz", _UP, "the daemon")
        except DemoFailed as error:
            words = "\n".join(self.daemon.child.last_words)
            raise DemoFailed(f"{error}; its last words:\n{words}") from None

    def _on_log(self, line: LogLine) -> None:
        self.log.note(line)
        if line.get("event") in {"switched_to_backup", "switched_to_primary", "queue_restored"}:
            self._tell(f"daemon: {line.get('message', '')}")


def _cast(accounts: int) -> list[Actor]:
    return [
        Actor(f"+1202555{100 + index:04d}", f"+1303555{100 + index:04d}", f"Demo shop {index + 1}")
        for index in range(accounts)
    ]


def _seconds(line: LogLine) -> float:
    stamp = line.get("timestamp")
    if isinstance(stamp, int | float):
        return float(stamp)
    try:
        return datetime.fromisoformat(str(stamp)).timestamp()
    except ValueError:
        return time.time()
