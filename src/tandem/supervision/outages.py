"""Keeps account of outages: when no slot of an account was online, why, and what came late because of it.

``changed`` hears every move of a pair and decides nothing itself (``policy.outages`` does); what is to be written waits
for ``run``, so that no disk delays a failover. The same write carries the sign of life of this run of the daemon, so
that after a kill the next one knows since when nobody was there. An outage that ended is finished, and its gap
published, when everything that came in with the reconnect is durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from tandem.clock import Clock
from tandem.errors import Transient
from tandem.model.event import EventType, Publish
from tandem.model.ids import AccountId
from tandem.model.message import RawEvent
from tandem.model.outage import Observation, Outage
from tandem.model.views import AccountView
from tandem.policy import outages as policy
from tandem.queue.outages import Outages
from tandem.supervision.account import Pair

_log = structlog.get_logger(__name__)
_SIGN_OF_LIFE = 10.0  # seconds between two, at most
_SUSPENDED = 30.0  # seconds without one that no load explains
_SHOWN = 20  # outages of an account that are held in memory

CaughtUp = Callable[[AccountId], Awaitable[None]]
"""Returns when everything that has come in for an account so far is durable."""


@dataclass(slots=True)
class _Count:
    """Messages that came in while an outage lasted; what had come before ``since`` is not of it."""

    outage: Outage
    since: float
    messages: int = 0


@dataclass(slots=True)
class _Account:
    standing: policy.Standing = field(default_factory=policy.Standing)
    recent: deque[Outage] = field(default_factory=lambda: deque(maxlen=_SHOWN))
    counts: list[_Count] = field(default_factory=list)
    downtime: float = 0.0


class OutageKeeper:
    """``prepare`` before anything connects, ``run`` as a task, ``stop`` before the devices are disconnected."""

    def __init__(self, table: Outages, caught_up: CaughtUp, *, clock: Clock, publish: Publish) -> None:
        self._table = table
        self._caught_up = caught_up
        self._clock = clock
        self._publish = publish
        self._accounts: dict[AccountId, _Account] = {}
        self._unsaved: dict[tuple[AccountId, float], Outage] = {}
        self._past: list[Observation] = []
        self._wake = asyncio.Event()
        self._finishing: set[asyncio.Task[None]] = set()
        self._looked_at = 0.0
        self._stopped = False
        self._observation = Observation(0.0, 0.0)

    async def prepare(self, views: Sequence[AccountView]) -> None:
        """Learn how the accounts stood when the daemon last ended, and record that nobody kept them since."""
        now = self._clock.now()
        last = await self._table.last_observation()
        self._observation = Observation(now, now)
        self._looked_at = self._clock.monotonic()
        for view in views:
            await self._resume(view, last, now)
        self._wake.set()

    def changed(self, pair: Pair) -> None:
        """Hear of a move of one of a pair's sessions. Returns at once."""
        if self._stopped:
            return
        states = {slot: session.state for slot, session in pair.sessions.items()}
        reasons = {slot: session.reason for slot, session in pair.sessions.items()}
        self._note(pair.account.id, states, reasons)

    def removed(self, account: AccountId) -> None:
        """Forget an account."""
        self._accounts.pop(account, None)
        self._unsaved = {key: outage for key, outage in self._unsaved.items() if key[0] != account}

    def arrived(self, event: RawEvent) -> None:
        """Count a message that has come in for the first time, if it came late because of an outage."""
        account = self._accounts.get(event.account)
        for count in account.counts if account else ():
            ended = count.outage.ended
            count.messages += count.since <= event.arrived_at and (ended is None or event.arrived_at <= ended)

    def recent(self, account: AccountId) -> Sequence[Outage]:
        """The last outages, newest first; the first of them may last."""
        known = self._accounts.get(account)
        return tuple(reversed(known.recent)) if known else ()

    def online(self, account: AccountId) -> bool:
        known = self._accounts.get(account)
        return known is not None and known.standing.online

    def downtime(self, account: AccountId) -> float:
        """Seconds that an account was out, as far as this run of the daemon knows of them; never goes backwards."""
        known = self._accounts.get(account)
        if known is None:
            return 0.0
        lasting = known.standing.outage
        return known.downtime + (lasting.seconds(self._clock.now()) if lasting else 0.0)

    async def run(self) -> None:
        """Write what has changed and the signs of life, until cancelled."""
        while True:
            self._look()
            try:
                if self._unsaved or self._anybody():
                    await self._write()
            except Transient as error:
                _log.warning("outages_not_saved", reason=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(_SIGN_OF_LIFE):
                    await self._wake.wait()
            self._wake.clear()

    async def stop(self) -> None:
        """Leave word that this run of the daemon ends as it should, now."""
        self._stopped = True
        self._observation = replace(self._observation, ended=self._clock.now(), stopped=True)
        for task in self._finishing:
            task.cancel()
        with suppress(Transient):
            await self._write()

    async def _resume(self, view: AccountView, last: Observation | None, now: float) -> None:
        name = view.account.id
        recent = list(reversed(await self._table.recent(name, _SHOWN)))
        lasting = recent[-1] if recent and recent[-1].ended is None else None
        linked = any(slot.device for slot in view.slots)
        standing = policy.at_boot(
            name, view.account.created_at, linked=linked, lasting=lasting, last=last, now=now
        )  # fmt: skip
        account = self._accounts[name] = _Account(standing)
        for outage in recent:
            counted = outage.finished or outage.ended is None
            account.recent.append(outage if counted else self._finished(outage))
        if standing.outage is not None:
            self._began(account, standing.outage, now)

    def _note(self, name: AccountId, states: policy.States, reasons: policy.Reasons) -> None:
        account = self._accounts.setdefault(name, _Account())
        now = self._clock.now()
        before = account.standing
        account.standing, outage = policy.after(before, name, states, reasons, now)
        if outage is not None and outage.ended is None:
            self._began(account, outage, now)
        elif outage is not None:
            self._ended(account, outage)
        elif account.standing.online and not before.online:
            self._wake.set()  # online for the first time: from now on a sign of life is owed

    def _began(self, account: _Account, outage: Outage, now: float) -> None:
        account.counts.append(_Count(outage, now))
        self._keep(account, outage)

    def _ended(self, account: _Account, outage: Outage) -> None:
        account.downtime += outage.seconds(self._clock.now())
        for count in account.counts:
            if count.outage.began == outage.began:
                count.outage = outage
        self._keep(account, outage)
        task = asyncio.create_task(self._finish(account, outage))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, account: _Account, outage: Outage) -> None:
        await self._caught_up(outage.account)
        mine = [count for count in account.counts if count.outage.began == outage.began]
        account.counts = [count for count in account.counts if count not in mine]
        self._keep(account, self._finished(replace(outage, recovered=sum(count.messages for count in mine))))

    def _finished(self, outage: Outage) -> Outage:
        finished = replace(outage, finished=True)
        self._unsaved[outage.account, outage.began] = finished
        recovered = "an unknown number of" if finished.recovered is None else str(finished.recovered)
        seconds = finished.seconds(self._clock.now())
        span: dict[str, Any] = {"from": _ms(finished.began), "to": _ms(finished.ended or finished.began)}
        self._publish(
            EventType.GAP,
            f"out for {seconds:.1f} s: {finished.cause}; {recovered} messages came late",
            account=finished.account,
            reason=finished.cause,
            seconds=round(seconds, 3),
            recovered=finished.recovered,
            **span,
        )
        return finished

    def _keep(self, account: _Account, outage: Outage) -> None:
        if account.recent and account.recent[-1].began == outage.began:
            account.recent[-1] = outage
        else:
            account.recent.append(outage)
        self._unsaved[outage.account, outage.began] = outage
        self._wake.set()

    def _look(self) -> None:
        """Give a sign of life. If the last is long ago, this process was suspended and kept nobody online meanwhile."""
        if self._stopped:
            return
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if monotonic - self._looked_at >= _SUSPENDED:
            self._past.append(self._observation)
            self._suspended(self._observation.ended, now)
            self._observation = Observation(now, now)
        self._looked_at = monotonic
        self._observation = replace(self._observation, ended=max(now, self._observation.ended))

    def _suspended(self, since: float, now: float) -> None:
        for name, account in self._accounts.items():
            if account.standing.online and since < now:
                outage = Outage(name, since, "the daemon was suspended", now)
                self._began(account, outage, now)
                self._ended(account, outage)

    async def _write(self) -> None:
        unsaved, past = dict(self._unsaved), list(self._past)
        await self._table.save(list(unsaved.values()), [*past, self._observation])
        self._unsaved = {key: outage for key, outage in self._unsaved.items() if unsaved.get(key) is not outage}
        self._past = self._past[len(past) :]

    def _anybody(self) -> bool:
        """Whether there is an account whose outage it would be if this process died now."""
        return any(account.standing.online or account.standing.outage for account in self._accounts.values())


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
