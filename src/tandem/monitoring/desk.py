"""All readers of the event stream, built and run together: metrics, archive, alerts, the day's book and its report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from tandem.clock import Clock, Random
from tandem.model.ids import AccountId
from tandem.model.outage import Outage
from tandem.model.states import AccountStatus
from tandem.model.views import AccountView
from tandem.monitoring.alerts import Alerts
from tandem.monitoring.archive import Archive
from tandem.monitoring.day_book import DayBook
from tandem.monitoring.events import EventStream
from tandem.monitoring.history import History
from tandem.monitoring.metrics import Metrics
from tandem.monitoring.notifier import Letter, Notifier, channels
from tandem.monitoring.reporter import Reporter, always, summary
from tandem.monitoring.sources import Archived, Sources
from tandem.monitoring.standing import Standing, thresholds
from tandem.policy.alerting import Manners
from tandem.policy.report import DayReport
from tandem.queue.alert_memory import KIND, AlertMemory
from tandem.queue.delivery_rows import Parcel
from tandem.queue.queue import Queue
from tandem.settings import Settings
from tandem.store.port import Store


@dataclass(frozen=True, slots=True)
class DeskPorts:
    """What is watched. ``outages`` are an account's last ones.

    ``store_trouble``, ``fleet_held`` and ``lease_trouble`` say it in words; ``may_report``: whether this instance ran
    an account lately, so that the day's report is its business.
    """

    queue: Queue
    store: Store
    sources: Sources
    outages: Callable[[AccountId], Sequence[Outage]]
    store_trouble: Callable[[], str]
    fleet_held: Callable[[], str] = str
    lease_trouble: Callable[[], str] = str
    may_report: Callable[[], bool] = always


class Desk:
    """``jobs`` run beside the daemon's work; ``close`` after it writes down the rest of the day."""

    def __init__(
        self, settings: Settings, ports: DeskPorts, events: EventStream, *, clock: Clock, random: Random, **about: str
    ) -> None:
        queue, zone = ports.queue, ZoneInfo(settings.report.timezone)
        self._settings = settings
        ports = replace(ports, sources=self._completed(ports))
        self._deliveries = queue.deliveries
        self.metrics = Metrics(ports.sources, events, clock, **about)
        self.history = History(ports.sources.accounts, clock)
        self.archive = Archive(events, ports.store, clock, random)
        self.alerts = Alerts(
            self._standing(ports, clock),
            AlertMemory(queue.database, queue.deliveries, clock),
            events,
            clock=clock,
            random=random,
            manners=Manners(settle=settings.alert.settle, throttle=settings.alert.throttle),
        )
        urls = settings.alert_urls.get_secret_value() if settings.alert_urls else ""
        self._notifier = Notifier(queue.deliveries, channels(urls), clock=clock, random=random, publish=events)
        self.day_book = DayBook(queue.day_figures, ports.sources, self.metrics.tally, zone, clock)
        events.listen(self.day_book)
        self.reporter = Reporter(
            queue.day_figures,
            queue.outages,
            ports.store,
            accounts=lambda: _linked(ports.sources.accounts()),
            send=self._send,
            zone=zone,
            clock=clock,
            publish=events,
            may_report=ports.may_report,
        )

    async def prepare(self) -> None:
        """Say where alerts go. Raises StoreUnavailable."""
        await self._notifier.configure()

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        readers = (self.metrics, self.history, self.archive, self.alerts, self._notifier, self.day_book, self.reporter)
        return [reader.run() for reader in readers]

    def took(self, account: AccountId, way: str, seconds: float) -> None:
        """Note how long a message took on its way, ``inbound`` or ``outbound``."""
        self.metrics.took(account, way, seconds)
        self.day_book.took(account, way, seconds)

    async def close(self) -> None:
        await self.day_book.close()

    def _standing(self, ports: DeskPorts, clock: Clock) -> Standing:
        wanted = self._settings.alert
        return Standing(
            ports.sources,
            self.metrics.tally,
            thresholds(wanted),
            clock.now,
            dead_letters=ports.queue.dead_letters.count,
            outages=ports.outages,
            store_trouble=ports.store_trouble,
            disk_free=self._disk_free,
            fleet_held=ports.fleet_held,
            lease_trouble=ports.lease_trouble,
            objective=wanted.objective,
        )

    def _completed(self, ports: DeskPorts) -> Sources:
        """The daemon's sources, and those that are made here."""
        return replace(
            ports.sources,
            archived=lambda: Archived(self.archive.kept, self.archive.sampled_out, self.archive.lost),
            alerts=lambda: self.alerts.firing(),  # noqa: PLW0108 - they are made below
            dead_letters=ports.queue.dead_letters.count,
            store_trouble=ports.store_trouble,
            fleet_held=ports.fleet_held,
            lease_trouble=ports.lease_trouble,
            disk_free=self._disk_free,
        )

    def _disk_free(self) -> float:
        usage = shutil.disk_usage(self._settings.data_dir)
        return usage.free / usage.total

    async def _send(self, report: DayReport) -> None:
        if self._settings.report.send:
            letter = Letter(f"daily report {report.date}", summary(report))
            parcel = Parcel(f"report-{report.date}", "report", "", letter.encode())
            await self._deliveries.put(KIND, [parcel])


def _linked(views: Sequence[AccountView]) -> list[AccountId]:
    """Those of whom a day can say something: an account that was never linked was neither up nor down."""
    return [view.account.id for view in views if view.status is not AccountStatus.UNPAIRED]
