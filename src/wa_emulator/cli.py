"""The command ``wa-emulator``."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

BAD_ARGUMENTS: Final = 2
PORT_TAKEN: Final = 3
_DEFAULT_PORT: Final = 5005
_LOOPBACK: Final = ("127.0.0.1", "localhost")

_HELP = """
Serve WhatsApp on loopback, speaking the real wire protocol, for tests and demos without a network.

Clients dial ws://127.0.0.1:PORT/ at any path and must trust the root key that GET /control/root-key tells.
A JSON control API is on the same port, under http://127.0.0.1:PORT/control/: make phones, let them scan QR
texts, type messages, break things on purpose (POST /control/faults), and read what became of every message.

Exit codes: 0 after SIGTERM or SIGINT, 2 bad arguments or an unusable state file, 3 the port is taken.
"""

application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class LogFormat(StrEnum):
    """How log lines look on stderr."""

    TEXT = "text"
    JSON = "json"


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record), "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


@application.command(help=_HELP)
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="For clients and control API; 0: any free port.")],
    state: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="File that keeps phones, devices, queues and keys over restarts."),
    ] = None,
    host: Annotated[str, typer.Option(help="Loopback only: real keys have no business here.")] = _LOOPBACK[0],
    log_format: Annotated[LogFormat, typer.Option(help="Of the log on stderr.")] = LogFormat.TEXT,
) -> None:
    if host not in _LOOPBACK:
        raise typer.BadParameter("the emulator serves loopback only, 127.0.0.1", param_hint="--host")
    _configure_logging(log_format)
    raise typer.Exit(asyncio.run(_serve(port, state)))


async def _serve(port: int, state: Path | None) -> int:
    """Serve until told to stop; return the exit code."""
    from wa_emulator.persistence import StateUnusable  # noqa: PLC0415 - `--help` need not wait for these
    from wa_emulator.server import Emulator  # noqa: PLC0415

    emulator = Emulator(port, state)
    try:
        await emulator.start()
    except StateUnusable as error:
        return _refuse(f"{error}", BAD_ARGUMENTS)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return _refuse(f"port {port} is taken: stop what listens there, or choose another --port", PORT_TAKEN)
    address = f"127.0.0.1:{emulator.port}"
    typer.echo(f"wa-emulator: serving on ws://{address}/ (control API: http://{address}/control/health)")
    await _until_told_to_stop()
    await emulator.stop()
    return 0


async def _until_told_to_stop() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def _refuse(reason: str, code: int) -> int:
    typer.echo(f"wa-emulator: {reason}", err=True)
    return code


def _configure_logging(log_format: LogFormat) -> None:
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(_JsonLines() if log_format is LogFormat.JSON else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _read_tokens_meanwhile() -> None:
    """Start reading the token tables, the slowest part of starting, while the modules load."""
    from wa_library.tokens import token_tables  # noqa: PLC0415

    threading.Thread(target=token_tables, daemon=True).start()


def main() -> None:
    """Run the command."""
    if "--port" in sys.argv:
        _read_tokens_meanwhile()
    application()
