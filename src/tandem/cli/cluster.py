"""``tandem cluster``: which of several instances runs what, and moving it by hand."""

from __future__ import annotations

import json as jsons
from typing import Annotated, Any

import typer

from tandem.cli.client import Client, Json, Token, Url
from tandem.cli.words import harmless, identity, table, when

app = typer.Typer(
    no_args_is_help=True,
    help="Several instances that share the accounts: see who runs what, move an account, drain an instance.",
)
_INSTANCES = ("INSTANCE", "REGION", "STATE", "HEARTBEAT", "RUNS", "VERSION", "URL")
_LEASES = ("ACCOUNT", "RUN BY", "STATE", "GENERATION", "SINCE", "WHY")
_REGIONS = ("REGION", "STATE", "FAILURES", "LOOKED", "WHY")


@app.command()
def status(*, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Show the instances, who runs which account, and how the other regions look from here.

    Example: tandem cluster status --json | jq '.leases[] | select(.state != "held")'
    """
    cluster = Client(url, token).get("/api/cluster")["cluster"]
    if json:
        typer.echo(jsons.dumps(cluster))
        return
    _show(cluster)


def _show(cluster: dict[str, Any]) -> None:
    me = cluster["me"]
    if not cluster["enabled"]:
        typer.echo(
            f"{harmless(me['name']) or 'This'} is a single instance in region {me['region']}: it runs everything."
        )
        return
    fenced = f"; it may run no account now: {harmless(me['fencedFor'])}" if me["fencedFor"] else ""
    typer.echo(f"{harmless(me['name'])} in region {harmless(me['region'])} is {me['role']}{fenced}.\n")
    table([_INSTANCES, *(_instance(each) for each in cluster["instances"])])
    if cluster["leases"]:
        typer.echo("")
        table([_LEASES, *(_lease(each) for each in cluster["leases"])])
    if cluster["regions"]:
        typer.echo("")
        table([_REGIONS, *(_region(each) for each in cluster["regions"])])


def _instance(each: dict[str, Any]) -> tuple[str, ...]:
    seen = each["seenSecondsAgo"]
    state = f"{each['state']}, draining" if each["draining"] else each["state"]
    name = harmless(each["name"]) + (" (this one)" if each["me"] else "")
    beat = "none yet" if seen is None else f"{seen:.1f} s ago"
    texts = (each["region"] or "-", state, beat, str(each["holds"]), each["version"] or "-", each["url"] or "-")
    return name, *map(harmless, texts)


def _lease(each: dict[str, Any]) -> tuple[str, ...]:
    since = when(each["since"]) if each["since"] else "-"
    holder = harmless(each["holderName"]) if each["holder"] else "nobody"
    return each["account"], holder, each["state"], str(each["generation"]), since, harmless(each["reason"]) or "-"


def _region(each: dict[str, Any]) -> tuple[str, ...]:
    looked = when(each["lastChecked"]) if each["lastChecked"] else "not yet"
    return each["name"], each["state"], str(each["failures"]), looked, harmless(each["detail"]) or "-"


@app.command()
def move(
    account: Annotated[str, typer.Argument(help="The account's id, or its phone number.")],
    *,
    to: Annotated[str, typer.Option(help="The instance, by id or name.", show_default="the fittest")] = "",
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Let another instance run an account. Only the instance that runs it can be asked: it says which one if not.

    Example: tandem cluster move +12025550123 --to us-east
    """
    body = {"account": identity(account), "to": to}
    lease = Client(url, token).call("POST", "/api/cluster/move", body).json()["lease"]
    if json:
        typer.echo(jsons.dumps(lease))
        return
    holder = harmless(lease["holderName"]) or "nobody"
    typer.echo(f"Account {lease['account']} is {lease['state']}: {holder}, generation {lease['generation']}.")


@app.command()
def drain(
    *,
    off: Annotated[bool, typer.Option("--off", help="Take part again.")] = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Let other instances run every account of this one, and take none, until --off.

    Examples: tandem cluster drain; TANDEM_URL=https://eu.example tandem cluster drain --off
    """
    cluster = Client(url, token).call("POST", "/api/cluster/drain", {"on": not off}).json()["cluster"]
    if json:
        typer.echo(jsons.dumps(cluster))
        return
    holds = sum(lease["mine"] for lease in cluster["leases"])
    words = "takes part again" if off else "hands its accounts over"
    typer.echo(f"{harmless(cluster['me']['name'])} {words}; it runs {holds} of {len(cluster['leases'])} now.")
