"""``tandem check``: one line and an exit code for scripts, Nagios and health checks; and the table of settings."""

from __future__ import annotations

import json as jsons
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tandem.cli.client import Client, Denied, Token, Unreachable
from tandem.cli.words import harmless
from tandem.errors import Misconfigured

_EXIT = {"healthy": 0, "degraded": 1, "down": 2}
_NAGIOS = {"healthy": "OK", "degraded": "WARNING", "down": "CRITICAL"}
_UNKNOWN = 3  # 2 would say that the daemon is down
_TOLD = 3  # alerts named in one line


@dataclass(frozen=True, slots=True)
class Verdict:
    """``health`` is what /health said; ``alerts`` are those that fire, None if they may not be asked for."""

    status: str
    reason: str
    health: dict[str, Any] = field(default_factory=dict)
    alerts: list[dict[str, Any]] | None = None

    @property
    def exit_code(self) -> int:
        return _EXIT[self.status]

    def nagios(self) -> str:
        """Return the line of a Nagios plugin, figures included."""
        figures = {"accounts": self.health.get("accounts", {}).get("total", 0)}
        figures |= {kind: self.health.get("accounts", {}).get(kind, 0) for kind in ("online", "degraded", "offline")}
        if self.alerts is not None:
            figures["alerts"] = len(self.alerts)
        told = " ".join(f"{name}={figure};;;0" for name, figure in figures.items())
        return f"TANDEM {_NAGIOS[self.status]} - {self.reason.replace('|', '/')} | {told}"


class CheckCommand(TyperCommand):
    """A wrong call is neither healthy nor down: it has an exit code of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the call
            typer.echo(f"tandem check: {error}", err=True)
            raise typer.Exit(_UNKNOWN) from None


def check(
    url: Annotated[
        str | None, typer.Argument(envvar="TANDEM_URL", help="Where it is.", show_default="http://127.0.0.1:PORT")
    ] = None,
    *,
    live: Annotated[bool, typer.Option("--live", help="Only whether the process answers: 0 or 2.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The verdict as JSON.")] = False,
    nagios: Annotated[bool, typer.Option("--nagios", help="The verdict as a Nagios plugin gives it.")] = False,
    token: Token = None,
    settings: Annotated[bool, typer.Option("--settings", help="Print all settings as a Markdown table.")] = False,
    toml: Annotated[bool, typer.Option("--toml", help="With --settings: as a commented settings file.")] = False,
) -> None:
    """Ask a daemon how it is. Exit code 0: healthy, 1: degraded, 2: down, 3: wrongly called; one line says why.

    Who may read (a token, or no token on its own machine) is told which alerts fire; any of them makes it degraded.
    """
    if settings:
        from tandem.cli import settings_table  # noqa: PLC0415 - heavy

        typer.echo(settings_table.toml() if toml else settings_table.markdown(), nl=False)
        return
    try:
        client, reader = Client(url, None), Client(url, token)
    except Misconfigured as error:
        typer.echo(f"TANDEM UNKNOWN - {error}" if nagios else f"tandem: {error}", err=not nagios)
        raise typer.Exit(_UNKNOWN) from None
    verdict = alive(client) if live else judge(client, reader)
    if json:
        about = {"status": verdict.status, "reason": verdict.reason, "url": client.url}
        alerts = {} if verdict.alerts is None else {"alerts": verdict.alerts}
        typer.echo(jsons.dumps({**verdict.health, **about, **alerts}))
    else:
        typer.echo(verdict.nagios() if nagios else f"{verdict.status}: {verdict.reason}")
    raise typer.Exit(verdict.exit_code)


def alive(client: Client) -> Verdict:
    try:
        client.get("/livez")
    except (Unreachable, Denied) as error:
        return Verdict("down", str(error))
    return Verdict("healthy", f"{client.url} answers")


def judge(client: Client, reader: Client) -> Verdict:
    """Return how the daemon is, and why; ``reader`` may have a token, of which the public answers need nothing."""
    try:
        health = client.get("/health")
    except (Unreachable, Denied) as error:
        return Verdict("down", str(error))
    if health.get("status") not in _EXIT or not isinstance(health.get("accounts"), dict):
        return Verdict("down", f"what answers at {client.url} is not Tandem")
    alerts, refused = _alerts(reader)
    status = "degraded" if (alerts or refused) and health["status"] == "healthy" else health["status"]
    told = (_in_words(health["accounts"]), _part(reader) if health.get("shared") else "", _named(alerts or []))
    reason = _not_ready(client) or "; ".join(filter(None, told))
    return Verdict(status, reason + refused, health, alerts)


def _part(client: Client) -> str:
    """Return which part it has among several instances, as far as that may be known."""
    try:
        cluster = client.get("/api/cluster")["cluster"]
    except (Unreachable, Denied):
        return ""
    if cluster["me"]["role"] == "active":
        mine = sum(lease["mine"] for lease in cluster["leases"])
        return f"active, runs {mine} of {_count(len(cluster['leases']))}"
    holders = sorted({lease["holderName"] for lease in cluster["leases"] if lease["holder"]})
    return f"passive, {' and '.join(map(harmless, holders)) or 'nobody'} {'run' if len(holders) > 1 else 'runs'} them"


def _alerts(client: Client) -> tuple[list[dict[str, Any]] | None, str]:
    """Return what fires, None if that may not be known, and what to say if a token was given for nothing."""
    try:
        return list(client.get("/api/alerts")["alerts"]), ""
    except (Unreachable, Denied) as error:
        return None, f" (alerts unknown: {error})" if client.has_token else ""


def _named(alerts: list[dict[str, Any]]) -> str:
    named = [f"{alert['rule']}{_where(alert)}" for alert in alerts[:_TOLD]]
    more = f" and {len(alerts) - _TOLD} more" if len(alerts) > _TOLD else ""
    return f"firing: {', '.join(named)}{more}" if alerts else ""


def _where(alert: dict[str, Any]) -> str:
    place = "/".join(part for part in (alert.get("account"), alert.get("slot")) if part)
    return f" [{place}]" if place else ""


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
