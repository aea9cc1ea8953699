"""Keeps this instance's leases: beats, watches the others, takes, hands on, and fences itself.

``policy.lease`` decides; here is what carries it out. Three tasks: one watches the meeting place, one writes to it, one
call at a time, and one does nothing but give up all rights when their time is over, whatever the others wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import structlog

from tandem.clock import Clock, Random, until_told
from tandem.cluster import taking, telling
from tandem.cluster.jobs import Jobs
from tandem.cluster.part import KeeperPorts, Self
from tandem.cluster.port import LostRace, Meeting, Put, Sight
from tandem.cluster.sight import Outlook
from tandem.cluster.stream import Stream
from tandem.cluster.term import Term
from tandem.errors import InstancePassive, StoreUnavailable, Transient
from tandem.model.cluster import NOBODY, AccountStanding, Fitness, Instance, InstanceId, Lease, Right
from tandem.model.ids import AccountId
from tandem.policy import lease as policy
from tandem.policy.lease import Known, Leave, Limits, Standing, Take, View

_log = structlog.get_logger(__name__)
_AGAIN = 0.3  # seconds until a call that failed is made again, at the least
_SOONEST = 1.0  # seconds between two heartbeats that only tell a change
_PATIENCE = 1.0  # seconds that a heartbeat waits for what is to be told in it
_LONGEST = 3600.0


__all__ = ["Keeper", "KeeperPorts", "Self"]


class Keeper:
    """``run`` is its task; ``leave_all`` before the end. ``right`` and everything else that reads returns at once."""

    def __init__(
        self, me: Self, meeting: Meeting, limits: Limits, ports: KeeperPorts, *, clock: Clock, random: Random
    ) -> None:
        self.me = me
        self.limits = limits
        self.outlook = Outlook(me.id, clock, limits)
        self.term = Term(me.id, me.origin, meeting, clock, limits)
        self.draining = False
        self.trouble = ""
        """Why this instance can hold no lease, in words; empty if it can."""
        self.changes: dict[str, int] = {"acquired": 0, "left": 0, "lost": 0}
        self._meeting = meeting
        self._ports = ports
        self._clock = clock
        self._random = random
        self._held: dict[AccountId, int] = {}
        self._leaving: dict[AccountId, InstanceId] = {}
        self._given_up: dict[AccountId, int] = {}
        self._writing = asyncio.Lock()
        self._fenced_at = -inf
        self._news = asyncio.Event()
        self._renewed = asyncio.Event()
        self._told: Mapping[AccountId, Fitness] | None = None
        self._standings: Mapping[AccountId, AccountStanding] = {}
        self._stream = Stream(meeting, self.outlook, me.id, self._saw, clock=clock, random=random)
        self._jobs = Jobs()
        self._others: set[asyncio.Task[None]] = set()

    # What others ask

    def right(self, account: AccountId) -> Right | None:
        """Return the right to run an account, None if there is none at this instant."""
        generation = self._held.get(account)
        if generation is None or self._clock.monotonic() >= self.term.until:
            return None
        return Right(account, generation, self.term.until)

    @property
    def held(self) -> Mapping[AccountId, int]:
        """The accounts that run here, with their generations."""
        return self._held if self._clock.monotonic() < self.term.until else {}

    def changed(self) -> None:
        """An account's fitness may have changed here, or an account was added. Returns at once."""
        self._news.set()

    def drain(self, *, on: bool) -> None:
        """Hand everything on and take nothing, or take part again. Returns at once."""
        self.draining = on
        self._told = None  # the others have to hear of it
        self._news.set()

    async def found(self, account: AccountId, reason: str) -> None:
        """Take the lease of a new account. Raises InstancePassive if another instance has it, StoreUnavailable."""
        await self._read([], [account])
        async with self._writing:
            if not self.term.begun:
                raise StoreUnavailable(self.trouble or "this instance has only just started")
            now = self._clock.monotonic()
            self.outlook.leases.setdefault(account, Known(Lease(account), None, now))
            view = self.view()
            if policy.standing(view, view.leases[account], now, self.limits)[0] in {Standing.HELD, Standing.SILENT}:
                raise InstancePassive("another instance has this account already")
            await self._take(view, [Take(account, reason)])
        if self.right(account) is None:
            raise InstancePassive("another instance has just added this account")

    async def delete(self, account: AccountId) -> None:
        """Let all instances forget an account. Raises StoreUnavailable, LostRace."""
        await self._read([], [account])
        known = self.outlook.leases.get(account) or Known(Lease(account), None, 0.0)
        lease = replace(known.lease, holder=NOBODY, term=0, removed=True, reason="deleted", since=self._clock.now())
        [version] = await self._meeting.commit([Put(lease, known.version)], self.term.timeout)
        self.outlook.wrote(lease, version)
        self._give_up(account, "the account was deleted")

    def look(self) -> None:
        """Somebody thinks that another instance is in trouble: read all heartbeats now. It decides nothing."""
        self._spawn(self._read([name for name in self.outlook.members if name != self.me.id], []))

    def view(self) -> View:
        return self.outlook.view(
            term=self.term.number if self.term.begun else self.term.number + 1,
            until=self.term.until,
            draining=self.draining,
            spread=self.me.spread,
            fitness=self._ports.fitness(),
            given_up=self._given_up,
        )

    # Its own tasks

    async def run(self) -> None:
        """Keep the leases until cancelled. What was held then runs out, unless ``leave_all`` came first."""
        tasks = [asyncio.create_task(each) for each in (self._stream.run(), self._guard(), self._work())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (*tasks, *self._others):
                task.cancel()
            await asyncio.gather(*tasks, *self._others, return_exceptions=True)
            await self._jobs.end()

    def _saw(self) -> None:
        """Something was seen; it may be that somebody else has ended this term."""
        own = self.outlook.members.get(self.me.id)
        if own is not None and self.term.begun and self.term.ended_by(own.instance):
            self._fence("another instance has ended this term")
        self._news.set()

    async def _guard(self) -> None:
        """Give up every right when its time is over."""
        while True:
            self._renewed.clear()
            left = self.term.until - self._clock.monotonic()
            if self._held and left <= 0:
                self._fence(self.trouble or "no heartbeat was acknowledged in time")
            await until_told(self._renewed, self._clock, left if self._held and left > 0 else _LONGEST)

    async def _work(self) -> None:
        while True:
            again = _AGAIN
            self._news.clear()
            try:
                async with self._writing:
                    again = await self._turn()
            except LostRace as race:
                self._lost(str(race))
            except StoreUnavailable as error:
                self._say_trouble(f"the meeting place does not answer: {error}")
                await self._clock.sleep(self._random.uniform(_AGAIN, 2 * _AGAIN))
                continue
            await until_told(self._news, self._clock, again)

    async def _turn(self) -> float:
        """Do what is to be done now. Returns seconds until the next turn, if nothing happens before."""
        if not self.term.begun:
            grace = self._fenced_at + self.limits.margin - self._clock.monotonic()
            if grace > 0:  # a new term frees the leases of the last one: what was being sent has to be over by then
                return grace
            wait = await self.term.begin(self._heartbeat)
            if wait:
                self._say_trouble(wait)
                return 1.0
            self._wrote_heartbeat()
        if self._beat_due() <= 0:
            await self.term.beat(await self._body(), self._pace)
            self._wrote_heartbeat()
        self.trouble = ""
        doubt = self._stream.doubt()
        self._discover()
        self._reconcile()
        view = self.view()
        plan = policy.decide(view, self._clock.monotonic(), self.limits)
        for leave in plan.leaves:
            self._begin_leaving(leave)
        takes = [take for take in plan.takes if take.account not in self._leaving]
        if takes:
            await self._take(view, takes)
        if plan.looks:
            await self._read(sorted(plan.looks), [])
        again = 0.0 if plan.looks or takes else plan.again - self._clock.monotonic()
        return max(0.01, min(again, doubt, self._beat_due(), _LONGEST))

    def _reconcile(self) -> None:
        """Run what this instance holds, and nothing else, whichever way it has learned of it."""
        view, now = self.view(), self._clock.monotonic()
        for account, known in view.leases.items():
            mine = policy.standing(view, known, now, self.limits)[0] is Standing.MINE
            if account in self._leaving:
                continue
            if mine and self._held.get(account) != known.lease.generation:
                self._take_up(known.lease)
            elif not mine and account in self._held:
                self._give_up(account, known.lease.reason or "its lease was changed by somebody else")
                self._jobs.add(account, partial(self._ports.lay_down, account, True), at_once=True)

    # Heartbeats

    @property
    def _pace(self) -> float:
        return self.limits.renew if self._held or self._leaving else self.limits.idle

    def _beat_due(self) -> float:
        """Seconds until the next heartbeat: at the pace, or soon if this instance's own fitness has changed.

        One that was not written is due again at once: a right outlives one that gets lost.
        """
        since = self._clock.monotonic() - self.term.written_at
        return min(self._pace - since, _SOONEST - since if self._ports.fitness() != self._told else inf)

    async def _body(self) -> Callable[[int, int, float], Instance]:
        """Return what makes the next heartbeat. It does not wait long for what is to be told of the accounts."""
        self._told = dict(self._ports.fitness())
        with suppress(TimeoutError, Transient):
            async with asyncio.timeout(_PATIENCE):
                self._standings = await self._ports.standings()
        return self._heartbeat

    def _heartbeat(self, term: int, beat: int, every: float) -> Instance:
        me = self.me
        return Instance(
            id=me.id, name=me.name, term=term, beat=beat, every=every, region=me.region, url=me.url,
            version=me.version, origin=me.origin, draining=self.draining, at=self._clock.now(),
            accounts=self._standings,
        )  # fmt: skip

    def _wrote_heartbeat(self) -> None:
        if self.term.last is not None:
            self.outlook.take_in(Sight({self.me.id: self.term.last}))
        self._renewed.set()

    # Taking

    async def _take(self, view: View, takes: Sequence[Take]) -> None:
        """Take leases in one commit, together with the end of their silent holders' terms.

        On the condition that all is as it was in the view that this was decided on, however much was seen since.
        """
        for snubbed in {view.leases[take.account].lease.wanted for take in takes} - {NOBODY, self.me.id}:
            self.outlook.snubbed(snubbed)
        leases = [taking.lease(view, take, self.term.number, self._clock.now()) for take in takes]
        puts = [Put(lease, view.leases[lease.account].version) for lease in leases]
        silent = sorted({take.depose for take in takes} - {NOBODY})
        puts += [taking.deposing(view, name) for name in silent]
        beat, own = self.term.put(await self._body(), self.limits.renew)
        try:
            versions = await self._meeting.commit([*puts, own], self.term.timeout)
        except (LostRace, StoreUnavailable):
            await self.term.read_back()
            self._wrote_heartbeat()
            await self._read(silent, [lease.account for lease in leases])
            return
        for lease, version in zip(leases, versions, strict=False):
            self.outlook.wrote(lease, version)
        self.term.acknowledged(beat, versions[-1])
        self._wrote_heartbeat()
        self._reconcile()

    def _take_up(self, lease: Lease) -> None:
        account, generation = lease.account, lease.generation
        self._held[account] = generation
        self.changes["acquired"] += 1
        last = self.outlook.members.get(self.outlook.previous.get(account, NOBODY))
        telling.acquired(self._ports.publish, lease, self.me, last.instance if last else None)
        self._jobs.add(account, lambda: self._ports.take_up(account, generation))
        self._renewed.set()

    # Handing on

    def _begin_leaving(self, leave: Leave) -> None:
        if leave.account in self._leaving or leave.account not in self._held:
            return
        self._spawn(self.leave(leave.account, leave.to, leave.reason))

    async def leave(self, account: AccountId, to: InstanceId, reason: str) -> None:
        """Hand an account on: end what is under way, then let its lease go.

        Whatever becomes of that, this generation is over: if the lease stays here, it is taken anew.
        """
        self._leaving[account] = to
        try:
            await self._jobs.add(account, lambda: self._ports.lay_down(account, False))
            known, generation = self.outlook.leases[account], self._give_up(account, reason, to)
            if generation == known.lease.generation and self._clock.monotonic() < self.term.until:
                lease = replace(known.lease, holder=NOBODY, term=0, wanted=to, reason=reason, since=self._clock.now())
                [version] = await self._meeting.commit([Put(lease, known.version)], self.term.timeout)
                self.outlook.wrote(lease, version)
        finally:
            self._leaving.pop(account, None)
            self._news.set()

    async def leave_all(self, reason: str) -> None:
        """Hand on everything and end the term, for the end of this instance."""
        self.draining = True
        now = self._clock.monotonic()
        others = {account: policy.best_other(self.view(), account, now, self.limits) for account in self._held}
        leaving = [self.leave(account, to, reason) for account, to in others.items()]
        await asyncio.gather(*leaving, return_exceptions=True)
        async with self._writing:
            if self.term.begun:
                _, put = self.term.put(lambda *of: replace(self._heartbeat(*of), deposed=True), 0.0)
                self.term.over()
                with suppress(LostRace, StoreUnavailable):
                    await self._meeting.commit([put], self.term.timeout)

    # Losing

    def _fence(self, reason: str) -> None:
        """Whatever was held is void. The next term begins as soon as the meeting place can be reached."""
        self.term.over()
        if self._held:
            self._fenced_at = self._clock.monotonic()
        for account in list(self._held):
            self._give_up(account, reason)
            if account not in self._leaving:
                self._jobs.add(account, partial(self._ports.lay_down, account, True), at_once=True)
        self._news.set()

    def _give_up(self, account: AccountId, reason: str, to: InstanceId | None = None) -> int:
        """Act no more under the generation that is held. Returns it, 0 if there was none."""
        generation = self._held.pop(account, 0)
        if generation:
            self._given_up[account] = generation
            self.changes["lost" if to is None else "left"] += 1
            taker = self.outlook.members.get(to or NOBODY)
            telling.lost(self._ports.publish, account, generation, reason, taker.instance if taker else None)
        return generation

    def _lost(self, reason: str) -> None:
        self._say_trouble(reason)
        if not self.term.begun:
            self._fence(reason)

    def _say_trouble(self, reason: str) -> None:
        if not self.trouble:
            _log.warning("lease_trouble", reason=reason)
        self.trouble = reason

    # Looking

    async def _read(self, instances: Sequence[InstanceId], accounts: Sequence[AccountId]) -> None:
        self._stream.look_at(await self._meeting.read(instances, accounts, self.term.timeout))

    def _discover(self) -> None:
        """Hear of accounts that were added or deleted elsewhere."""
        here = set(self._ports.fitness())
        for account, known in list(self.outlook.leases.items()):
            if account in self._jobs or known.lease.removed != (account in here):
                continue
            self._jobs.add(
                account, partial(self._ports.removed if account in here else self._ports.discovered, account)
            )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except (LostRace, StoreUnavailable) as error:
                self._say_trouble(str(error))

        task = asyncio.create_task(guarded())
        self._others.add(task)
        task.add_done_callback(self._others.discard)
