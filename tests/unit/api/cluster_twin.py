"""Two instances that share the accounts, as the API sees them; until ``share`` a single one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tandem.api.single_instance import SingleInstance
from tandem.clock import Clock
from tandem.errors import Conflict, InstancePassive, NotFound
from tandem.model.cluster import NOBODY, Fitness, InstanceId
from tandem.model.cluster_view import (
    ClusterRole,
    ClusterView,
    InstanceView,
    LeaseState,
    LeaseView,
    RegionState,
    RegionView,
    ThisInstance,
)
from tandem.model.ids import AccountId

HERE, THERE = InstanceId("0123456789abcdef01234567"), InstanceId("fedcba987654321001234567")
HERE_NAME, THERE_NAME = "eu-west", "us-east"
HERE_URL, THERE_URL = "https://eu.tandem.example", "https://us.tandem.example"


@dataclass
class FakeCluster:
    """Behaves as the port says, without heartbeats."""

    clock: Clock
    leases: dict[AccountId, LeaseView] = field(default_factory=dict)
    instances: dict[InstanceId, InstanceView] = field(default_factory=dict)
    regions: tuple[RegionView, ...] = ()
    fenced_for: str = ""

    def share(self, accounts: Iterable[AccountId], *, mine: bool, there_url: str = THERE_URL) -> None:
        """Let two instances share these accounts, and one of them run all."""
        fit = dict.fromkeys(accounts, Fitness.ONLINE)
        self.instances = {
            HERE: InstanceView(HERE, HERE_NAME, "primary", HERE_URL, "1.2.3", True, seen_ago=1.3, accounts=fit),
            THERE: InstanceView(THERE, THERE_NAME, "backup", there_url, "1.2.3", seen_ago=2.5, accounts=fit),
        }
        self.regions = (RegionView("backup", THERE_URL, RegionState.HEALTHY, 0, self.clock.now(), 41.2),)
        self.leases = {}
        for account in fit:
            self._give(account, HERE if mine else THERE, "it was the first to take it")

    def shared(self) -> bool:
        return bool(self.instances)

    def overview(self) -> ClusterView:
        if not self.shared():
            return SingleInstance("test-1", version="1.2.3").overview()
        holders = [lease.holder for lease in self.leases.values()]
        return ClusterView(
            ThisInstance(HERE, HERE_NAME, "primary", HERE_URL, ClusterRole(self.role()), 3, self.fenced_for),
            enabled=True,
            ttl=10.0,
            instances=tuple(replace(each, holds=holders.count(each.id)) for each in self.instances.values()),
            leases=tuple(self.leases.values()),
            regions=self.regions,
        )

    def role(self) -> str:
        alone = not self.shared()
        return "active" if alone or any(lease.mine for lease in self.leases.values()) else "passive"

    def require(self, account: AccountId) -> None:
        lease = self.leases.get(account)
        if lease is not None and not lease.mine:
            words = f"{lease.holder_name or 'another instance'} runs this account, and only there it can be changed"
            raise InstancePassive(words, 5.0, holder=lease.holder_name, url=lease.holder_url)

    async def move(self, account: AccountId, to: str = "") -> LeaseView:
        if not self.shared():
            return await SingleInstance().move(account, to)
        self.require(account)
        if account not in self.leases:
            raise NotFound("no instance has taken this account yet")
        names = {str(each.id): each for each in self.instances.values()} | {
            each.name: each for each in self.instances.values()
        }
        if to and to not in names:
            raise NotFound("no such instance; GET /api/cluster lists them")
        if to and names[to].me:
            raise Conflict("it runs here already")
        return self._give(account, THERE, "an operator moved it")

    async def drain(self, on: bool) -> ClusterView:  # noqa: FBT001 - the port's
        if not self.shared():
            return await SingleInstance().drain(on)
        self.instances[HERE] = replace(self.instances[HERE], draining=on)
        for account, lease in list(self.leases.items()):
            if on and lease.mine:
                self._give(account, THERE, "its instance is draining")
        return self.overview()

    def free(self, account: AccountId) -> None:
        self.leases[account] = LeaseView(account, NOBODY, generation=1, reason="its holder let go")

    def _give(self, account: AccountId, to: InstanceId, reason: str) -> LeaseView:
        generation = self.leases[account].generation + 1 if account in self.leases else 1
        holder = self.instances[to]
        self.leases[account] = LeaseView(
            account,
            to,
            holder.name,
            holder.region,
            holder.url,
            to == HERE,
            generation,
            self.clock.now(),
            reason,
            LeaseState.HELD,
        )
        return self.leases[account]
