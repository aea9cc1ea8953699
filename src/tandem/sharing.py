"""What is different where several instances share the accounts: leases, a shared outbox, other regions.

``Sharing`` is this instance's part for the rooms below (``supervision.cluster.Part``) and gives the daemon its jobs.
Where there is one instance none of it is built, nor even loaded: it brings gRPC along.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

import structlog

from tandem import __version__
from tandem.clock import Clock, Random
from tandem.cluster.desk import ClusterDesk
from tandem.cluster.firestore import FirestoreMeeting
from tandem.cluster.firestore_outbox import FirestoreRows
from tandem.cluster.keeper import Keeper, KeeperPorts, Self
from tandem.cluster.port import LostRace
from tandem.cluster.regions import Regions
from tandem.cluster.shared_outbox import SharedOutbox
from tandem.errors import Conflict, InstancePassive, NotFound, StoreUnavailable, Transient
from tandem.inbound.held import HeldBack
from tandem.inbound.marks import Marks
from tandem.model.account import Account
from tandem.model.cluster import AccountStanding, Fitness, InstanceId, SlotStanding
from tandem.model.cluster_view import LeaseView
from tandem.model.event import Publish
from tandem.model.ids import AccountId
from tandem.model.outbox import Wanted
from tandem.model.states import OutboxState, Slot
from tandem.policy.lease import Limits
from tandem.policy.regions import other_regions, own_url, region_of
from tandem.queue.identity import identity
from tandem.queue.queue import Queue
from tandem.settings import Settings
from tandem.store.firestore.credentials import target_of
from tandem.store.port import Costs, Store
from tandem.supervision.supervisor import Supervisor

_log = structlog.get_logger(__name__)
_SLOTS = {"both": (Slot.PRIMARY, Slot.BACKUP), "primary": (Slot.PRIMARY,), "backup": (Slot.BACKUP,)}
_AGAIN = 0.5
_UNKNOWN_ACCOUNT = 5.0
_MOST_OPEN = 100_000
_PAIR_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class _Shares:
    """What the leases are about: see ``Sharing.attach``."""

    supervisor: Supervisor
    held: HeldBack
    marks: Marks


class Sharing:
    """``open`` it before anything connects, ``attach`` the rest, run its ``jobs``, ``leave`` before the end."""

    alone = False

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        store: Store,
        me: Self,
        *,
        clock: Clock,
        random: Random,
        publish: Publish,
    ) -> None:
        self.slots = _SLOTS[settings.cluster.slots]
        self._store = store
        self._local = queue.outbox
        self._clock = clock
        self._shares: _Shares | None = None
        self._fitness: dict[AccountId, Fitness] = {}
        target = target_of(settings, project=settings.firestore.project, database=settings.firestore.database)
        self._meeting = FirestoreMeeting(target)
        ports = KeeperPorts(
            fitness=self._fitness_here,
            standings=self._standings,
            take_up=self._take_up,
            lay_down=self._lay_down,
            discovered=self._discovered,
            removed=self._removed,
            publish=publish,
        )
        patience = _PAIR_PATIENCE if settings.cluster.slots == "both" else 0.0
        cluster = settings.cluster
        limits = Limits(ttl=cluster.lease_ttl, patience=patience, settle=cluster.settle, pause=cluster.move_every)
        self.keeper = Keeper(me, self._meeting, limits, ports, clock=clock, random=random)
        self._rows = FirestoreRows(target)
        self.outbox = SharedOutbox(
            self._rows,
            queue,
            me.id,
            self.keeper.right,
            lambda: list(self._fitness_here()),
            clock=clock,
            random=random,
            publish=publish,
            expiry=settings.queue.outbox_expiry,
            patience=settings.session.suspect_after,
            online=lambda account: self._supervised().pair_of(account).can_send,
        )
        self.regions = Regions(
            other_regions(settings),
            every=settings.cluster.peer_interval,
            patience=settings.cluster.peer_failures,
            look=self.keeper.look,
            clock=clock,
            publish=publish,
        )
        self.desk = ClusterDesk(self.keeper, self.regions.views, clock)

    @classmethod
    async def of(
        cls,
        settings: Settings,
        queue: Queue,
        store: Store,
        name: str,
        *,
        clock: Clock,
        random: Random,
        publish: Publish,
    ) -> Sharing:
        """Return the part of this data directory. Raises Misconfigured, StoreUnavailable."""
        me = Self(
            id=InstanceId(await identity(queue.database)),
            name=name,
            origin=queue.database.origin,
            region=region_of(settings),
            url=own_url(settings),
            version=__version__,
            spread=settings.cluster.placement == "spread",
        )
        return cls(settings, queue, store, me, clock=clock, random=random, publish=publish)

    async def open(self) -> None:
        await self._meeting.open()
        await self.outbox.open()

    async def close(self) -> None:
        await self.outbox.close()
        await self._meeting.close()

    def costs(self) -> Mapping[str, Costs]:
        """What sharing has asked of Firestore since the start, by part."""
        return {"leases": self._meeting.costs, "outbox": self._rows.costs}

    def attach(self, supervisor: Supervisor, held: HeldBack, marks: Marks) -> None:
        """Say what the leases are about. Before ``jobs`` run."""
        self._shares = _Shares(supervisor, held, marks)

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        return [self.keeper.run(), self.outbox.run(), self.regions.run()]

    async def leave(self) -> None:
        """Hand every account on, because this instance ends."""
        try:
            await self.keeper.leave_all("its instance stops")
        except (LostRace, StoreUnavailable) as error:
            _log.warning("leases_not_released", reason=str(error))

    # This instance's part, as the rooms below see it

    def holds(self, account: AccountId) -> bool:
        return self.keeper.right(account) is not None

    def keys_are_ours(self) -> bool:
        """The lock on the data directory says so, unless somebody beats in its name: then there is a copy of it."""
        return not self.keeper.term.contested

    def may_send_until(self, account: AccountId) -> float:
        right = self.keeper.right(account)
        return -inf if right is None else right.until

    def lease(self, account: AccountId) -> LeaseView | None:
        return self.desk.lease(account)

    def elsewhere(self, account: AccountId, slot: Slot) -> tuple[str, SlotStanding] | None:
        return self.desk.elsewhere(account, slot)

    def durable_through(self, account: AccountId) -> float:
        return self.desk.durable_through(account)

    async def add(self, account: Account) -> None:
        self.desk.require_active()
        await self._store.save_account(account)
        await self.keeper.found(account.id, "the account was added here")

    async def remove(self, account: AccountId) -> None:
        self.desk.require(account)
        await self._cancel_all(account)
        try:
            await self.keeper.delete(account)
        except LostRace:
            raise InstancePassive("another instance has just taken this account: ask there") from None

    async def _cancel_all(self, account: AccountId) -> None:
        """Nobody will run the account any more: what it has not sent is not to wait for ever."""
        acts = {OutboxState.QUEUED: self.outbox.cancel, OutboxState.UNKNOWN: self.outbox.give_up}
        for state, act in acts.items():
            rows, _ = await self._local.page(Wanted(account, state), _MOST_OPEN)
            for row in rows:
                with suppress(Conflict):  # it has moved on meanwhile
                    await act(row.id)

    def changed(self) -> None:
        """A session has moved, or an account was added or removed. Returns at once."""
        self.keeper.changed()

    # What the keeper steers

    def _supervised(self) -> Supervisor:
        if self._shares is None:
            raise StoreUnavailable("this instance has only just started")
        return self._shares.supervisor

    def _fitness_here(self) -> Mapping[AccountId, Fitness]:
        return self._shares.supervisor.fitness() if self._shares else {}

    async def _standings(self) -> Mapping[AccountId, AccountStanding]:
        if self._shares is None:
            return {}
        supervisor = self._shares.supervisor
        held = set(self.keeper.held)
        marks = await self._shares.marks.of(held) if held else {}
        return {
            account: AccountStanding(fitness, supervisor.pair_of(account).standings, marks.get(account, 0.0))
            for account, fitness in supervisor.fitness().items()
        }

    async def _take_up(self, account: AccountId, generation: int) -> None:
        """Send for an account as soon as its messages are here and it is known, while the right lasts."""
        while (right := self.keeper.right(account)) is not None and right.generation == generation:
            try:
                self._supervised().pair_of(account)
                await self.outbox.acquired(account, generation)
                self._supervised().take_up(account)
            except (NotFound, Transient) as error:
                _log.info("account_not_taken_up_yet", account=account, reason=str(error))
                await self._clock.sleep(_AGAIN)
            else:
                break
        if self._shares is not None:
            self._shares.held.wake(account)

    async def _lay_down(self, account: AccountId, lost: bool) -> None:  # noqa: FBT001 - the keeper's words
        await self._supervised().lay_down(account)
        await self.outbox.released(account, lost=lost)

    async def _discovered(self, account: AccountId) -> None:
        found = await self._store.account(account)
        if found is None:  # a lease without an account: look again, but not all the time
            await self._clock.sleep(_UNKNOWN_ACCOUNT)
            return
        await self._supervised().adopt(found)

    async def _removed(self, account: AccountId) -> None:
        await self.outbox.released(account, lost=True)
        with suppress(NotFound):  # it was removed here, by the operator's own request
            await self._supervised().remove_here(account)
