"""``tandem webhook``: try the endpoints of the settings from here, without a daemon."""

from __future__ import annotations

import asyncio

import typer

app = typer.Typer(help="Webhooks: try whether your receivers take them.", no_args_is_help=True)


@app.callback()
def _only_commands() -> None:
    """Keep ``test`` a command of its own, although it is the only one."""


@app.command()
def test() -> None:
    """Post a signed test event to every endpoint and say what came back. Exit code 1 if one did not take it."""
    failures = asyncio.run(_test())
    if failures:
        raise typer.Exit(1)


async def _test() -> int:
    from tandem.clock import SystemClock, SystemRandom  # noqa: PLC0415 - only when it runs
    from tandem.errors import Misconfigured  # noqa: PLC0415 - the same
    from tandem.queue.announcements import TEST, parcel  # noqa: PLC0415 - the same
    from tandem.settings import load  # noqa: PLC0415 - the same
    from tandem.webhook.endpoint import endpoints_of  # noqa: PLC0415 - the same
    from tandem.webhook.sender import Sender  # noqa: PLC0415 - the same

    settings, clock = load().webhook, SystemClock()
    endpoints = endpoints_of(settings)
    if not endpoints:
        raise Misconfigured("there is no webhook to test: set TANDEM_WEBHOOK__URLS and TANDEM_WEBHOOK__SECRET")
    failures = 0
    async with Sender(clock, timeout=settings.timeout, allow_private=settings.allow_private, most=1) as sender:
        for endpoint in endpoints:
            event = parcel(f"msg_{SystemRandom().token()}", TEST, {"hello": "from tandem"}, clock.now())
            began = clock.monotonic()
            outcome = await sender.send(endpoint, event)
            failures += not outcome.taken
            word = "taken" if outcome.taken else "NOT TAKEN"
            typer.echo(f"{endpoint.name}: {word}, {outcome.reason} ({(clock.monotonic() - began) * 1000:.0f} ms)")
    return failures
