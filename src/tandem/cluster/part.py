"""Who this instance is among the others, and what its keeper steers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tandem.model.cluster import AccountStanding, Fitness, InstanceId
from tandem.model.event import Publish
from tandem.model.ids import AccountId


@dataclass(frozen=True, slots=True)
class Self:
    """Who this instance is. ``origin``: see ``model.cluster.Instance``."""

    id: InstanceId
    name: str
    origin: str
    region: str = "primary"
    url: str = ""
    version: str = ""
    spread: bool = False


@dataclass(frozen=True, slots=True)
class KeeperPorts:
    """What the keeper steers. ``fitness`` returns at once; ``standings`` says the same in full, for the heartbeat.

    ``take_up`` starts running an account under this generation, ``lay_down`` ends it; ``lost``: the right is gone
    already. ``discovered`` hears of accounts that another instance has added, ``removed`` of those that are deleted.
    """

    fitness: Callable[[], Mapping[AccountId, Fitness]]
    standings: Callable[[], Awaitable[Mapping[AccountId, AccountStanding]]]
    take_up: Callable[[AccountId, int], Awaitable[None]]
    lay_down: Callable[[AccountId, bool], Awaitable[None]]
    discovered: Callable[[AccountId], Awaitable[None]]
    removed: Callable[[AccountId], Awaitable[None]]
    publish: Publish
