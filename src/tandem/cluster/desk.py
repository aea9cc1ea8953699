"""What people and the rest of the daemon ask of the leases, and what an operator may do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tandem.clock import Clock
from tandem.cluster.keeper import Keeper
from tandem.errors import Conflict, InstancePassive, NotFound
from tandem.model.cluster import NOBODY, Fitness, InstanceId, SlotStanding
from tandem.model.cluster_view import (
    ClusterRole,
    ClusterView,
    InstanceState,
    InstanceView,
    LeaseState,
    LeaseView,
    RegionView,
    ThisInstance,
)
from tandem.model.ids import AccountId
from tandem.model.states import Slot
from tandem.policy import lease as policy
from tandem.policy.lease import Known, Member, Standing, View

_SOON = 1.0
_DRAINED = 5.0
_LEASE_STATES = {
    Standing.MINE: LeaseState.HELD,
    Standing.HELD: LeaseState.HELD,
    Standing.SILENT: LeaseState.SILENT,
    Standing.FREE: LeaseState.FREE,
    Standing.REMOVED: LeaseState.REMOVED,
}


class ClusterDesk:
    """Implements the API's ``Cluster``. ``regions``: how the regions look from here."""

    def __init__(self, keeper: Keeper, regions: Callable[[], tuple[RegionView, ...]], clock: Clock) -> None:
        self._keeper = keeper
        self._regions = regions
        self._clock = clock

    def shared(self) -> bool:
        return True

    def role(self) -> str:
        return str(ClusterRole.ACTIVE if self._keeper.held else ClusterRole.PASSIVE)

    def overview(self) -> ClusterView:
        keeper, view = self._keeper, self._keeper.view()
        me = keeper.me
        this = ThisInstance(
            me.id, me.name, me.region, me.url, ClusterRole(self.role()), keeper.term.number, keeper.trouble
        )
        leases = tuple(self._lease(view, known) for known in view.leases.values() if not known.lease.removed)
        return ClusterView(
            me=this,
            enabled=True,
            placement="spread" if me.spread else "sticky",
            ttl=keeper.limits.ttl,
            instances=tuple(self._instance(view, member, leases) for member in view.members.values()),
            leases=leases,
            regions=self._regions(),
        )

    def lease(self, account: AccountId) -> LeaseView | None:
        """Who runs an account, None while nothing is known of its lease."""
        view = self._keeper.view()
        known = view.leases.get(account)
        return None if known is None else self._lease(view, known)

    def require(self, account: AccountId) -> None:
        if self._keeper.right(account) is not None:
            return
        view, now = self._keeper.view(), self._clock.monotonic()
        known = view.leases.get(account)
        if known is None:
            return
        stands, _ = policy.standing(view, known, now, self._keeper.limits)
        holder = view.members.get(known.lease.holder)
        if holder is not None and holder.instance.id != view.me and stands in {Standing.HELD, Standing.SILENT}:
            raise _passive(holder)
        if self._keeper.trouble:
            raise InstancePassive(f"this instance cannot hold a lease now: {self._keeper.trouble}", _SOON)
        if policy.anybody(view, account, now, self._keeper.limits):
            raise InstancePassive("no instance runs the account at this instant: try again in a moment", _SOON)

    def require_active(self) -> None:
        """Raise InstancePassive if another instance runs accounts and this one does not: new ones belong there."""
        if self._keeper.me.spread or self._keeper.held:
            return
        if self._keeper.trouble:
            raise InstancePassive(f"this instance cannot hold a lease now: {self._keeper.trouble}", _SOON)
        view, now = self._keeper.view(), self._clock.monotonic()
        for known in view.leases.values():
            holder = view.members.get(known.lease.holder)
            stands, _ = policy.standing(view, known, now, self._keeper.limits)
            if stands is Standing.HELD and holder is not None:
                raise _passive(holder)

    async def move(self, account: AccountId, to: str = "") -> LeaseView:
        self.require(account)
        view, now = self._keeper.view(), self._clock.monotonic()
        if self._keeper.right(account) is None:
            raise Conflict("no instance runs the account: there is nothing to hand over")
        target = policy.best_other(view, account, now, self._keeper.limits) if not to else self._named(view, to)
        if target == NOBODY:
            raise Conflict("no other instance is there that has a linked device of the account")
        self._refuse_unfit(view, target, account, now)
        await self._keeper.leave(account, target, "an operator moved it")
        await self._until(lambda: (lease := self.lease(account)) is None or lease.holder != NOBODY, 2 * _SOON)
        return self.lease(account) or LeaseView(account)

    async def drain(self, on: bool) -> ClusterView:  # noqa: FBT001 - the port's words
        self._keeper.drain(on=on)
        await self._until(lambda: not on or not self._keeper.held, _DRAINED)
        return self.overview()

    def elsewhere(self, account: AccountId, slot: Slot) -> tuple[str, SlotStanding] | None:
        """Return the instance that runs a slot which does not run here, and how it stands there."""
        told = list(self._told_of(account, slot))
        return max(told, key=lambda each: each[1].state.connected, default=None)

    def durable_through(self, account: AccountId) -> float:
        """Up to when (Unix seconds) the instance that runs an account has written all it received; 0: not known."""
        view, now = self._keeper.view(), self._clock.monotonic()
        known = view.leases.get(account)
        if known is None or policy.standing(view, known, now, self._keeper.limits)[0] is not Standing.HELD:
            return 0.0
        holder = view.members.get(known.lease.holder)
        told = holder.instance.accounts.get(account) if holder and holder.instance.id != view.me else None
        return told.durable_through if told else 0.0

    def _told_of(self, account: AccountId, slot: Slot) -> Iterator[tuple[str, SlotStanding]]:
        view, now = self._keeper.view(), self._clock.monotonic()
        for name, member in view.members.items():
            told = member.instance.accounts.get(account)
            there = name != view.me and policy.present(view, member, now, self._keeper.limits)
            if there and told and slot in told.slots:
                yield member.instance.name, told.slots[slot]

    def _named(self, view: View, to: str) -> InstanceId:
        found = [each.instance.id for each in view.members.values() if to in {each.instance.id, each.instance.name}]
        if not found:
            raise NotFound("there is no such instance")
        now, limits = self._clock.monotonic(), self._keeper.limits
        return max(found, key=lambda each: policy.present(view, view.members[each], now, limits))

    def _refuse_unfit(self, view: View, target: InstanceId, account: AccountId, now: float) -> None:
        member = view.members[target]
        name = member.instance.name
        if target == view.me:
            raise Conflict("it runs here already")
        if not policy.present(view, member, now, self._keeper.limits):
            raise Conflict(f"{name} is not there: it has given no sign of life")
        if member.instance.draining:
            raise Conflict(f"{name} is being drained: it takes no account")
        told = member.instance.accounts.get(account)
        if told is None or told.fitness is Fitness.UNLINKED:
            raise Conflict(f"{name} has no linked device of this account: link one there first")

    def _lease(self, view: View, known: Known) -> LeaseView:
        lease, now = known.lease, self._clock.monotonic()
        stands, _ = policy.standing(view, known, now, self._keeper.limits)
        state = _LEASE_STATES[stands]
        if stands is Standing.FREE and lease.wanted != NOBODY and lease.holder == NOBODY:
            state = LeaseState.HANDED_OVER
        held = stands in {Standing.MINE, Standing.HELD, Standing.SILENT}
        holder = view.members.get(lease.holder) if held else None
        return LeaseView(
            account=lease.account,
            holder=lease.holder if held else NOBODY,
            holder_name=holder.instance.name if holder else "",
            holder_region=holder.instance.region if holder else "",
            holder_url=holder.instance.url if holder else "",
            mine=stands is Standing.MINE,
            generation=lease.generation,
            since=lease.since,
            reason=lease.reason,
            state=state,
        )

    def _instance(self, view: View, member: Member, leases: tuple[LeaseView, ...]) -> InstanceView:
        instance, now = member.instance, self._clock.monotonic()
        alive = policy.present(view, member, now, self._keeper.limits)
        state = InstanceState.DEPOSED if instance.deposed else InstanceState.ALIVE if alive else InstanceState.SILENT
        return InstanceView(
            id=instance.id,
            name=instance.name,
            region=instance.region,
            url=instance.url,
            version=instance.version,
            me=instance.id == view.me,
            state=state,
            seen_ago=max(0.0, now - member.seen_at),
            draining=instance.draining,
            holds=sum(lease.holder == instance.id for lease in leases),
            accounts={account: told.fitness for account, told in instance.accounts.items()},
        )

    async def _until(self, done: Callable[[], bool], patience: float) -> None:
        ends = self._clock.monotonic() + patience
        while not done() and self._clock.monotonic() < ends:
            await self._clock.sleep(0.05)


def _passive(holder: Member) -> InstancePassive:
    instance = holder.instance
    where = f" at {instance.url}" if instance.url else ""
    return InstancePassive(
        f"instance {instance.name} runs this account: ask there{where}", _SOON, holder=instance.name, url=instance.url
    )
