"""``tandem events``: what happened, and what happens."""

from __future__ import annotations

import json as jsons
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from tandem.cli.client import Client, Json, Token, Url


def events(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    kind: Annotated[str | None, typer.Option("--type", help="Only events of this type.")] = None,
    account: Annotated[str | None, typer.Option(help="Only events of this account.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Show what happened, oldest first."""
    client = Client(url, token)
    wanted = {name: value for name, value in (("type", kind), ("account", account)) if value}
    answer = client.get(f"/api/events?{urlencode({**wanted, 'limit': limit})}")
    for event in reversed(answer["events"]):
        _show(event, json=json)
    if follow:
        for event in client.stream(f"/api/events/stream?{urlencode(wanted)}"):
            _show(event, json=json)


def _show(event: dict[str, Any], *, json: bool) -> None:
    if json:
        typer.echo(jsons.dumps(event))
        return
    when = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).astimezone().strftime("%m-%d %H:%M:%S")
    where = " ".join(part for part in (event["account"], event["slot"]) if part)
    text = event["data"].get("message") or event["type"]
    reason = f" ({event['reason']})" if event["reason"] and event["reason"] not in text else ""
    typer.echo(f"{when}  {event['type']:<24} {where:<24} {text}{reason}")
