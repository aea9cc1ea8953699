"""The two processes a demo runs beside itself: the emulator and the daemon, the latter really killed at times."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

LogLine = Mapping[str, object]
_EMULATOR = "import sys; from wa_emulator.cli import main; sys.exit(main())"
_DAEMON = "import sys; from tandem.cli import main; sys.exit(main())"
_LAST_WORDS = 20


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class HostProcess:
    """A device host of the daemon, found by its command line."""

    pid: int
    account: str
    slot: str


class Child:
    """A Python child process whose standard output is read line by line."""

    def __init__(self, code: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-c", code, *arguments]
        self._environment = {**_inherited(), **environment}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self.last_words: list[str] = []

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self, on_line: Callable[[str], None]) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
        )
        self._reader = asyncio.create_task(self._read(self._process, on_line))

    async def _read(self, process: asyncio.subprocess.Process, on_line: Callable[[str], None]) -> None:
        if process.stdout is None:
            return
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.last_words = [*self.last_words[-_LAST_WORDS:], line]
            on_line(line)

    async def end(self, sign: signal.Signals = signal.SIGTERM, patience: float = 10.0) -> int:
        """Send the signal and return the exit code; after ``patience`` seconds it is killed."""
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(sign)
        try:
            async with asyncio.timeout(patience):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=patience)
        return process.returncode or 0


def emulator(port: int, state: Path) -> Child:
    return Child(_EMULATOR, ["--port", str(port), "--state", str(state)], {})


class DaemonProcess:
    """The daemon under test: started, killed, started again, on the same data directory."""

    def __init__(
        self,
        port: int,
        emulator_port: int,
        data: Path,
        on_log: Callable[[LogLine], None],
        environment: Mapping[str, str],
    ) -> None:
        self.port = port
        self._on_log = on_log
        self._environment = {
            "PORT": str(port),
            "TANDEM_DATA_DIR": str(data),
            "TANDEM_EMULATOR": f"127.0.0.1:{emulator_port}",
            "TANDEM_LOG__FORMAT": "json",
            **environment,
        }
        self.child = Child(_DAEMON, ["run"], self._environment)
        self.lines: list[str] = []

    async def start(self) -> None:
        self.child = Child(_DAEMON, ["run"], self._environment)
        await self.child.start(self._line)

    def _line(self, line: str) -> None:
        self.lines.append(line)
        with contextlib.suppress(ValueError):
            parsed = json.loads(line)
            if isinstance(parsed, dict):
                self._on_log(parsed)

    def hosts(self) -> list[HostProcess]:
        """The device hosts that run now."""
        found = []
        for child in _children(self.child.pid):
            words = _command_line(child)
            if any("tandem.whatsapp.host" in word for word in words):
                path = next((Path(word) for word in words if word.endswith(".db")), None)
                if path is not None:
                    found.append(HostProcess(child, path.parent.name, path.stem))
        return found


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _inherited() -> dict[str, str]:
    """The environment without settings of a real deployment: a demo must not touch one."""
    foreign = ("TANDEM_", "RAILWAY_", "FIREBASE_", "FIRESTORE_", "GOOGLE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign) and name != "PORT"}
