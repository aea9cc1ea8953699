"""What may be asked without a token: is it alive, is it ready, how is it. No store call, no account named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from aiohttp import web

from tandem.api.context import Access, context_of
from tandem.api.endpoint import Answer, Endpoint
from tandem.api.ports import Parts
from tandem.api.respond import answer
from tandem.api.views import AccountCounts, Health, Liveness, MetricsAnswer, Readiness, summary_of
from tandem.errors import Transient
from tandem.model.states import AccountStatus
from tandem.model.views import AccountView


async def livez(_request: web.Request) -> web.Response:
    """That this is answered at all shows that the event loop turns."""
    return answer(Liveness())


async def readyz(request: web.Request) -> web.Response:
    reason = context_of(request).parts.readiness()
    return answer(Readiness(ready=reason is None, reason=reason), status=200 if reason is None else 503)


async def health(request: web.Request) -> web.Response:
    context = context_of(request)
    about, views = context.parts.about, context.parts.accounts.list()
    shared = context.parts.cluster.shared()
    return answer(
        Health(
            status="degraded" if context.parts.readiness() else overall(views),
            version=about.version,
            commit=about.commit,
            instance=about.instance,
            role=about.role(),
            shared=shared,
            region=about.region if shared else "",
            accounts=counts(views),
            emulator=context.settings.emulator is not None,
        )
    )


def counts(views: Sequence[AccountView]) -> AccountCounts:
    by = Counter(view.status for view in views)
    online, degraded = by[AccountStatus.ONLINE], by[AccountStatus.DEGRADED]
    return AccountCounts(total=len(views), online=online, degraded=degraded, offline=len(views) - online - degraded)


def overall(views: Sequence[AccountView]) -> Literal["healthy", "degraded", "down"]:
    """Down: accounts are paired and none of them has a session online. An account never paired makes it degraded."""
    by = Counter(view.status for view in views)
    if by[AccountStatus.ONLINE] == len(views):
        return "healthy"
    if by[AccountStatus.OFFLINE] and not by[AccountStatus.ONLINE] and not by[AccountStatus.DEGRADED]:
        return "down"
    return "degraded"


async def metrics(request: web.Request) -> web.Response:
    parts = context_of(request).parts
    return web.Response(body=await parts.figures.exposition(), headers={"Content-Type": parts.figures.content_type})


async def metrics_json(request: web.Request) -> web.Response:
    parts = context_of(request).parts
    summary = summary_of(parts.figures.summary())
    return answer(MetricsAnswer(metrics=summary, dead_letters=await _dead_letters(parts)))


async def _dead_letters(parts: Parts) -> int | None:
    """Return how many there are; None when the queue cannot be asked, which must not cost the other figures."""
    try:
        return await parts.dead_letters.count()
    except Transient:
        return None


ENDPOINTS = (
    Endpoint(
        "GET",
        "/livez",
        livez,
        Access.NONE,
        "Whether the process is alive.",
        {200: Answer("It is.", Liveness)},
        quiet=True,
    ),
    Endpoint(
        "GET",
        "/readyz",
        readyz,
        Access.NONE,
        "Whether it can serve; needs no WhatsApp connection.",
        {200: Answer("It can.", Readiness), 503: Answer("Not yet, or not any more; the reason.", Readiness)},
        quiet=True,
    ),
    Endpoint(
        "GET",
        "/health",
        health,
        Access.NONE,
        "How it is.",
        {200: Answer("Always 200: read ``status``.", Health)},
        quiet=True,
    ),
    Endpoint(
        "GET",
        "/metrics",
        metrics,
        Access.READ,
        "Figures for Prometheus.",
        {200: Answer("Prometheus' text format.", ("text/plain",))},
        quiet=True,
    ),
    Endpoint(
        "GET",
        "/api/metrics",
        metrics_json,
        Access.READ,
        "Figures of the last hour and since the start.",
        {200: Answer("The figures.", MetricsAnswer)},
        quiet=True,
    ),
)
