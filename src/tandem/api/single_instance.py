"""The cluster of an instance that shares its accounts with nobody: the usual case."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.errors import Conflict
from tandem.model.cluster import InstanceId
from tandem.model.cluster_view import ClusterRole, ClusterView, InstanceView, LeaseView, ThisInstance
from tandem.model.ids import AccountId

_ALONE = "this is a single instance, without leases: there is no other to hand accounts to; see TANDEM_CLUSTER__MODE"


@dataclass(frozen=True, slots=True)
class SingleInstance:
    """Runs everything, always. ``name``, ``region`` and ``version`` are shown."""

    name: str = ""
    region: str = "primary"
    version: str = ""

    def shared(self) -> bool:
        return False

    def overview(self) -> ClusterView:
        name = InstanceId(self.name)
        me = InstanceView(name, self.name, self.region, version=self.version, me=True)
        return ClusterView(ThisInstance(name, self.name, self.region), instances=(me,))

    def role(self) -> str:
        return str(ClusterRole.ACTIVE)

    def require(self, account: AccountId) -> None:
        """Every account runs here."""

    async def move(self, account: AccountId, to: str = "") -> LeaseView:  # noqa: ARG002 - the port's
        raise Conflict(_ALONE)

    async def drain(self, on: bool) -> ClusterView:  # noqa: ARG002, FBT001 - the same
        raise Conflict(_ALONE)
