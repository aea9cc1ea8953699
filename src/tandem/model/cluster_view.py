"""What is shown of instances that share the accounts: immutable snapshots, taken in one instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tandem.model.cluster import NOBODY, Fitness, InstanceId
from tandem.model.ids import AccountId


class ClusterRole(StrEnum):
    """An instance's part: ``active`` if it runs an account, or if there is only one instance."""

    ACTIVE = "active"
    PASSIVE = "passive"


class InstanceState(StrEnum):
    ALIVE = "alive"
    SILENT = "silent"  # its heartbeat is overdue
    DEPOSED = "deposed"  # another instance has ended its term


class LeaseState(StrEnum):
    HELD = "held"
    FREE = "free"
    HANDED_OVER = "handed over"  # given to an instance that has not taken it yet
    SILENT = "silent"  # its holder is
    REMOVED = "removed"  # the account is


class RegionState(StrEnum):
    UNKNOWN = "unknown"  # not looked at yet, or not often enough
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class ThisInstance:
    """Who is answering. ``fenced_for`` says in words why it can hold no lease now; empty when it can."""

    id: InstanceId = NOBODY
    name: str = ""
    region: str = "primary"
    url: str = ""
    role: ClusterRole = ClusterRole.ACTIVE
    term: int = 0
    fenced_for: str = ""


@dataclass(frozen=True, slots=True)
class InstanceView:
    """``seen_ago``: seconds since its last heartbeat came here, None before any. ``holds``: how many accounts."""

    id: InstanceId
    name: str
    region: str = ""
    url: str = ""
    version: str = ""
    me: bool = False
    state: InstanceState = InstanceState.ALIVE
    seen_ago: float | None = None
    draining: bool = False
    holds: int = 0
    accounts: Mapping[AccountId, Fitness] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeaseView:
    """Who runs an account. ``since`` in Unix seconds; ``reason`` in words, why it is as it is."""

    account: AccountId
    holder: InstanceId = NOBODY
    holder_name: str = ""
    holder_region: str = ""
    holder_url: str = ""
    mine: bool = False
    generation: int = 0
    since: float = 0.0
    reason: str = ""
    state: LeaseState = LeaseState.FREE


@dataclass(frozen=True, slots=True)
class RegionView:
    """A region URL as it was last looked at. ``last_checked`` in Unix seconds, 0: not yet; ``failures`` in a row."""

    name: str
    url: str
    state: RegionState = RegionState.UNKNOWN
    failures: int = 0
    last_checked: float = 0.0
    latency_ms: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """``enabled``: several instances may share the accounts. ``ttl`` in seconds."""

    me: ThisInstance = ThisInstance()
    enabled: bool = False
    placement: str = "sticky"
    ttl: float = 0.0
    instances: tuple[InstanceView, ...] = ()
    leases: tuple[LeaseView, ...] = ()
    regions: tuple[RegionView, ...] = ()
