"""The JSON shapes of instances, leases and regions. Device addresses stay with the instance that knows them."""

from __future__ import annotations

from pydantic import Field

from tandem.api.account_views import AccountLeaseJson
from tandem.api.masking import mask
from tandem.api.views import Done, Json, unix_ms
from tandem.model.cluster_view import (
    ClusterRole,
    ClusterView,
    InstanceState,
    InstanceView,
    LeaseState,
    LeaseView,
    RegionState,
    RegionView,
    ThisInstance,
)
from tandem.policy.regions import public_url


class ThisInstanceJson(Json):
    id: str
    name: str
    region: str
    url: str | None
    role: ClusterRole
    term: int = Field(description="Counts the unbroken rows of heartbeats; 0 without any.")
    fenced_for: str = Field(description="Why it may run no account now, in words; empty if it may.")

    @classmethod
    def of(cls, me: ThisInstance) -> ThisInstanceJson:
        return cls(
            id=me.id,
            name=mask(me.name),
            region=me.region,
            url=public_url(me.url) or None,
            role=me.role,
            term=me.term,
            fenced_for=mask(me.fenced_for),
        )


class InstanceJson(Json):
    id: str
    name: str
    region: str
    url: str | None
    version: str
    me: bool
    state: InstanceState
    seen_seconds_ago: float | None = Field(description="Since its last heartbeat came; null before any.")
    draining: bool
    holds: int = Field(description="How many accounts it runs.")
    accounts: dict[str, str] = Field(description="How well it could run each account: unlinked, linked or online.")

    @classmethod
    def of(cls, view: InstanceView) -> InstanceJson:
        return cls(
            id=view.id,
            name=mask(view.name),
            region=view.region,
            url=public_url(view.url) or None,
            version=view.version,
            me=view.me,
            state=view.state,
            seen_seconds_ago=None if view.seen_ago is None else round(view.seen_ago, 1),
            draining=view.draining,
            holds=view.holds,
            accounts={account: fitness.name.lower() for account, fitness in view.accounts.items()},
        )


class LeaseJson(AccountLeaseJson):
    account: str
    holder_region: str
    holder_url: str | None
    reason: str = Field(description="Why it is as it is, in words.")
    state: LeaseState

    @classmethod
    def of(cls, lease: LeaseView) -> LeaseJson:
        who = AccountLeaseJson.of(lease)
        return cls(
            **{name: getattr(who, name) for name in AccountLeaseJson.model_fields},
            account=lease.account,
            holder_region=lease.holder_region,
            holder_url=public_url(lease.holder_url) or None,
            reason=mask(lease.reason),
            state=lease.state,
        )


class RegionJson(Json):
    """Seen from outside, for people: who runs an account is decided by heartbeats alone."""

    name: str
    url: str
    state: RegionState
    failures: int = Field(description="In a row.")
    last_checked: int | None
    latency_ms: float | None = Field(description="Of the last look, if it was answered.")
    detail: str

    @classmethod
    def of(cls, view: RegionView) -> RegionJson:
        return cls(
            name=view.name,
            url=view.url,
            state=view.state,
            failures=view.failures,
            last_checked=unix_ms(view.last_checked) if view.last_checked else None,
            latency_ms=None if view.latency_ms is None else round(view.latency_ms, 1),
            detail=view.detail,
        )


class ClusterJson(Json):
    enabled: bool = Field(description="Whether several instances may share the accounts.")
    me: ThisInstanceJson
    placement: str
    ttl_seconds: float = Field(description="Silence of an instance after which its accounts may be taken.")
    instances: list[InstanceJson]
    leases: list[LeaseJson]
    regions: list[RegionJson]

    @classmethod
    def of(cls, view: ClusterView) -> ClusterJson:
        return cls(
            enabled=view.enabled,
            me=ThisInstanceJson.of(view.me),
            placement=view.placement,
            ttl_seconds=view.ttl,
            instances=[InstanceJson.of(each) for each in view.instances],
            leases=[LeaseJson.of(each) for each in view.leases],
            regions=[RegionJson.of(each) for each in view.regions],
        )


class ClusterAnswer(Done):
    cluster: ClusterJson


class LeaseAnswer(Done):
    lease: LeaseJson
