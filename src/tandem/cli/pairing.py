"""Pairing in a terminal: draws the QR, again each time it changes, until the slot is paired or the time is up."""

from __future__ import annotations

import sys
import time
from typing import Any

import typer

from tandem.cli.client import Client, Denied
from tandem.errors import TandemError

_EVERY = 1.0  # seconds
_STEPS = "On the phone: WhatsApp, ⋮ or Settings, Linked devices, Link a device"


class NotPaired(TandemError):  # noqa: N818 - the tree is named in the field's words
    """The pairing ended without a device."""


def follow(client: Client, account: str, slot: str | None, method: str) -> None:
    """Start a pairing or join the one under way, and return when the slot is paired. Raises NotPaired."""
    body = {"method": method, **({"slot": slot} if slot else {})}
    started = client.call("POST", f"/api/whatsapp/account/{account}/pair", body).json()["pairing"]
    slot, by_code = started["slot"], started["method"] == "code"
    shown = ""
    while not (state := _slot(client, account, slot))["device"]:
        text = _text(client, account, slot)
        if text is None:
            if not (state := _slot(client, account, slot))["device"]:
                raise NotPaired(f"the {slot} slot was not paired: {state['reason'] or 'the time is up'}; try again")
            break
        if text and text != shown:
            _draw(text, slot, by_code=by_code)
            shown = text
        time.sleep(_EVERY)
    typer.echo(f"The {slot} slot is paired ({state['state']}).")


def _slot(client: Client, account: str, slot: str) -> dict[str, Any]:
    slots = client.get(f"/api/whatsapp/account/{account}")["account"]["slots"]
    return next(each for each in slots if each["slot"] == slot)


def _text(client: Client, account: str, slot: str) -> str | None:
    """Return the QR text or code, empty while there is none, None when the pairing is over."""
    try:
        reply = client.call("GET", f"/api/whatsapp/account/{account}/qr?slot={slot}", accept="text/plain")
    except Denied as error:
        if error.status in {404, 409}:
            return None
        raise
    return reply.body.decode() if reply.status == 200 else ""  # noqa: PLR2004 - the one that has it


def _draw(text: str, slot: str, *, by_code: bool) -> None:
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[2J\x1b[H")
    if by_code:
        typer.echo(f"{_STEPS}, Link with phone number instead.\n\n    {text}\n")
        return
    import segno  # noqa: PLC0415 - only where a QR is drawn

    segno.make(text, error="l", micro=False).terminal(compact=True, border=2)
    typer.echo(f"{_STEPS}. This is the {slot} device; a fresh QR follows by itself.")
