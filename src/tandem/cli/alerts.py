"""``tandem alerts``: what fires now, and whether anybody would hear of it."""

from __future__ import annotations

import asyncio
import json as jsons

import typer

from tandem.cli.client import Client, Json, Token, Url
from tandem.cli.words import table, when
from tandem.errors import Misconfigured

app = typer.Typer(no_args_is_help=True, help="What fires now, and whether anybody would hear of it.")


@app.command("list")
def show(*, url: Url = None, token: Token = None, json: Json = False) -> None:
    """List the alerts that fire now, the oldest first. Exit code 1 if there are any."""
    alerts = Client(url, token).get("/api/alerts")["alerts"]
    if json:
        typer.echo(jsons.dumps(alerts))
    elif not alerts:
        typer.echo("Nothing fires.")
    else:
        where = [" ".join(part for part in (alert["account"], alert["slot"]) if part) for alert in alerts]
        rows = [
            (when(alert["since"]), alert["severity"], alert["rule"], place, alert["detail"])
            for alert, place in zip(alerts, where, strict=True)
        ]
        table([("SINCE", "SEVERITY", "ALERT", "WHERE", "WHAT"), *rows])
    raise typer.Exit(1 if alerts else 0)


@app.command("test")
def try_out(*, json: Json = False) -> None:
    """Send a test alert to each of ALERT_URLS, now, and say which took it. Exit code 1 if one did not."""
    from tandem.monitoring.notifier import Letter, channels, send  # noqa: PLC0415 - heavy
    from tandem.settings import load  # noqa: PLC0415 - the same

    urls = load().alert_urls
    found = channels(urls.get_secret_value()) if urls else []
    if not found:
        raise Misconfigured("ALERT_URLS is not set: there is nowhere to send a test to")
    letter = Letter("test", "This is a test: whoever reads it would be told of real trouble, too.")

    async def try_all() -> list[bool]:
        return [outcome.taken for outcome in await asyncio.gather(*(send(channel, letter) for channel in found))]

    taken = asyncio.run(try_all())
    if json:
        typer.echo(jsons.dumps({channel.alias: each for channel, each in zip(found, taken, strict=True)}))
    else:
        table([(channel.alias, "taken" if each else "REFUSED") for channel, each in zip(found, taken, strict=True)])
    raise typer.Exit(0 if all(taken) else 1)


@app.command("rules")
def rules() -> None:
    """Print rules for Prometheus that watch what Tandem watches, with the thresholds of the settings."""
    from tandem.cli.alert_documents import prometheus  # noqa: PLC0415 - heavy
    from tandem.monitoring.standing import thresholds  # noqa: PLC0415 - the same
    from tandem.settings import load  # noqa: PLC0415 - the same

    wanted = load().alert
    typer.echo(prometheus(thresholds(wanted), wanted.objective), nl=False)


@app.command("runbook")
def runbook() -> None:
    """Print what each alert means and what to do, as a Markdown table."""
    from tandem.cli import alert_documents  # noqa: PLC0415 - heavy

    typer.echo(alert_documents.runbook(), nl=False)
