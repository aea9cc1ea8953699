"""``tandem check``: one line and an exit code for scripts and container health checks; and the table of settings."""

from __future__ import annotations

import json as jsons
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from tandem.cli.client import Client, Denied, Unreachable

_EXIT = {"healthy": 0, "degraded": 1, "down": 2}


@dataclass(frozen=True, slots=True)
class Verdict:
    status: str
    reason: str
    health: dict[str, Any] | None = None

    @property
    def exit_code(self) -> int:
        return _EXIT[self.status]


def check(
    url: Annotated[
        str | None, typer.Argument(envvar="TANDEM_URL", help="Where it is.", show_default="http://127.0.0.1:PORT")
    ] = None,
    *,
    live: Annotated[bool, typer.Option("--live", help="Only whether the process answers: 0 or 2.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The verdict as JSON.")] = False,
    settings: Annotated[bool, typer.Option("--settings", help="Print all settings as a Markdown table.")] = False,
    toml: Annotated[bool, typer.Option("--toml", help="With --settings: as a commented settings file.")] = False,
) -> None:
    """Ask a daemon how it is. Exit code 0: healthy, 1: degraded, 2: down; one line says why."""
    if settings:
        from tandem.cli import settings_table  # noqa: PLC0415 - heavy

        typer.echo(settings_table.toml() if toml else settings_table.markdown(), nl=False)
        return
    client = Client(url, None)
    verdict = alive(client) if live else judge(client)
    if json:
        about = {"status": verdict.status, "reason": verdict.reason, "url": client.url}
        typer.echo(jsons.dumps({**(verdict.health or {}), **about}))
    else:
        typer.echo(f"{verdict.status}: {verdict.reason}")
    raise typer.Exit(verdict.exit_code)


def alive(client: Client) -> Verdict:
    try:
        client.get("/livez")
    except (Unreachable, Denied) as error:
        return Verdict("down", str(error))
    return Verdict("healthy", f"{client.url} answers")


def judge(client: Client) -> Verdict:
    """Return how the daemon is, and why."""
    try:
        health = client.get("/health")
    except (Unreachable, Denied) as error:
        return Verdict("down", str(error))
    if health.get("status") not in _EXIT or not isinstance(health.get("accounts"), dict):
        return Verdict("down", f"what answers at {client.url} is not Tandem")
    return Verdict(health["status"], _not_ready(client) or _in_words(health["accounts"]), health)


def _not_ready(client: Client) -> str:
    try:
        client.get("/readyz")
    except (Unreachable, Denied) as error:
        return f"not ready, {error}"
    return ""


def _in_words(accounts: dict[str, int]) -> str:
    total = accounts["total"]
    if not total:
        return "no accounts yet"
    if accounts["online"] == total:
        return f"{_count(total)} online"
    parts = [f"{accounts[kind]} {kind}" for kind in ("online", "degraded", "offline") if accounts[kind]]
    return f"of {_count(total)} {', '.join(parts)}"


def _count(total: int) -> str:
    return "1 account" if total == 1 else f"{total} accounts"
