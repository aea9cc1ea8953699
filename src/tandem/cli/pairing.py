"""Pairing in a terminal: draws the QR, again each time it changes, until the device is linked or the time is up."""

from __future__ import annotations

import json as jsons
import sys
import time
from dataclasses import dataclass
from typing import Any

import typer

from tandem.cli.client import Client, Denied
from tandem.errors import TandemError

_EVERY = 1.0  # seconds
_SHOWN, _TOO_SOON = 200, 429
_STEPS = "On the phone: WhatsApp, ⋮ or Settings, Linked devices, Link a device"


class NotPaired(TandemError):  # noqa: N818 - the tree is named in the field's words
    """The pairing ended without a device."""


@dataclass(slots=True)
class Screen:
    """What is shown of one slot's pairing. ``json``: a line of JSON for each text instead of a picture."""

    slot: str
    by_code: bool
    json: bool
    _text: str = ""
    _counting: bool = False

    def show(self, text: str, pairing: dict[str, Any]) -> None:
        if text and text != self._text:
            self._text = text
            self._draw(text, pairing)
        elif not self.json and sys.stdout.isatty():
            self._count_down(pairing)

    def done(self) -> None:
        if self._counting:
            sys.stdout.write("\n")

    def _draw(self, text: str, pairing: dict[str, Any]) -> None:
        if self.json:
            typer.echo(jsons.dumps({"slot": self.slot, "text": text, **pairing}))
            return
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[2J\x1b[H")
        if self.by_code:
            typer.echo(f"{_STEPS}, Link with phone number instead.\n\n    {text}\n")
            return
        import segno  # noqa: PLC0415 - only where a QR is drawn

        segno.make(text, error="l", micro=False).terminal(compact=True, border=2)
        typer.echo(f"{_STEPS}. This is the {self.slot} device; a fresh QR follows by itself.")

    def _count_down(self, pairing: dict[str, Any]) -> None:
        left = max(0, round(pairing["deadline"] / 1000 - time.time()))
        lasts = f"good for {_left(pairing['expiresAt'])} s, " if pairing["expiresAt"] else ""
        sys.stdout.write(f"\r\x1b[K{lasts}{left // 60}:{left % 60:02d} left to link the {self.slot}")
        sys.stdout.flush()
        self._counting = True


def follow(client: Client, account: str, slot: str | None, method: str, *, json: bool = False) -> None:
    """Start a pairing or join the one under way; return when it is linked. Without a slot: both. Raises NotPaired."""
    slots = [slot] if slot else [each["slot"] for each in _slots(client, account) if not each["device"]]
    if not slots:
        raise NotPaired("both devices are linked already: there is nothing to pair")
    for each in slots:
        _follow(client, account, each, method, json=json)
    if json:
        typer.echo(jsons.dumps(client.get(f"/api/whatsapp/account/{account}")["account"]))


def _follow(client: Client, account: str, slot: str, method: str, *, json: bool) -> None:
    _start(client, account, slot, method)
    screen = Screen(slot, method == "code", json)
    while not (state := _slot(client, account, slot))["device"]:
        if state["pairing"] is None:
            screen.done()
            reason, step = state["reason"] or "the time is up", state["nextStep"] or "try again"
            raise NotPaired(f"the {slot} device is not linked: {reason}; next: {step}")
        screen.show(_text(client, account, slot), state["pairing"])
        time.sleep(_EVERY)
    screen.done()
    if not json:
        typer.echo(f"The {slot} device is linked ({state['state']}). The phone lists it as Tandem {slot}.")


def _start(client: Client, account: str, slot: str, method: str) -> None:
    """Start it, waiting as long as the daemon asks for if the last start was a moment ago."""
    while True:
        try:
            client.call("POST", f"/api/whatsapp/account/{account}/pair", {"slot": slot, "method": method})
        except Denied as error:
            if error.status != _TOO_SOON:
                raise
            typer.echo(f"Starting in {error.retry_after:.0f} s: the last start was a moment ago.", err=True)
            time.sleep(error.retry_after)
        else:
            return


def _slots(client: Client, account: str) -> list[dict[str, Any]]:
    slots: list[dict[str, Any]] = client.get(f"/api/whatsapp/account/{account}")["account"]["slots"]
    return slots


def _slot(client: Client, account: str, slot: str) -> dict[str, Any]:
    return next(each for each in _slots(client, account) if each["slot"] == slot)


def _text(client: Client, account: str, slot: str) -> str:
    """Return the QR text or code, empty while there is none."""
    try:
        reply = client.call("GET", f"/api/whatsapp/account/{account}/qr?slot={slot}", accept="text/plain")
    except Denied as error:
        if error.status in {404, 409}:
            return ""
        raise
    return reply.body.decode() if reply.status == _SHOWN else ""


def _left(milliseconds: int) -> int:
    return max(0, round(milliseconds / 1000 - time.time()))
