"""The instances that share the accounts: where each account runs, and how the others look from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tandem.api.context import caller_of, context_of
from tandem.api.masking import mask
from tandem.api.page_frame import page_endpoints
from tandem.api.page_words import INSTANCES, LEASES, REGIONS, count, ms, span
from tandem.api.pages_view import names_of
from tandem.model.cluster import Fitness
from tandem.model.cluster_view import ClusterView, InstanceState, InstanceView, LeaseState, LeaseView, RegionView
from tandem.model.ids import AccountId
from tandem.policy.regions import public_url

_FITNESS = {
    Fitness.ONLINE: ("good", "online"),
    Fitness.LINKED: ("warn", "not online"),
    Fitness.UNLINKED: ("idle", "not linked"),
}


@dataclass(frozen=True, slots=True)
class Chip:
    """An account at an instance; ``fitness`` in words."""

    account: str
    name: str
    tone: str
    fitness: str


@dataclass(frozen=True, slots=True)
class InstanceCard:
    id: str
    name: str
    region: str
    url: str
    version: str
    me: bool
    state: str
    tone: str
    heartbeat: str
    draining: bool
    runs: list[Chip]
    stands_by: list[Chip]


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """``since`` in Unix milliseconds, 0: not known; ``movable_to``: ids and names of instances that could run it.

    ``told`` is what has to be said beside the holder's name, if anything; ``known``: the account is here too.
    """

    account: str
    known: bool
    name: str
    holder: str
    region: str
    told: str
    tone: str
    mine: bool
    generation: int
    since: int
    reason: str
    movable_to: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class RegionRow:
    name: str
    url: str
    state: str
    tone: str
    checked: int
    latency: str
    detail: str


async def _values(request: web.Request) -> Mapping[str, Any]:
    parts, full = context_of(request).parts, caller_of(request).admin
    view = parts.cluster.overview()
    names = names_of(parts.accounts.list(), full=full)
    text, tone = _headline(view)
    return {
        "here": "instances",
        "title": "Instances",
        "headline": text,
        "tone": tone,
        "cluster": view,
        "placement": _PLACEMENT.get(view.placement, view.placement),
        "fenced_for": mask(view.me.fenced_for),
        "draining": any(each.me and each.draining for each in view.instances),
        "instances": [_instance(each, view, names) for each in _ordered(view)],
        "leases": [_lease(each, view, names) for each in view.leases],
        "regions": [_region(each) for each in view.regions],
    }


_PLACEMENT = {
    "sticky": "Accounts stay where they are until their instance goes.",
    "spread": "Accounts are shared out among the instances.",
}


def _headline(view: ClusterView) -> tuple[str, str]:
    """Say in one sentence how things stand, and its tone; the worst comes first."""
    if not view.enabled:
        return "One instance, which runs every account", "good"
    alone = [lease for lease in view.leases if lease.state in {LeaseState.FREE, LeaseState.SILENT}]
    gone = [each for each in view.instances if each.state is not InstanceState.ALIVE]
    if alone:
        return f"{count(len(alone), 'account')} run by nobody", "bad"
    if view.me.fenced_for:
        return "This instance may run no account now", "warn"
    if gone:
        return f"{count(len(gone), 'instance')} not heard of", "warn"
    accounts = sum(lease.state is not LeaseState.REMOVED for lease in view.leases)
    return f"{count(len(view.instances), 'instance')}, {count(accounts, 'account')}", "good"


def _ordered(view: ClusterView) -> Sequence[InstanceView]:
    return sorted(view.instances, key=lambda each: (each.region != "primary", each.region, each.name, each.id))


def _instance(view: InstanceView, cluster: ClusterView, names: Mapping[AccountId, str]) -> InstanceCard:
    state, tone = INSTANCES[view.state]
    runs = {LeaseState.HELD, LeaseState.SILENT}
    held = {lease.account for lease in cluster.leases if lease.holder == view.id and lease.state in runs}
    chips = {account: _chip(account, view.accounts.get(account), names) for account in {*held, *view.accounts}}
    ranked = sorted(chips, key=lambda account: (chips[account].name.lower(), account))
    return InstanceCard(
        id=view.id,
        name=mask(view.name),
        region=view.region,
        url="" if view.me else public_url(view.url),
        version=view.version,
        me=view.me,
        state="Draining" if view.draining and view.state is InstanceState.ALIVE else state,
        tone="busy" if view.draining and view.state is InstanceState.ALIVE else tone,
        heartbeat="" if view.seen_ago is None else span(view.seen_ago),
        draining=view.draining,
        runs=[chips[account] for account in ranked if account in held],
        stands_by=[chips[account] for account in ranked if account not in held],
    )


def _chip(account: AccountId, fitness: Fitness | None, names: Mapping[AccountId, str]) -> Chip:
    tone, words = ("idle", "not known") if fitness is None else _FITNESS[fitness]
    return Chip(account if account in names else "", _name(account, names), tone, words)


def _lease(lease: LeaseView, cluster: ClusterView, names: Mapping[AccountId, str]) -> LeaseRow:
    state, tone = LEASES[lease.state]
    others = [
        (str(each.id), mask(each.name))
        for each in _ordered(cluster)
        if not each.me and each.state is InstanceState.ALIVE and not each.draining
        if each.accounts.get(lease.account, Fitness.UNLINKED) is not Fitness.UNLINKED
    ]
    return LeaseRow(
        account=lease.account,
        known=lease.account in names,
        name=_name(lease.account, names),
        holder=mask(lease.holder_name) if lease.holder else "nobody",
        region=lease.holder_region,
        told="" if lease.state in {LeaseState.HELD, LeaseState.FREE} else state.lower(),
        tone=tone,
        mine=lease.mine,
        generation=lease.generation,
        since=ms(lease.since),
        reason=mask(lease.reason),
        movable_to=others if lease.mine and lease.state is LeaseState.HELD else [],
    )


def _name(account: AccountId, names: Mapping[AccountId, str]) -> str:
    """An account that this instance does not know yet has no name here."""
    return names.get(account, f"account {account[:6]}…")


def _region(view: RegionView) -> RegionRow:
    state, tone = REGIONS[view.state]
    return RegionRow(
        name=view.name,
        url=view.url,
        state=state,
        tone="warn" if view.failures and tone == "good" else tone,
        checked=ms(view.last_checked),
        latency="" if view.latency_ms is None else f"{view.latency_ms:.0f} ms",
        detail=view.detail,
    )


ENDPOINTS = page_endpoints("/instances", "instances.html", _values, "The instances that share the accounts.")
