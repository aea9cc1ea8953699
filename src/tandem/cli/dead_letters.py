"""``tandem dead-letters``: look at what could not be processed, send it on its way again, or drop it."""

from __future__ import annotations

import json as jsons
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from tandem.cli.client import Client, Denied, Json, Token, Url
from tandem.cli.words import harmless, table, when

app = typer.Typer(
    help="What could not be processed: list it, look at it, replay it, drop it. Takes the admin token.",
    no_args_is_help=True,
)

_PATH = "/api/dead-letters"
_MOST = 100
_GONE, _KEPT = 404, 409
Letter = Annotated[int, typer.Argument(min=1, help="Its id; 'tandem dead-letters list' shows them.")]


@app.command("list")
def list_letters(
    *,
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="How many.")] = 50,
    after: Annotated[int, typer.Option(min=0, help="Only those with an id beyond this.")] = 0,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """List dead letters, oldest first, without their content."""
    answer = Client(url, token).get(f"{_PATH}?limit={limit}&after={after}")
    letters = answer["deadLetters"]
    if json:
        typer.echo(jsons.dumps(letters))
        return
    if not letters:
        typer.echo("No dead letters." if not after else f"No dead letters after {after}.")
        return
    table([("ID", "SINCE", "KIND", "ACCOUNT", "SLOT", "REASON"), *map(_row, letters)])
    if answer["next"] is not None:
        typer.echo(f"There are more: tandem dead-letters list --after {answer['next']}")


def _row(letter: dict[str, Any]) -> tuple[str, ...]:
    slot, reason = letter["slot"] or "-", harmless(letter["reason"])
    return str(letter["id"]), when(letter["createdAt"]), letter["kind"], letter["account"], slot, reason


@app.command()
def show(
    letter: Letter,
    *,
    raw: Annotated[bool, typer.Option("--raw", help="With the payload as it was kept, base64.")] = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Show one dead letter; of a message, what it says."""
    found = Client(url, token).get(f"{_PATH}/{letter}?raw={str(raw).lower()}")["deadLetter"]
    if json:
        typer.echo(jsons.dumps(found))
        return
    for name, value in _lines(found):
        typer.echo(f"{name:<8} {harmless(value)}")


def _lines(letter: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What there is to say, line by line."""
    yield "letter", f"{letter['id']}, {letter['kind']}"
    yield "reason", letter["reason"]
    yield "account", letter["account"]
    if letter["slot"]:
        yield "slot", f"{letter['slot']}, event number {letter['code']}"
    yield "arrived", when(letter["arrivedAt"])
    yield "kept", f"{when(letter['createdAt'])}, {letter['size']} bytes"
    if message := letter["message"]:
        yield "chat", message["chat"]
        yield "sender", message["sender"]
        yield "sent", f"{when(message['timestamp'])}, {message['kind']}"
        yield "text", message["text"]
    if letter["raw"] is not None:
        yield "raw", letter["raw"]


@app.command()
def replay(
    letter: Annotated[
        int | None, typer.Argument(min=1, help="Its id; 'tandem dead-letters list' shows them.", show_default=False)
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Replay all there are now, oldest first.")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Send a dead letter on its way again. Exit code 1 if it still fails; then it is kept.

    What the store refuses once more becomes a new dead letter, with a new id.
    """
    if (letter is None) is not every:
        raise typer.BadParameter("give the id of one dead letter, or --all")
    client = Client(url, token)
    if letter is None:
        _replay_all(client)
        return
    client.call("POST", f"{_PATH}/{letter}/replay")
    typer.echo(f"Dead letter {letter} is on its way again.")


def _replay_all(client: Client) -> None:
    """Those that are there now: one that becomes a letter again must not go round for ever."""
    letters = list(_all(client))
    failures = sum(_fails(client, letter) for letter in letters)
    if not letters:
        typer.echo("No dead letters.")
        return
    typer.echo(f"{len(letters) - failures} of {len(letters)} are on their way again.")
    if failures:
        raise typer.Exit(1)


def _all(client: Client) -> Iterator[int]:
    after: int | None = 0
    while after is not None:
        answer = client.get(f"{_PATH}?limit={_MOST}&after={after}")
        yield from (letter["id"] for letter in answer["deadLetters"])
        after = answer["next"]


def _fails(client: Client, letter: int) -> bool:
    """Replay one and return whether it stays, saying why. Raises Denied when none could be replayed at all."""
    try:
        client.call("POST", f"{_PATH}/{letter}/replay")
    except Denied as error:
        if error.status not in {_GONE, _KEPT}:
            raise
        typer.echo(f"{letter}: {harmless(str(error))}", err=True)
        return True
    return False


@app.command()
def drop(
    letter: Letter,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Drop a dead letter for good. Nothing brings back what it held."""
    client = Client(url, token)
    if not yes:
        found = client.get(f"{_PATH}/{letter}")["deadLetter"]
        about = f"{found['kind']} of account {found['account']}: {harmless(found['reason'])}"
        typer.confirm(f"Drop dead letter {letter} for good ({about})?", abort=True)
    client.call("DELETE", f"{_PATH}/{letter}")
    typer.echo(f"Dead letter {letter} is dropped.")
