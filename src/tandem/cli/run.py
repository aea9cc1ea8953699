"""``tandem run`` and ``tandem demo``: start the daemon, or show the whole of it against the emulator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

Store = Literal["auto", "sqlite", "firestore"]


def run(
    *,
    port: Annotated[
        int | None, typer.Option(help="Port of API and dashboard; 0: any free one.", show_default="PORT, 5002")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="loopback; all with a token")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Queue, embedded store, session keys.", show_default="data")
    ] = None,
    store: Annotated[Store | None, typer.Option(help="Where messages end up.", show_default="auto")] = None,
    emulator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A wa-emulator on this machine instead of WhatsApp.")
    ] = None,
    instance: Annotated[str | None, typer.Option(help="Name of this instance in logs and health.")] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option(help="Least level that is logged.", show_default="info"),
    ] = None,
    log_format: Annotated[
        Literal["auto", "json", "console"] | None,
        typer.Option(help="JSON lines, or readable ones.", show_default="auto"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings file, TOML; see config/.", show_default="TANDEM_CONFIG")
    ] = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C. An option wins over its setting in environment or file.

    All settings: tandem check --settings
    """
    from tandem.daemon import main  # noqa: PLC0415 - heavy
    from tandem.settings import load  # noqa: PLC0415 - heavy

    if config is not None:
        os.environ["TANDEM_CONFIG"] = str(config)
    overrides: dict[str, object] = {
        "port": port,
        "data_dir": data_dir,
        "store": store,
        "emulator": emulator,
        "instance": instance,
        "api": {"host": host} if host is not None else None,
        "log": {name: value for name, value in (("level", log_level), ("format", log_format)) if value} or None,
    }
    raise typer.Exit(main(load(overrides)))


def demo(
    *,
    accounts: Annotated[int, typer.Option(help="How many accounts, each with two linked devices.")] = 3,
    rate: Annotated[float, typer.Option(help="Messages a second coming in, over all accounts.")] = 20.0,
    duration: Annotated[float, typer.Option(help="Seconds of traffic.")] = 60.0,
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill hosts and the daemon, break connections, meanwhile.")] = (
        False
    ),
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout at the end, nothing else.")] = False,
    store: Annotated[str, typer.Option(help="Where messages end up: sqlite or firestore.")] = "sqlite",
    port: Annotated[int | None, typer.Option(help="Port of the dashboard.", show_default="any free one")] = None,
) -> None:
    """Show it: real client library, emulated WhatsApp, messages both ways, judged at the end.

    Exit code 0 if no message was lost or doubled, 1 otherwise. Needs no WhatsApp account and no internet.
    """
    from tandem.demo import DemoOptions, main  # noqa: PLC0415 - heavy

    options = DemoOptions(
        accounts=accounts, rate=rate, duration=duration, chaos=chaos, json=json, store=store, port=port
    )
    raise typer.Exit(main(options))
