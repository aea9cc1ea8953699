"""Who may run an account, among several instances. Pure: what an instance sees, and now → what it should do.

The protocol, and why two never run an account under one generation, nor a fenced one at all:

* A heartbeat is written on the condition that the last one still stands. So whoever ends another's term (``deposed``,
  on the condition that the heartbeat last seen still stands) and that other's next heartbeat exclude each other.
* A holder counts its right from the instant before it *sent* the last heartbeat that was acknowledged, and gives it
  up ``margin`` before the time to live is over, by its own monotonic clock, whether or not it can reach anybody.
* A watcher counts from the instant *after* it saw that heartbeat, which is later, for the whole time to live, by its
  own monotonic clock, and has looked once more before it acts. No wall clock is ever compared.
* A lease names its holder's term. It is void once that term is over, and a term never comes back.
* Taking a lease is one commit on the condition that the lease, the silent holder's heartbeat and the taker's own are as
  they were seen. A pause or a lost answer between decision and commit can only make it fail.

What is left is the time that a call of the WhatsApp library takes which was begun before the end: for that there is
the ``margin``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2s
from math import inf
from operator import attrgetter

from tandem.model.cluster import NOBODY, Fitness, Instance, InstanceId, Lease
from tandem.model.ids import AccountId

Version = tuple[int, int]
PRIMARY_REGION = "primary"


@dataclass(frozen=True, slots=True)
class Limits:
    """Durations in seconds. ``patience``: how long an account may be offline here before another instance gets it.

    ``stagger``: head start of a better candidate. ``handover``: how long a lease that was handed to somebody is only
    theirs. ``dwell``: least time between taking a lease and handing it on unasked. ``settle``: how long an instance
    must have been there before accounts are moved to it for balance, one every ``pause``. ``idle``: time between two
    heartbeats of an instance that holds no lease.
    """

    ttl: float = 10.0
    patience: float = 1.0
    stagger: float = 0.5
    handover: float = 3.0
    dwell: float = 5.0
    settle: float = 30.0
    pause: float = 10.0
    idle: float = 60.0

    @property
    def margin(self) -> float:
        """How long before the end of its time to live a right is given up."""
        return self.ttl / 5

    @property
    def renew(self) -> float:
        """Time between two heartbeats of an instance that holds leases."""
        return self.ttl / 2


@dataclass(frozen=True, slots=True)
class Member:
    """An instance as it was seen. Times monotonic: ``seen_at`` of this heartbeat, ``looked_at`` of the last look at it.

    ``since``: when it was first seen without a break. ``snubbed_until``: it did not take what it was handed, and is
    handed nothing before.
    """

    instance: Instance
    version: Version
    seen_at: float
    looked_at: float = -inf
    since: float = 0.0
    snubbed_until: float = -inf


@dataclass(frozen=True, slots=True)
class Known:
    """A lease as it was seen at ``seen_at``; ``version`` None: there is no document of it yet."""

    lease: Lease
    version: Version | None
    seen_at: float


@dataclass(frozen=True, slots=True)
class View:
    """What an instance sees and is. ``until``: the end of its own right, as of the last acknowledged heartbeat.

    ``fitness`` is its own, as it is now; ``unfit_since`` says since when an account has been less than online here.
    ``given_up``: generations that it has begun to let go; nobody knows when the meeting place does it, so they are no
    right any more, whatever the lease says.
    """

    me: InstanceId
    term: int
    until: float
    draining: bool = False
    spread: bool = False
    members: Mapping[InstanceId, Member] = field(default_factory=dict)
    leases: Mapping[AccountId, Known] = field(default_factory=dict)
    fitness: Mapping[AccountId, Fitness] = field(default_factory=dict)
    unfit_since: Mapping[AccountId, float] = field(default_factory=dict)
    given_up: Mapping[AccountId, int] = field(default_factory=dict)


class Standing(Enum):
    MINE = "held here"
    HELD = "held"
    SILENT = "silent"  # its holder has not been heard of for the whole time to live
    FREE = "free"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Take:
    """Take this lease; ``depose``: end this instance's term in the same commit."""

    account: AccountId
    reason: str
    depose: InstanceId = NOBODY


@dataclass(frozen=True, slots=True)
class Leave:
    """Hand this lease on; ``to`` NOBODY: to whoever comes."""

    account: AccountId
    to: InstanceId
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. ``looks``: instances to read afresh; ``again``: monotonic time at which to decide again."""

    takes: Sequence[Take] = ()
    leaves: Sequence[Leave] = ()
    looks: frozenset[InstanceId] = frozenset()
    again: float = inf


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Somebody who could hold a lease; the smallest ``rank`` is the best."""

    instance: InstanceId
    fitness: Fitness
    rank: tuple[int, int, int]


def end_of_right(sent_at: float, limits: Limits) -> float:
    """Return until when a heartbeat that was sent then, and acknowledged, is worth a right."""
    return sent_at + limits.ttl - limits.margin


def standing(view: View, known: Known, now: float, limits: Limits) -> tuple[Standing, float]:
    """Return how a lease stands, and since when (monotonic) as far as this instance knows."""
    lease = known.lease
    if lease.removed:
        return Standing.REMOVED, known.seen_at
    if lease.holder == NOBODY:
        return Standing.FREE, known.seen_at
    if lease.holder == view.me:
        given_up = view.given_up.get(lease.account) == lease.generation
        mine = lease.term == view.term and now < view.until and not given_up
        void = lease.term < view.term or given_up
        return (Standing.MINE if mine else Standing.FREE if void else Standing.HELD), known.seen_at
    holder = view.members.get(lease.holder)
    if holder is None:  # perhaps it is so new that its lease was seen first
        return _silent_since(known.seen_at, now, limits)
    over = holder.instance.term > lease.term or (holder.instance.term == lease.term and holder.instance.deposed)
    if over:
        return Standing.FREE, max(known.seen_at, holder.seen_at)
    return _silent_since(holder.seen_at, now, limits)


def decide(view: View, now: float, limits: Limits) -> Plan:
    """Return what this instance should do about all leases."""
    takes: list[Take] = []
    leaves: list[Leave] = []
    looks: set[InstanceId] = {each for each, member in view.members.items() if _doubtful(view, member, now, limits)}
    times = [at for member in view.members.values() for at in _turning_points(member, limits)]
    again = [at for at in times if at > now]
    for account, known in view.leases.items():
        stands, since = standing(view, known, now, limits)
        if stands in {Standing.FREE, Standing.SILENT}:
            silent = known.lease.holder if stands is Standing.SILENT else NOBODY
            starts = since + _waits(view, known, silent, now, limits)
            if starts > now:
                again.append(starts)
            elif stands is Standing.SILENT and not _looked(view, known.lease.holder, limits):
                looks.add(known.lease.holder)
            else:
                takes.append(_take(view, known, stands, now))
        elif stands is Standing.MINE:
            leave, later = _leave(view, account, known, now, limits)
            leaves += [leave] if leave else []
            again.append(later)
    if view.spread and not leaves:
        leave, later = _for_balance(view, now, limits)
        leaves += [leave] if leave else []
        again.append(later)
    return Plan(takes, leaves, frozenset(looks), min(again, default=inf))


def best_other(view: View, account: AccountId, now: float, limits: Limits) -> InstanceId:
    """Return the fittest other instance that could run an account, NOBODY if there is none."""
    others = [each for each in _candidates(view, account, now, limits) if each.instance != view.me]
    return others[0].instance if others else NOBODY


def anybody(view: View, account: AccountId, now: float, limits: Limits) -> bool:
    """Whether some instance is there that could run an account."""
    return bool(_candidates(view, account, now, limits))


def present(view: View, member: Member, now: float, limits: Limits) -> bool:
    """Whether an instance is there, as far as its heartbeats tell."""
    instance = member.instance
    return not instance.deposed and (instance.id == view.me or now - member.seen_at < instance.every + limits.ttl)


def _silent_since(seen_at: float, now: float, limits: Limits) -> tuple[Standing, float]:
    ends = seen_at + limits.ttl
    return (Standing.SILENT, ends) if now >= ends else (Standing.HELD, seen_at)


def _doubtful(view: View, member: Member, now: float, limits: Limits) -> bool:
    """Whether a heartbeat is overdue: either its instance is in trouble or our stream of changes is dead."""
    if member.instance.deposed or member.instance.id == view.me:
        return False
    overdue, _ = _turning_points(member, limits)
    return overdue <= now < overdue + limits.ttl and member.looked_at < overdue


def _turning_points(member: Member, limits: Limits) -> tuple[float, float]:
    """When an instance is overdue, and when the time to live of its leases is over, unless it is heard of."""
    return member.seen_at + member.instance.every + limits.margin, member.seen_at + limits.ttl


def _looked(view: View, holder: InstanceId, limits: Limits) -> bool:
    """Whether a look after its whole time to live has shown that the holder is silent."""
    member = view.members.get(holder)
    return member is None or member.looked_at >= member.seen_at + limits.ttl


def _candidates(view: View, account: AccountId, now: float, limits: Limits) -> list[_Candidate]:
    """Those who are there and have a linked device of the account, the best first."""
    found = []
    for name, member in view.members.items():
        mine = name == view.me
        draining = view.draining if mine else member.instance.draining or now < member.snubbed_until
        fitness = view.fitness.get(account, Fitness.UNLINKED) if mine else _fitness(member.instance, account)
        if fitness > Fitness.UNLINKED and not draining and present(view, member, now, limits):
            home = member.instance.region == PRIMARY_REGION and not view.spread
            found.append(_Candidate(name, fitness, (-fitness, 0 if home else 1, -_affinity(account, name))))
    return sorted(found, key=attrgetter("rank"))


def _waits(view: View, known: Known, silent: InstanceId, now: float, limits: Limits) -> float:
    """Return for how long this instance leaves a free lease to those who are better; never: infinity.

    ``silent``: its holder, who will not take it again although it may have been here a moment ago.
    """
    candidates = _candidates(view, known.lease.account, now, limits)
    order = [each.instance for each in candidates if each.instance != silent]
    wanted = known.lease.wanted
    if view.me not in order:
        return inf
    if wanted not in order:
        return order.index(view.me) * limits.stagger
    order.remove(wanted)
    return 0.0 if wanted == view.me else limits.handover + order.index(view.me) * limits.stagger


def _take(view: View, known: Known, stands: Standing, now: float) -> Take:
    lease = known.lease
    if stands is Standing.SILENT:
        member = view.members.get(lease.holder)
        name = member.instance.name if member else "its holder"
        silent = now - (member.seen_at if member else known.seen_at)
        return Take(lease.account, f"{name} has given no sign of life for {silent:.1f} s", depose=lease.holder)
    return Take(lease.account, lease.reason or "nobody held it")


def _leave(view: View, account: AccountId, known: Known, now: float, limits: Limits) -> tuple[Leave | None, float]:
    """Return whether to hand on a lease that is held here, or when to think of it again."""
    if view.draining:
        return Leave(account, best_other(view, account, now, limits), "this instance is being drained"), inf
    others = [each for each in _candidates(view, account, now, limits) if each.instance != view.me]
    mine = view.fitness.get(account, Fitness.UNLINKED)
    if mine < Fitness.ONLINE and others and others[0].fitness is Fitness.ONLINE:
        when = max(known.seen_at + limits.dwell, view.unfit_since.get(account, now) + limits.patience)
        reason = f"no session of it is online here, {view.members[others[0].instance].instance.name} has one"
        return (Leave(account, others[0].instance, reason), inf) if when <= now else (None, when)
    return None, inf


def _for_balance(view: View, now: float, limits: Limits) -> tuple[Leave | None, float]:
    """Return one account to move to its place, if it is this instance's turn, or when that may be.

    All see the same accounts out of place, in the same order; one moves after the other, each by its holder.
    """
    latest, turn = max((known.seen_at for known in view.leases.values()), default=now), 0
    for account in sorted(view.leases):
        holder = view.leases[account].lease.holder
        stands, _ = standing(view, view.leases[account], now, limits)
        home = next(iter(_candidates(view, account, now, limits)), None)
        if stands not in {Standing.MINE, Standing.HELD} or home is None or home.instance == holder:
            continue
        turn += 1
        if stands is Standing.MINE:
            member = view.members[home.instance]
            when = max(member.since + limits.settle - limits.pause, latest) + turn * limits.pause
            reason = f"{member.instance.name} is its place while all are there"
            return (Leave(account, home.instance, reason), inf) if when <= now else (None, when)
    return None, inf


def _fitness(instance: Instance, account: AccountId) -> Fitness:
    told = instance.accounts.get(account)
    return told.fitness if told else Fitness.UNLINKED


def _affinity(account: AccountId, instance: InstanceId) -> int:
    """Rendezvous hashing (Thaler and Ravishankar, 1996): the highest is the account's place; few move with a change."""
    return int.from_bytes(blake2s(f"{account} {instance}".encode(), digest_size=8).digest())
