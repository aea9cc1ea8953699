"""Figures for machines: Prometheus' format, and the JSON keys of the system before this one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from tandem.clock import Clock
from tandem.errors import Transient
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId
from tandem.model.states import Role, Slot
from tandem.model.views import AccountView, QueueView
from tandem.monitoring import cluster_families, families
from tandem.monitoring.events import EventStream
from tandem.monitoring.memory import Memory
from tandem.monitoring.sources import Sources, Traffic, messages_processed
from tandem.monitoring.tally import Tally
from tandem.queue.statistics import Histogram

_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_WAY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)
_LAG_EVERY = 0.5  # seconds
_SAMPLE_EVERY = 60.0  # seconds
_SWITCHES = frozenset({EventType.SWITCHED_TO_BACKUP, EventType.SWITCHED_TO_PRIMARY})


class Metrics:
    """Reads its sources when asked, so nothing is counted twice. Own registry, no global state."""

    def __init__(
        self, sources: Sources, events: EventStream, clock: Clock, *, version: str, commit: str, instance: str
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._memory = Memory(sources.hosts, clock)
        self._dead_letters: int | None = None
        self.tally = Tally(clock)
        self._failovers: Counter[tuple[AccountId, str]] = Counter()
        self._recycled: Counter[tuple[AccountId, Slot, str]] = Counter()
        events.listen(self.tally)
        events.listen(self._heard)
        self._registry = CollectorRegistry()
        build = {"version": version, "commit": commit, "instance": instance}
        self._registry.register(_Pull(lambda: self._collect(events, build)))
        ProcessCollector(registry=self._registry)
        self._lag = Histogram(_LAG_BUCKETS)
        self._ways = {"inbound": Histogram(_WAY_BUCKETS), "outbound": Histogram(_WAY_BUCKETS)}

    @property
    def content_type(self) -> str:
        return CONTENT_TYPE_LATEST

    async def exposition(self) -> bytes:
        """Return everything in Prometheus' text format. What cannot be learned just now is left out."""
        await self._memory.refresh()
        try:
            self._dead_letters = await self._sources.dead_letters()
        except Transient:
            self._dead_letters = None
        return await asyncio.to_thread(generate_latest, _Collected(list(self._registry.collect())))

    def traffic(self, account: AccountId) -> Mapping[str, int]:
        """Return ``received``, ``duplicates``, ``stored``, ``sent`` of an account since the start."""
        return asdict(self._sources.traffic().get(account, Traffic()))

    def took(self, _account: AccountId, way: str, seconds: float) -> None:
        """Note how long a message took on its way, ``inbound`` or ``outbound``."""
        self._ways[way].add(max(0.0, seconds))

    def queues(self) -> Sequence[QueueView]:
        """Return what waits in the inbox and in the outbox."""
        named = (("inbox", self._sources.inbox()), ("outbox", self._sources.outbox()))
        return [QueueView(name, backlog.depth, backlog.oldest_age) for name, backlog in named]

    def summary(self) -> Mapping[str, object]:
        """Return what ``GET /api/metrics`` answers under ``metrics``."""
        accounts = self._sources.accounts()
        processed = messages_processed(self._sources.traffic())
        hour = self.tally.last_hour()
        hourly = {kind: hour.get(kind, 0) for kind in ("disconnects", "reconnects", "reconnectFails", "messageLoss")}
        total = {kind: self.tally.total(kind) for kind in ("disconnects", "reconnects", "messageLoss", "rateLimits")}
        return {
            "hourly": {
                **hourly,
                "rateLimits": hour.get("rateLimits", 0),
                "messagesProcessed": self.tally.processed_last_hour(processed),
            },
            "total": {**total, "messagesProcessed": processed},
            "accounts": len(accounts),
            "activeConnections": _connected(accounts, Role.ACTIVE),
            "backupConnections": _connected(accounts, Role.STANDBY),
            "queueSize": self._sources.inbox().depth,
            "batchSize": self._sources.batch(),
        }

    async def run(self) -> None:
        """Measure the event loop's lag and sample what has no event, until cancelled."""
        next_sample = self._clock.monotonic()
        while True:
            before = self._clock.monotonic()
            if before >= next_sample:
                self.tally.sample(messages_processed(self._sources.traffic()))
                next_sample = before + _SAMPLE_EVERY
            await self._clock.sleep(_LAG_EVERY)
            self._lag.add(max(0.0, self._clock.monotonic() - before - _LAG_EVERY))

    def _heard(self, event: Event) -> None:
        if event.account is None:
            return
        if event.type in _SWITCHES:
            self._failovers[event.account, str(event.data.get("cause", "unknown"))] += 1
        if event.type is EventType.PROACTIVE_RECONNECT and event.slot is not None:
            why = "deaf" if event.data.get("deaf") else "quality"
            self._recycled[event.account, event.slot, why] += 1

    def _collect(self, events: EventStream, build: Mapping[str, str]) -> Iterator[Metric]:
        sources, views = self._sources, self._sources.accounts()
        backlogs = {"inbox": sources.inbox(), "outbox": sources.outbox()}
        yield InfoMetricFamily("tandem_build", "What is running.", value=dict(build))
        yield from families.accounts(views, sources.availability())
        yield from families.sessions(views)
        yield from families.sending(views)
        yield from families.hosts(self._memory.sizes)
        yield from families.traffic(sources.traffic())
        yield from families.tallied(self.tally.totals(), [view.account.id for view in views])
        yield from families.failovers(self._failovers)
        yield from families.recycled(self._recycled, views)
        yield from families.queues(backlogs, self._dead_letters)
        yield from families.workings(sources.workings())
        yield from families.writes(sources.writes())
        yield from families.costs(sources.costs())
        yield from families.deliveries(sources.endpoints())
        yield from families.conditions(sources.store_trouble(), sources.fleet_held(), sources.disk_free())
        yield from cluster_families.leases(sources.cluster(), sources.lease_trouble(), sources.held_back())
        yield from cluster_families.changes(events.counts())
        yield from families.alerts(sources.alerts())
        yield from families.archive(sources.archived())
        yield from _happened(events)
        yield from families.times(self._lag, self._ways)


def _happened(events: EventStream) -> Iterator[Metric]:
    family = CounterMetricFamily("tandem_events", "Domain events by type.", labels=["type"])
    counts = events.counts()
    for kind in EventType:
        family.add_metric([str(kind)], counts.get(kind, 0))
    yield family
    failures = "Events or readers of events that failed; anything but 0 is a fault of Tandem."
    yield CounterMetricFamily("tandem_event_failures", failures, value=events.failures)


def _connected(accounts: Iterable[AccountView], role: Role) -> int:
    slots = (slot for view in accounts for slot in view.slots)
    return sum(slot.role is role and slot.state.connected for slot in slots)


class _Pull(Collector):
    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self._collect = collect

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        return self._collect()


@dataclass(frozen=True, slots=True)
class _Collected:
    """What a scrape found, for the formatting: that is slow and needs no event loop."""

    families: list[Metric]

    def collect(self) -> list[Metric]:
        return self.families
