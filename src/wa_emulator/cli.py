"""The command ``wa-emulator``."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import sys
from enum import StrEnum
from typing import Annotated

import typer

_PORT_TAKEN = 3
_DEFAULT_PORT = 5005

application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


@application.command(help="A WhatsApp server for loopback, speaking the real wire protocol.")
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port for clients and control API.")] = _DEFAULT_PORT,
) -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    raise typer.Exit(asyncio.run(_serve(port)))


async def _serve(port: int) -> int:
    from wa_emulator.server import Emulator  # noqa: PLC0415 - `--help` need not wait for it

    emulator = Emulator(port)
    try:
        await emulator.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        typer.echo(f"wa-emulator: port {port} is taken. Choose another with --port.", err=True)
        return _PORT_TAKEN
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    typer.echo(
        f"wa-emulator: serving on ws://127.0.0.1:{emulator.port}/ (control: http://127.0.0.1:{emulator.port}/control/health)"
    )
    await stop.wait()
    await emulator.stop()
    return 0


def main() -> None:
    """Entry point."""
    application()
