"""Figures for machines: Prometheus' format, and the JSON keys of the system before this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from tandem.clock import Clock
from tandem.model.ids import AccountId
from tandem.model.states import Role, SessionState
from tandem.model.views import AccountView, SlotView
from tandem.monitoring.events import EventStream
from tandem.monitoring.sources import Sources, Told, Traffic, messages_processed
from tandem.monitoring.tally import Tally

_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_LAG_EVERY = 0.5  # seconds
_SAMPLE_EVERY = 60.0  # seconds
_TRAFFIC = {
    "received": "Messages that came in, first copies only.",
    "duplicates": "Further copies of messages that were already there: the other slot's, and redeliveries.",
    "stored": "Messages written to the store.",
    "sent": "Messages that WhatsApp's server acknowledged.",
}

_DELIVERIES = {
    "delivered": "Deliveries that an endpoint took.",
    "failed": "Attempts to deliver that an endpoint did not take.",
    "dead": "Deliveries that became dead letters.",
}


class Metrics:
    """Reads its sources when asked, so nothing is counted twice. Own registry, no global state."""

    def __init__(
        self, sources: Sources, events: EventStream, clock: Clock, *, version: str, commit: str, instance: str
    ) -> None:
        self._sources = sources
        self._clock = clock
        self.tally = Tally(clock)
        events.listen(self.tally)
        self._registry = CollectorRegistry()
        build = {"version": version, "commit": commit, "instance": instance}
        self._registry.register(_Pull(sources, events, build))
        ProcessCollector(registry=self._registry)
        self._lag = Histogram(
            "tandem_event_loop_lag_seconds",
            "How late the event loop woke a task that slept.",
            buckets=_LAG_BUCKETS,
            registry=self._registry,
        )

    @property
    def content_type(self) -> str:
        return CONTENT_TYPE_LATEST

    def exposition(self) -> bytes:
        return generate_latest(self._registry)

    def traffic(self, account: AccountId) -> Mapping[str, int]:
        """Return ``received``, ``duplicates``, ``stored``, ``sent`` of an account since the start."""
        return asdict(self._sources.traffic().get(account, Traffic()))

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
            self._lag.observe(max(0.0, self._clock.monotonic() - before - _LAG_EVERY))


def _connected(accounts: object, role: Role) -> int:
    slots = (slot for view in accounts for slot in view.slots)  # type: ignore[attr-defined]
    return sum(slot.role is role and slot.state.connected for slot in slots)


class _Pull(Collector):
    def __init__(self, sources: Sources, events: EventStream, build: Mapping[str, str]) -> None:
        self._sources = sources
        self._events = events
        self._build = dict(build)

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("tandem_build", "What is running.", value=self._build)
        yield from _sessions([slot for view in self._sources.accounts() for slot in _named(view)])
        yield from _sending(self._sources.accounts())
        yield from self._traffic()
        yield from self._availability()
        yield from self._queues()
        yield from _deliveries(self._sources.endpoints())
        yield from self._happened()

    def _traffic(self) -> Iterator[Metric]:
        traffic = self._sources.traffic()
        for kind, help_text in _TRAFFIC.items():
            family = CounterMetricFamily(f"tandem_messages_{kind}", help_text, labels=["account"])
            for account, figures in traffic.items():
                family.add_metric([account], getattr(figures, kind))
            yield family

    def _availability(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("tandem_account_up", "1 while a slot of the account is online.", labels=["account"])
        text = "Seconds without any slot online, an outage that lasted over the start included."
        down = CounterMetricFamily("tandem_account_downtime_seconds", text, labels=["account"])
        for account, figures in self._sources.availability().items():
            up.add_metric([account], int(figures.online))
            down.add_metric([account], figures.downtime)
        yield from (up, down)

    def _queues(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("tandem_queue_depth", "Messages waiting in a queue.", labels=["queue"])
        age = GaugeMetricFamily(
            "tandem_queue_oldest_age_seconds", "Age of the oldest message waiting.", labels=["queue"]
        )
        for name, backlog in (("inbox", self._sources.inbox()), ("outbox", self._sources.outbox())):
            depth.add_metric([name], backlog.depth)
            age.add_metric([name], backlog.oldest_age)
        yield depth
        yield age

    def _happened(self) -> Iterator[Metric]:
        family = CounterMetricFamily("tandem_events", "Domain events by type.", labels=["type"])
        for kind, count in self._events.counts().items():
            family.add_metric([str(kind)], count)
        yield family
        failures = "Events or readers of events that failed; anything but 0 is a fault of Tandem."
        yield CounterMetricFamily("tandem_event_failures", failures, value=self._events.failures)


def _deliveries(endpoints: Mapping[str, Told]) -> Iterator[Metric]:
    labels = ["kind", "endpoint"]
    for name, help_text in _DELIVERIES.items():
        counter = CounterMetricFamily(f"tandem_deliveries_{name}", help_text, labels=labels)
        for endpoint, told in endpoints.items():
            counter.add_metric([told.kind, endpoint], getattr(told, name))
        yield counter
    waiting = GaugeMetricFamily("tandem_deliveries_waiting", "Deliveries waiting for an endpoint.", labels=labels)
    age = GaugeMetricFamily("tandem_deliveries_oldest_age_seconds", "Age of the oldest of them.", labels=labels)
    for endpoint, told in endpoints.items():
        waiting.add_metric([told.kind, endpoint], told.backlog.depth)
        age.add_metric([told.kind, endpoint], told.backlog.oldest_age)
    yield from (waiting, age)


def _named(view: AccountView) -> list[tuple[list[str], SlotView]]:
    return [([view.account.id, str(slot.slot)], slot) for slot in view.slots]


def _sending(views: Sequence[AccountView]) -> Iterator[Metric]:
    rate = GaugeMetricFamily(
        "tandem_send_rate_per_minute",
        "Messages an account may send in a minute now; +Inf: no limit.",
        labels=["account"],
    )
    until = GaugeMetricFamily(
        "tandem_send_paused_until_seconds",
        "Unix time when a pause of sending ends, 0 if there is none.",
        labels=["account"],
    )
    state = GaugeMetricFamily("tandem_send_state_code", "The sending state's frozen number.", labels=["account"])
    for view in views:
        sending = view.sending
        rate.add_metric([view.account.id], float("inf") if sending.per_minute is None else sending.per_minute)
        until.add_metric([view.account.id], sending.until)
        state.add_metric([view.account.id], sending.state.number)
    yield from (rate, until, state)


def _sessions(slots: list[tuple[list[str], SlotView]]) -> Iterator[Metric]:
    labels = ["account", "slot"]
    states = StateSetMetricFamily("tandem_session_state", "1 for the state a session is in.", labels=labels)
    code = GaugeMetricFamily("tandem_session_state_code", "The state's frozen number.", labels=labels)
    active = GaugeMetricFamily("tandem_session_active", "1 for the slot that sends.", labels=labels)
    quality = GaugeMetricFamily("tandem_session_quality_ratio", "Quality, 0 to 1.", labels=labels)
    ping = GaugeMetricFamily("tandem_session_ping_seconds", "Last acknowledged round trip.", labels=labels)
    keep_alive = GaugeMetricFamily(
        "tandem_session_keep_alive_seconds", "Longest wait between two pings, where it can be set.", labels=labels
    )
    restarts = CounterMetricFamily("tandem_host_restarts", "Starts of a slot's host after its first.", labels=labels)
    for names, slot in slots:
        states.add_metric(names, {str(state): state is slot.state for state in SessionState})
        code.add_metric(names, slot.state.number)
        active.add_metric(names, int(slot.role is Role.ACTIVE))
        restarts.add_metric(names, slot.restarts)
        if slot.quality is not None:
            quality.add_metric(names, slot.quality)
        if slot.keep_alive is not None:
            keep_alive.add_metric(names, slot.keep_alive)
        if slot.ping_ms is not None:
            ping.add_metric(names, slot.ping_ms / 1000)
    yield from (states, code, active, quality, ping, keep_alive, restarts)
