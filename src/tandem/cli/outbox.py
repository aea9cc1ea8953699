"""``tandem send`` and ``tandem outbox``: send a text, follow what became of it, settle what is not certain."""

from __future__ import annotations

import json as jsons
import sys
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from tandem.cli.client import Client, Json, Token, Url
from tandem.cli.words import harmless, identity, table, when

app = typer.Typer(help="Messages on their way out: list, show, cancel and resend them.", no_args_is_help=True)

_PATH = "/api/whatsapp/outbox"
_MOST = 1000
_TIMES = (
    ("createdAt", "accepted"), ("sentAt", "sent"), ("deliveredAt", "came"), ("readAt", "read"), ("endedAt", "ended"),
)  # fmt: skip
Message = Annotated[str, typer.Argument(help="Its id; 'tandem outbox list' shows them.")]


def send(
    account: Annotated[str, typer.Argument(help="The account's id, or its phone number.")],
    chat: Annotated[str, typer.Argument(help="A phone number with its country code, an address, or a group's id.")],
    text: Annotated[str, typer.Argument(help="What to send; - reads it from standard input.")],
    *,
    key: Annotated[str | None, typer.Option(help="The same key sends the same message only once.")] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Send a text. Exit code 0: it is on the daemon's disk, and goes out when it can."""
    message = sys.stdin.read() if text == "-" else text
    path = f"/api/whatsapp/send/{identity(account)}/{quote(chat, safe='')}"
    answer = Client(url, token).call("POST", path, {"message": message}, key=key).json()
    if json:
        typer.echo(jsons.dumps(answer))
        return
    note = f": {answer['note']}" if answer.get("note") else ""
    again = " already" if answer.get("idempotent") else ""
    typer.echo(f"Message {answer['id']} is{again} {answer['status']}{note}.")


@app.command("list")
def list_messages(
    *,
    account: Annotated[str | None, typer.Option(help="Only this account's: its id or phone number.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state, such as queued or unknown.")] = None,
    chat: Annotated[str | None, typer.Option(help="Only those to this chat.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="How many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the last page ended.")] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """List messages that were accepted for sending, newest first, without their content."""
    wanted = {"account": identity(account) if account else None, "state": state, "chat": chat, "cursor": cursor}
    query = {name: value for name, value in wanted.items() if value} | {"limit": str(limit)}
    answer = Client(url, token).get(f"{_PATH}?{urlencode(query)}")
    messages = answer["messages"]
    if json:
        typer.echo(jsons.dumps(messages))
        return
    if not messages:
        typer.echo("No messages.")
        return
    table([("ID", "SINCE", "ACCOUNT", "CHAT", "KIND", "STATUS", "REASON"), *map(_row, messages)])
    if answer["next"] is not None:
        typer.echo(f"There are more: the same with --cursor {answer['next']}")


def _row(message: dict[str, Any]) -> tuple[str, ...]:
    since, reason = when(message["createdAt"]), harmless(message["reason"])
    return message["id"], since, message["account"], message["chat"], message["kind"], message["status"], reason


@app.command()
def show(message: Message, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Show what became of one message."""
    _show(Client(url, token).get(f"{_PATH}/{quote(message, safe='')}"), json=json)


def _show(message: dict[str, Any], *, json: bool) -> None:
    if json:
        typer.echo(jsons.dumps(message))
        return
    for name, value in _lines(message):
        typer.echo(f"{name:<8} {harmless(value)}")


def _lines(message: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What there is to say, line by line."""
    reason = f": {message['reason']}" if message["reason"] else ""
    yield "message", f"{message['id']}, {message['kind']}"
    yield "status", f"{message['status']}{reason}"
    yield "account", message["account"]
    yield "chat", message["chat"]
    for name, words in _TIMES:
        if message[name] is not None:
            yield words, when(message[name])
    yield "expires", when(message["expiresAt"])
    if message["slot"]:
        yield "slot", f"{message['slot']}, {message['attempts']} attempts"
    if message["messageId"]:
        yield "whatsapp", message["messageId"]


@app.command()
def cancel(message: Message, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Never send a message that is queued, or never again one whose fate is unknown."""
    client, path = Client(url, token), f"{_PATH}/{quote(message, safe='')}"
    unknown = client.get(path)["status"] == "unknown"
    _show(client.call(*(("POST", f"{path}/cancel") if unknown else ("DELETE", path))).json(), json=json)


@app.command()
def resend(
    message: Message,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Send a message again whose fate is unknown. It may arrive twice."""
    if not yes:
        typer.confirm(f"Send message {message} again, although it may have arrived?", abort=True)
    _show(Client(url, token).call("POST", f"{_PATH}/{quote(message, safe='')}/resend").json(), json=json)
