"""``tandem accounts``: what the dashboard does, in a terminal, QR included."""

from __future__ import annotations

import json as jsons
import sys
from typing import Annotated, Any, Literal

import typer

from tandem.cli import pairing
from tandem.cli.client import Client, Json, Token, Url
from tandem.cli.words import harmless, identity, table, when

_OUTAGES = 5

app = typer.Typer(
    help="Add, list, pair, switch, restart and remove accounts of a running daemon.", no_args_is_help=True
)

Account = Annotated[str, typer.Argument(help="The account's id, or its phone number.")]
Slot = Annotated[
    Literal["primary", "backup"] | None,
    typer.Option(help="Which slot.", show_default="all unpaired, one after the other"),
]
Method = Annotated[Literal["qr", "code"], typer.Option(help="Scan a QR, or type a code on the phone.")]


@app.command()
def add(
    phone: Annotated[str, typer.Argument(help="Phone number with its country code.")],
    name: Annotated[str, typer.Option(help="A name, for people.")] = "",
    *,
    pair: Annotated[bool, typer.Option(help="Show the QR right away.")] = True,
    method: Method = "qr",
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Add an account and pair its devices. The same number again: the same account."""
    client = Client(url, token)
    account = client.call("POST", "/api/whatsapp/add-account", {"name": name, "phone": phone}).json()["account"]
    if json:
        typer.echo(jsons.dumps(account))
        return
    typer.echo(f"{account['name']} is account {account['id']}, {account['status']}.")
    if not all(slot["device"] for slot in account["slots"]):
        if pair and (sys.stdout.isatty() or method == "code"):
            pairing.follow(client, account["id"], None, method)
        else:
            typer.echo(f"Its devices are to be linked: tandem accounts pair {account['id']}")


@app.command("list")
def list_accounts(*, url: Url = None, token: Token = None, json: Json = False) -> None:
    """List all accounts with both their slots, and which of several instances runs them."""
    accounts = Client(url, token).get("/api/whatsapp/accounts")["accounts"]
    if json:
        typer.echo(jsons.dumps(accounts))
        return
    if not accounts:
        typer.echo("No accounts yet: tandem accounts add +12025550123")
        return
    shared = any(account.get("lease") for account in accounts)
    rows = [("ACCOUNT", "NAME", "PHONE", "STATUS", "PRIMARY", "BACKUP", *(["RUN BY"] if shared else []))]
    for account in accounts:
        slots = [_slot(slot) for slot in account["slots"]]
        runner = [_runner(account.get("lease"))] if shared else []
        rows.append((account["id"], account["name"], account["phone"], account["status"], *slots, *runner))
    table(rows)


def _slot(slot: dict[str, Any]) -> str:
    text = f"{slot['state']} ({slot['role']})" if slot["role"] != "none" else str(slot["state"])
    return f"{text} at {harmless(slot['instance'])}" if slot.get("instance") else text


def _runner(lease: dict[str, Any] | None) -> str:
    if lease is None or not lease["holder"]:
        return "nobody"
    return harmless(lease["holderName"]) + (" (this instance)" if lease["mine"] else "")


@app.command()
def show(account: Account, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Show one account."""
    _show(Client(url, token).get(f"/api/whatsapp/account/{identity(account)}")["account"], json=json)


def _show(account: dict[str, Any], *, json: bool) -> None:
    if json:
        typer.echo(jsons.dumps(account))
        return
    typer.echo(f"{account['name']}  {account['phone']}  {account['status']}  ({account['id']})")
    for slot in account["slots"]:
        ping = f", ping {slot['pingMs']:.0f} ms" if slot["pingMs"] is not None else ""
        reason = f": {slot['reason']}" if slot["reason"] else ""
        step = f"; next: {slot['nextStep']}" if slot["nextStep"] else ""
        typer.echo(f"  {slot['slot']:<8} {_slot(slot)}{ping}{reason}{step}")
    if lease := account.get("lease"):
        since = f", since {when(lease['since'])}" if lease["since"] else ""
        typer.echo(f"  run by   {_runner(lease)}, generation {lease['generation']}{since}")
    if "survival" in account:
        _show_survival(account["survival"])
    sending = account["sending"]
    rate = f", {sending['perMinute']:g} a minute" if sending["perMinute"] is not None else ""
    reason = f": {sending['reason']}" if sending["reason"] else ""
    typer.echo(f"  sending  {sending['state']}{rate}{reason}")
    for outage in account.get("outages", [])[:_OUTAGES]:
        lasts = "" if outage["to"] else ", and lasts"
        typer.echo(f"  outage   {when(outage['from'])}, {outage['seconds']:.1f} s{lasts}: {harmless(outage['cause'])}")


def _show_survival(survival: dict[str, Any]) -> None:
    library = survival["library"]
    age = f"{library['name']} {library['version']}, {library['ageDays']} days old"
    until = f", banned until {when(survival['restrictedUntil'])}" if survival["restrictedUntil"] else ""
    typer.echo(f"  account  {survival['loginsLastHour']} logins in the last hour{until}; library {age}")
    seen, days = survival["phoneLastSeenAt"], survival["phoneUnseenDays"]
    typer.echo(f"  phone    {f'last seen {when(seen)}' if seen else 'not seen yet'}, unseen for {days} of 14 days")
    for problem in survival["problems"]:
        until = f" until {when(problem['until'])}" if problem["until"] else ""
        typer.echo(f"  problem  since {when(problem['since'])}{until}: {problem['words']}; next: {problem['nextStep']}")


@app.command()
def pair(
    account: Account,
    slot: Slot = None,
    method: Method = "qr",
    *,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Link devices: shows the QR, fresh each time it changes, until the phone has scanned or the time is up.

    Exit code 0: linked; 1: not, and one line says why and what to do. With --json: a line for each QR text or code.
    """
    pairing.follow(Client(url, token), identity(account), slot, method, json=json)


@app.command()
def switch(account: Account, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Let the other slot send."""
    _show(
        Client(url, token).call("POST", f"/api/whatsapp/account/{identity(account)}/switch").json()["account"],
        json=json,
    )


@app.command()
def restart(
    account: Account,
    slot: Annotated[Literal["primary", "backup"], typer.Option(help="Which slot.")],
    *,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Start a slot afresh: what brings a parked one back."""
    path = f"/api/whatsapp/account/{identity(account)}/restart"
    _show(Client(url, token).call("POST", path, {"slot": slot}).json()["account"], json=json)


@app.command()
def remove(
    account: Account,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Log out both devices and forget the account. Its conversations stay in the store."""
    client = Client(url, token)
    name = client.get(f"/api/whatsapp/account/{identity(account)}")["account"]["name"]
    if not yes:
        typer.confirm(f"Log out both devices of {name} and remove the account?", abort=True)
    client.call("DELETE", f"/api/whatsapp/account/{identity(account)}")
    typer.echo(f"{name} is removed.")
