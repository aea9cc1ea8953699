"""Writes the daily report when a day is over, once, also for days that ended while nobody was there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from typing import Protocol

import structlog

from tandem.clock import Clock
from tandem.errors import NotFound, TandemError, Transient
from tandem.model.event import EventType, Publish
from tandem.model.ids import AccountId
from tandem.policy.report import DayReport, bounds, compose, document
from tandem.queue.day_figures import DayFigures
from tandem.queue.outages import Outages

_log = structlog.get_logger(__name__)
_AFTER_MIDNIGHT = 90.0  # seconds: the day's last figures are written down by then
_AGAIN = 600.0  # seconds until the store is asked again that did not answer
_LOOK = 3600.0  # longest sleep: the wall clock may be set, and days may have 23 hours
_DAYS_BACK = 31  # a day that is missing longer is not reported any more


class ReportKeeper(Protocol):
    """The store, as far as it is needed here."""

    async def save_report(self, day: str, report: Mapping[str, object]) -> bool:
        """Keep a day's report unless there is one. Returns whether it is new. Raises StoreUnavailable."""
        ...

    async def report(self, day: str) -> Mapping[str, object] | None: ...


def always() -> bool:
    return True


class Reporter:
    """``run`` is its task. ``accounts`` names those there are; ``send`` tells a report to people.

    ``may_report`` is asked before a day is closed: of several instances those that ran nothing leave it to the others.
    """

    def __init__(
        self,
        figures: DayFigures,
        outages: Outages,
        store: ReportKeeper,
        *,
        accounts: Callable[[], Sequence[AccountId]],
        send: Callable[[DayReport], Awaitable[None]],
        zone: tzinfo,
        clock: Clock,
        publish: Publish,
        may_report: Callable[[], bool] = always,
    ) -> None:
        self._figures = figures
        self._outages = outages
        self._store = store
        self._accounts = accounts
        self._send = send
        self._zone = zone
        self._clock = clock
        self._publish = publish
        self._may_report = may_report

    async def of(self, day: date) -> Mapping[str, object]:
        """Return a day's report: as it was stored, or for the day that lasts as it stands now. Raises NotFound."""
        today = self.today()
        if day < today:
            stored = await self._store.report(day.isoformat())
            if stored is not None:
                return stored
        if day > today or day.isoformat() not in {*await self._figures.days(), today.isoformat()}:
            raise NotFound(f"there is no report of {day.isoformat()}: nothing is known of that day")
        return document(await self.compose(day))

    async def compose(self, day: date) -> DayReport:
        """Put a day's report together from what was kept of it."""
        begins, ends = bounds(day, self._zone)
        until = min(ends, self._clock.now())
        outages = {account: await self._outages.between(account, begins, until) for account in self._accounts()}
        observations = await self._outages.observations(begins, until)
        figures = await self._figures.of(day.isoformat())
        return compose(day, self._zone, figures, outages, observations, until=until)

    async def run(self) -> None:
        """Report every closed day that has no report yet, then wait for the next midnight; for ever."""
        while True:
            try:
                await self._catch_up()
                wait = self._until_next()
            except Transient as error:
                wait = _AGAIN
                _log.warning("daily_report_waits", message="The daily report waits", reason=str(error))
            except TandemError as error:
                wait = _AGAIN
                _log.error("daily_report_failed", message="The daily report cannot be kept", reason=str(error))
            await self._clock.sleep(wait)

    async def _catch_up(self) -> None:
        if not self._may_report():
            return
        today = self.today()
        oldest = today - timedelta(days=_DAYS_BACK)
        for day in map(date.fromisoformat, await self._figures.days()):
            if oldest <= day < today and await self._store.report(day.isoformat()) is None:
                await self._close(day)

    async def _close(self, day: date) -> None:
        report = await self.compose(day)
        if not await self._store.save_report(day.isoformat(), document(report)):
            return
        self._tell(report)
        await self._send(report)

    def _tell(self, report: DayReport) -> None:
        self._publish(
            EventType.DAILY_REPORT,
            summary(report),
            date=report.date,
            zone=report.zone,
            accounts={day.account: _line(day.uptime, day.downtime) for day in report.accounts},
            received=sum(day.counts["received"] for day in report.accounts),
            sent=sum(day.counts["sent"] for day in report.accounts),
            dead=sum(day.counts["dead"] for day in report.accounts),
            writes=report.writes,
            cost=report.cost,
            alerts=report.alerts,
        )

    def today(self) -> date:
        """Return the day that it is in the report's time zone."""
        return datetime.fromtimestamp(self._clock.now(), self._zone).date()

    def _until_next(self) -> float:
        _, midnight = bounds(self.today(), self._zone)
        return max(1.0, min(_LOOK, midnight + _AFTER_MIDNIGHT - self._clock.now()))


def summary(report: DayReport) -> str:
    """Say in one sentence what the day was like."""
    counted = [day.counts for day in report.accounts]
    received, sent, dead = (sum(counts[name] for counts in counted) for name in ("received", "sent", "dead"))
    known = [day.uptime for day in report.accounts if day.uptime is not None]
    worst = f"worst uptime {min(known):.3%}" if known else "uptime not known"
    incidents = sum(len(day.incidents) for day in report.accounts)
    return (
        f"Report of {report.date}: {len(report.accounts)} accounts, {worst}, {incidents} outages, "
        f"{received} messages in, {sent} out, {dead} dead"
    )


def _line(uptime: float | None, downtime: float) -> str:
    ratio = "not known" if uptime is None else f"{uptime:.3%}"
    return f"{ratio}, out for {downtime:.0f} s"
