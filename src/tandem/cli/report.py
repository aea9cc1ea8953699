"""``tandem report``: what a day was like."""

from __future__ import annotations

import json as jsons
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from tandem.cli.client import Client, Json, Token, Url
from tandem.cli.words import harmless, table, when


def report(
    *,
    date: Annotated[str | None, typer.Option(help="The day, YYYY-MM-DD; today so far without it.")] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Show the report of a day: uptime, outages and messages of each account."""
    query = f"?{urlencode({'date': date})}" if date else ""
    found = Client(url, token).get(f"/api/report/daily{query}")["report"]
    if json:
        typer.echo(jsons.dumps(found))
        return
    typer.echo(f"{found['date']} ({found['zone']})\n")
    table([_HEADER, *(_row(account) for account in found["accounts"])])
    incidents = [(account["account"], each) for account in found["accounts"] for each in account["incidents"]]
    if incidents:
        typer.echo("\nOutages")
        table([_incident(account, each) for account, each in incidents])
    typer.echo(
        f"\nQueues at most: inbox {found['inboxHighWater']}, outbox {found['outboxHighWater']}; "
        f"alerts: {found['alerts']}; documents written: {found['writes']} (${found['cost']:.2f} by Firestore's list)"
    )


_SPANS = {"inbound": "STORED (P99)", "outbound": "ACKED (P99)", "detected": "NOTICED (P99)", "recovered": "BACK (P99)"}
_HEADER = ("ACCOUNT", "UPTIME", "OUT", "OUTAGES", "FAILOVERS", "IN", "SENT", "DEAD", *_SPANS.values())


def _row(account: dict[str, Any]) -> tuple[str, ...]:
    counts = account["counts"]
    return (
        account["account"],
        "not known" if account["uptime"] is None else f"{account['uptime']:.3%}",
        f"{account['downtime']:.0f} s",
        str(len(account["incidents"])),
        *(str(counts[name]) for name in ("failovers", "received", "sent", "dead")),
        *(_span(account[name]["p99"]) for name in _SPANS),
    )


def _incident(account: str, incident: dict[str, Any]) -> tuple[str, ...]:
    return account, when(incident["began"]), f"{incident['seconds']:.1f} s", harmless(incident["cause"])


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else f"<= {seconds:g} s"
