"""Looks at how things stand whenever something happened, and tells whom it concerns: once, and once when it is over.

The decisions are ``policy.alert_rules`` and ``policy.alerting``; this is their clock, memory and mouth. What is told is
committed before it is delivered, so neither a restart nor an endpoint that is away loses or repeats it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import structlog

from tandem.clock import Clock, Random, until_told
from tandem.errors import Transient
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId
from tandem.monitoring.events import EventStream
from tandem.monitoring.notifier import Letter
from tandem.policy.alert_rules import Facts, findings
from tandem.policy.alerting import Alert, Manners, Notice, NoticeKind, Phase, step
from tandem.queue.delivery_rows import Parcel

_log = structlog.get_logger(__name__)
_EVERY = 15.0  # seconds between looks when nothing happens: ages and ratios change by themselves
_GATHER = 1.0  # seconds in which events that come together are looked at together
_OWN = frozenset({EventType.ALERT, EventType.ALERT_RESOLVED, EventType.HOST_LOG, EventType.MESSAGE_SENT})


class Memory(Protocol):
    """Keeps alerts over restarts; ``queue.alert_memory.AlertMemory`` is one."""

    async def load(self) -> dict[str, Alert]: ...

    async def save(self, alerts: Mapping[str, Alert], notices: Sequence[Parcel]) -> None:
        """Whole or not at all. Raises Transient if the disk refuses."""


class Alerts:
    """``run`` is its task. ``facts`` says how things stand; it may read the disk, but must not wait for a network."""

    def __init__(
        self,
        facts: Callable[[], Awaitable[Facts]],
        memory: Memory,
        events: EventStream,
        *,
        clock: Clock,
        random: Random,
        manners: Manners,
    ) -> None:
        self._facts = facts
        self._memory = memory
        self._events = events
        self._clock = clock
        self._random = random
        self._manners = manners
        self._news = asyncio.Event()
        self._alerts: dict[str, Alert] = {}
        self._origin = clock.now() - clock.monotonic()

    def firing(self) -> Sequence[Alert]:
        """Return what fires now, the oldest first. Times in Unix seconds."""
        firing = [alert for alert in self._alerts.values() if alert.phase is Phase.FIRING]
        return sorted(firing, key=lambda alert: alert.since)

    async def run(self) -> None:
        """Look and tell, until cancelled."""
        self._alerts = await self._load()
        self._events.listen(self._heard)
        while True:
            try:
                await self._look()
            except Transient as error:
                _log.warning("alerts_wait", message="Alerts cannot be kept just now", reason=str(error))
            await until_told(self._news, self._clock, min(_EVERY, self._manners.settle))
            await self._clock.sleep(_GATHER)

    def _heard(self, event: Event) -> None:
        if event.type not in _OWN:
            self._news.set()

    async def _load(self) -> dict[str, Alert]:
        while True:
            try:
                return await self._memory.load()
            except Transient:
                await self._clock.sleep(_EVERY)

    async def _look(self) -> None:
        found = findings(await self._facts())
        alerts, notices = step(self._alerts, found, self._now(), self._manners)
        kept = {key: alert for key, alert in alerts.items() if alert.phase is not Phase.PENDING}
        if notices or kept.keys() != {key for key, each in self._alerts.items() if each.phase is not Phase.PENDING}:
            await self._memory.save(kept, [self._parcel(notice) for notice in notices])
        self._alerts = alerts
        for notice in notices:
            self._tell(notice)

    def _now(self) -> float:
        """Unix seconds that no change of the wall clock moves."""
        return self._origin + self._clock.monotonic()

    def _tell(self, notice: Notice) -> None:
        finding = notice.alert.finding
        fired = notice.kind is NoticeKind.FIRED
        self._events(
            EventType.ALERT if fired else EventType.ALERT_RESOLVED,
            sentence(notice),
            account=_account(finding.subject),
            reason=finding.words,
            rule=finding.rule.name,
            severity=str(finding.rule.severity),
            todo=finding.rule.todo,
            lasted_seconds=None if fired else round(notice.lasted, 1),
        )

    def _parcel(self, notice: Notice) -> Parcel:
        finding = notice.alert.finding
        rule = finding.rule
        if notice.kind is NoticeKind.FIRED:
            letter = Letter(rule.name, sentence(notice), str(rule.severity), rule.todo)
        else:
            letter = Letter(f"over: {rule.name}", sentence(notice))
        account = _account(finding.subject) or AccountId("")
        return Parcel(self._random.token(), notice.alert.key, account, letter.encode())


def sentence(notice: Notice) -> str:
    """Return what is told of a notice, in one sentence for people."""
    finding = notice.alert.finding
    where = f" [{finding.subject}]" if finding.subject else ""
    if notice.kind is NoticeKind.RESOLVED:
        return f"{finding.rule.name}{where} is over after {_span(notice.lasted)}"
    return f"{finding.rule.name}{where}: {finding.words}"


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:  # noqa: PLR2004 - below two minutes seconds say more
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"  # noqa: PLR2004 - above two hours, hours


def _account(subject: str) -> AccountId | None:
    name = subject.partition("/")[0]
    return AccountId(name) if name else None
