"""The instances that share the accounts: who runs what, and moving it by hand."""

from __future__ import annotations

from aiohttp import web

from tandem.api.cluster_views import ClusterAnswer, ClusterJson, LeaseAnswer, LeaseJson
from tandem.api.context import Access, Context, context_of
from tandem.api.endpoint import Answer, Endpoint
from tandem.api.inputs import DrainBody, MoveBody, body_of
from tandem.api.respond import answer
from tandem.model.cluster_view import LeaseView
from tandem.model.ids import AccountId


async def get_cluster(request: web.Request) -> web.Response:
    return answer(ClusterAnswer(cluster=ClusterJson.of(context_of(request).parts.cluster.overview())))


async def move_account(request: web.Request) -> web.Response:
    body = await body_of(request, MoveBody)
    lease = await hand_over(context_of(request), AccountId(body.account), body.to)
    return answer(LeaseAnswer(lease=LeaseJson.of(lease)))


async def hand_over(context: Context, account: AccountId, to: str) -> LeaseView:
    """Move an account to another instance. Raises NotFound, Conflict, InstancePassive, StoreUnavailable."""
    context.parts.accounts.get(account)
    return await context.parts.cluster.move(account, to)


async def drain_instance(request: web.Request) -> web.Response:
    body = await body_of(request, DrainBody)
    view = await context_of(request).parts.cluster.drain(body.on)
    return answer(ClusterAnswer(cluster=ClusterJson.of(view)))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/cluster",
        get_cluster,
        Access.READ,
        "The instances that share the accounts, who runs what, and how the other regions look from here.",
        {200: Answer("As this instance knows it; of a single instance: itself.", ClusterAnswer)},
    ),
    Endpoint(
        "POST",
        "/api/cluster/move",
        move_account,
        Access.ADMIN,
        "Let another instance run an account. Only the one that runs it can be asked for that.",
        {200: Answer("Who runs it afterwards.", LeaseAnswer)},
        body=MoveBody,
        errors=(400, 404, 409, 413, 503),
    ),
    Endpoint(
        "POST",
        "/api/cluster/drain",
        drain_instance,
        Access.ADMIN,
        "Let other instances run every account of this one, and take none until that is undone.",
        {200: Answer("The instances afterwards.", ClusterAnswer)},
        body=DrainBody,
        errors=(400, 409, 413, 503),
    ),
)
