"""The real daemon with death built in, for tests: it wraps known functions of the product and dies there on order.

The order is a file that a test writes: ``<point> <pid>…``. The first time that point is reached the file is taken away
and the processes are killed, the daemon itself last if it is among them. Without a file nothing happens.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tandem.cli import main as tandem_main
from tandem.demo.processes import Child, DaemonProcess, free_port
from tandem.demo.scene import Scene
from tandem.model.outbox import SendOutcome
from tandem.policy.outbox import Input
from tandem.queue import outbox_rows
from tandem.queue.outbox import Outbox
from tandem.whatsapp.frames import Kind
from tandem.whatsapp.link import Link

ORDER = "DOOM_ORDER"
POINTS = (
    "before accept commit",
    "after accept commit",
    "before sending commit",
    "after sending commit",
    "before call frame",
    "after call frame",
    "after ack",
    "after result commit",
)


_PROGRAM = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); "
    "from support.doomed_daemon import main; sys.exit(main())"
)


class DoomedDaemon(DaemonProcess):
    async def start(self) -> None:
        self.child = Child(_PROGRAM, ["run"], self._environment)
        await self.child.start(self._line)


class DoomedScene(Scene):
    """A scene whose daemon can be killed at a named point."""

    def _daemon(self, environment: Mapping[str, str]) -> DaemonProcess:
        port = self.options.port or free_port()
        return DoomedDaemon(port, self._emulator_port, self.data, self._on_log, {**environment, **self._environment})


def order(file: Path, point: str, pids: list[int]) -> None:
    """Have these processes killed when the daemon comes to this point."""
    fresh = file.with_suffix(".new")
    fresh.write_text(" ".join([point.replace(" ", "_"), *map(str, pids)]))
    fresh.replace(file)


def _reached(point: str) -> None:
    file = Path(os.environ[ORDER])
    try:
        wanted, *pids = file.read_text().split()
    except OSError:
        return
    if wanted != point.replace(" ", "_"):
        return
    file.unlink()
    own = str(os.getpid())
    for pid in sorted(pids, key=lambda each: each == own):
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def _after(owner: Any, name: str, point: str, when: Callable[..., bool] = lambda *_a, **_k: True) -> None:
    """Die after a plain function of ``owner`` returned; ``when`` is asked with its arguments."""
    real = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        result = real(*arguments, **named)
        if when(*arguments, **named):
            _reached(point)
        return result

    setattr(owner, name, wrapped)


def _after_awaiting(owner: Any, name: str, point: str, when: Callable[[Any], bool] = lambda _result: True) -> None:
    """Die after a coroutine function returned; ``when`` is asked with its result."""
    real = getattr(owner, name)

    async def wrapped(*arguments: Any, **named: Any) -> Any:
        result = await real(*arguments, **named)
        if when(result):
            _reached(point)
        return result

    setattr(owner, name, wrapped)


def _before_call(real: Any) -> Any:
    async def wrapped(self: Link, operation: str, *arguments: Any) -> Any:
        if operation == "send":
            _reached("before call frame")
        return await real(self, operation, *arguments)

    return wrapped


def main() -> int:
    """Build death in, then run what the command line says."""
    _after(outbox_rows, "insert", "before accept commit")
    _after_awaiting(Outbox, "accept", "after accept commit")
    _after(outbox_rows, "move", "before sending commit", lambda _c, _row, happened, *_a, **_k: happened is Input.CLAIM)
    _after_awaiting(Outbox, "mark_sending", "after sending commit")
    Link._call = _before_call(Link._call)  # type: ignore[method-assign]
    _after(Link, "_say", "after call frame", lambda _link, frame: _is_send(frame))
    _after_awaiting(Link, "send", "after ack", lambda result: result.outcome is SendOutcome.ACCEPTED)
    _after_awaiting(Outbox, "record", "after result commit")
    tandem_main()
    return 0


def _is_send(frame: Any) -> bool:
    return frame.kind is Kind.COMMAND and frame.header.get("op") == "send"


if __name__ == "__main__":
    sys.exit(main())
