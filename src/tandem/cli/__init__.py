"""The commands. Each imports what it needs when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from tandem.cli import accounts, alerts, check, cluster, dead_letters, events, outbox, report, run, webhook
from tandem.errors import TandemError

app = typer.Typer(
    name="tandem",
    help="Keeps WhatsApp accounts online: two live linked devices per account, every message stored once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("demo")(run.demo)
app.command("check", cls=check.CheckCommand)(check.check)
app.add_typer(accounts.app, name="accounts")
app.command("send")(outbox.send)
app.add_typer(outbox.app, name="outbox")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(cluster.app, name="cluster")
app.add_typer(webhook.app, name="webhook")
app.add_typer(alerts.app, name="alerts")
app.command("events")(events.events)
app.command("report")(report.report)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's way
    if wanted:
        from tandem import __version__  # noqa: PLC0415 - only when asked for

        typer.echo(f"tandem {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *, version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version.")
) -> None:
    """Options before any command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. A TandemError is one line on stderr and its own exit code."""
    try:
        app(args=list(arguments) if arguments is not None else None)
    except TandemError as error:
        sys.stderr.write(f"tandem: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return 0
