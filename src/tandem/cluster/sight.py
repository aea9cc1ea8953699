"""What this instance has seen of the others and of the leases, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf

from tandem.clock import Clock
from tandem.cluster.port import SeenInstance, SeenLease, Sight, Version
from tandem.model.cluster import NOBODY, Fitness, InstanceId, Lease
from tandem.model.ids import AccountId
from tandem.policy.lease import Known, Limits, Member, View

_NO_VERSION: Version = (0, 0)


class Outlook:
    """Takes in sights in any order: an older state never replaces a newer one."""

    def __init__(self, me: InstanceId, clock: Clock, limits: Limits) -> None:
        self.members: dict[InstanceId, Member] = {}
        self.leases: dict[AccountId, Known] = {}
        self.previous: dict[AccountId, InstanceId] = {}
        """Who held a lease before it was taken last; it may be the same instance."""
        self.whole = False
        self._me = me
        self._clock = clock
        self._limits = limits
        self._holders: dict[AccountId, InstanceId] = {}
        self._unfit_since: dict[AccountId, float] = {}

    def take_in(self, sight: Sight, *, looked: bool = False, after_break: float = 0.0) -> None:
        """``looked``: it was read, not told by a stream.

        ``after_break``: seconds that the stream was away before it. After a break as long as the pace of heartbeats,
        silence proves nothing: everybody is given their time again.
        """
        now = self._clock.monotonic()
        for name, instance in sight.instances.items():
            self._take_in_instance(name, instance, now, looked=looked)
        for account, lease in sight.leases.items():
            self._take_in_lease(account, lease, now)
        if sight.whole:
            self._forget_all_but(sight)
            if after_break >= self._limits.renew:
                self.members = {name: replace(each, seen_at=now) for name, each in self.members.items()}

    def newer_than_known(self, sight: Sight) -> bool:
        """Whether a look shows what no stream has told."""
        known: dict[str, Version | None] = {name: each.version for name, each in self.members.items()}
        known.update({account: each.version for account, each in self.leases.items()})
        seen = [*sight.instances.items(), *sight.leases.items()]
        return any(each is not None and each.version != known.get(name) for name, each in seen)

    def _forget_all_but(self, sight: Sight) -> None:
        """Forget what is not there any more. What is newer than all of the sight may have come after it, and stays."""
        self.whole = True
        seen = (*sight.instances.values(), *sight.leases.values())
        newest = max((each.version for each in seen if each), default=_NO_VERSION)
        there = {*sight.instances, self._me}  # a stream does not tell of that
        self.members = {name: known for name, known in self.members.items() if name in there or known.version > newest}
        self.leases = {
            account: known
            for account, known in self.leases.items()
            if account in sight.leases or known.version is None or known.version > newest
        }

    def wrote(self, lease: Lease, version: Version) -> None:
        """Take in what this instance has written itself."""
        self._take_in_lease(lease.account, SeenLease(lease, version), self._clock.monotonic())

    def snubbed(self, name: InstanceId) -> None:
        """Note that an instance did not take what it was handed."""
        if name in self.members:
            until = self._clock.monotonic() + self._limits.idle
            self.members[name] = replace(self.members[name], snubbed_until=until)

    def view(
        self,
        *,
        term: int,
        until: float,
        draining: bool,
        spread: bool,
        fitness: Mapping[AccountId, Fitness],
        given_up: Mapping[AccountId, int],
    ) -> View:
        return View(
            me=self._me,
            term=term,
            until=until,
            draining=draining,
            spread=spread,
            members=dict(self.members),
            leases=self._with_those_without(fitness),
            fitness=fitness,
            unfit_since=self._unfit(fitness),
            given_up=given_up,
        )

    def _with_those_without(self, accounts: Iterable[AccountId]) -> dict[AccountId, Known]:
        """Accounts that are known here and have no lease yet, from the time of one instance, are free."""
        now = self._clock.monotonic()
        for account in accounts if self.whole else ():
            self.leases.setdefault(account, Known(Lease(account), None, now))
        return dict(self.leases)

    def _unfit(self, fitness: Mapping[AccountId, Fitness]) -> dict[AccountId, float]:
        now = self._clock.monotonic()
        unfit = {account for account, each in fitness.items() if each < Fitness.ONLINE}
        self._unfit_since = {account: self._unfit_since.get(account, now) for account in unfit}
        return dict(self._unfit_since)

    def _take_in_instance(self, name: InstanceId, seen: SeenInstance | None, now: float, *, looked: bool) -> None:
        known = self.members.get(name)
        if seen is None:
            self.members.pop(name, None)
        elif known is None:
            self.members[name] = Member(seen.instance, seen.version, now, now if looked else -inf, now)
        elif seen.version > known.version:
            back = known.instance.deposed or seen.instance.term != known.instance.term
            looked_at, since = now if looked else -inf, now if back else known.since
            self.members[name] = Member(seen.instance, seen.version, now, looked_at, since, known.snubbed_until)
        elif looked and seen.version == known.version:
            self.members[name] = replace(known, looked_at=now)

    def _take_in_lease(self, account: AccountId, seen: SeenLease | None, now: float) -> None:
        known = self.leases.get(account)
        if seen is None:
            self.leases.pop(account, None)
        elif known is None or known.version is None or seen.version > known.version:
            self.leases[account] = Known(seen.lease, seen.version, now)
            self._note_holder(account, seen.lease.holder)

    def _note_holder(self, account: AccountId, holder: InstanceId) -> None:
        last = self._holders.get(account, holder)
        if holder != NOBODY:
            self._holders[account] = holder
            self.previous[account] = last
