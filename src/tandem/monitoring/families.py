"""The metric families, made anew at every scrape from what their owners count. Names and labels are a public contract.

Base units; ``account`` is the account's id, never its number; every label has few values, known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    StateSetMetricFamily,
)

from tandem.inbound.pipeline import Counts
from tandem.model.ids import AccountId
from tandem.model.states import AccountStatus, Role, SessionState, Slot
from tandem.model.views import AccountView, SlotView
from tandem.monitoring.memory import Hosts
from tandem.monitoring.sources import Archived, Availability, Backlog, Told, Traffic, Workings
from tandem.policy.alert_rules import RULES
from tandem.policy.alerting import Alert
from tandem.queue.statistics import Histogram
from tandem.store.port import Costs

_ACCOUNT = ["account"]
_SLOT = ["account", "slot"]
_TRAFFIC = {
    "received": "Messages that came in, first copies only.",
    "duplicates": "Further copies of messages that were already there: the other slot's, and redeliveries.",
    "stored": "Messages written to the store.",
    "sent": "Messages that WhatsApp's server acknowledged.",
}
_TALLIED = {
    "disconnects": ("disconnects", "Sessions that were online and lost their connection."),
    "reconnects": ("reconnects", "Slots that were online again after a disconnect."),
    "reconnectFails": ("reconnect_failures", "Attempts to reconnect that did not succeed."),
    "rateLimits": ("rate_limits", "Times that WhatsApp asked to slow down."),
    "messageLoss": ("messages_lost", "What can never be stored, or could never be decrypted; it is a dead letter."),
}
_INTAKE = {
    "first": "first",
    "duplicate": "duplicate",
    "undecryptable": "undecryptable",
    "receipts": "receipt",
    "dead_lettered": "dead_letter",
    "self_probes": "self_probe",
    "refused": "refused",
}
_DELIVERIES = {
    "delivered": "Deliveries that an endpoint took.",
    "failed": "Attempts to deliver that an endpoint did not take.",
    "dead": "Deliveries that became dead letters.",
}


def traffic(figures: Mapping[AccountId, Traffic]) -> Iterator[Metric]:
    for kind, help_text in _TRAFFIC.items():
        family = CounterMetricFamily(f"tandem_messages_{kind}", help_text, labels=_ACCOUNT)
        for account, each in figures.items():
            family.add_metric([account], getattr(each, kind))
        yield family


def tallied(totals: Mapping[tuple[AccountId | None, str], int], accounts: Iterable[AccountId]) -> Iterator[Metric]:
    """What belongs to no account has an empty one. Every series begins at 0, so that its first increase is seen."""
    subjects: list[AccountId | None] = [None, *accounts]
    for kind, (name, help_text) in _TALLIED.items():
        family = CounterMetricFamily(f"tandem_{name}", help_text, labels=_ACCOUNT)
        for subject in subjects:
            family.add_metric([subject or ""], totals.get((subject, kind), 0))
        yield family


def failovers(counts: Mapping[tuple[AccountId, str], int]) -> Iterator[Metric]:
    text = "Moves of the active role; the reason is the state of the slot that lost it, or operator."
    family = CounterMetricFamily("tandem_failovers", text, labels=["account", "reason"])
    for (account, reason), count in counts.items():
        family.add_metric([account, reason], count)
    yield family


def recycled(counts: Mapping[tuple[AccountId, Slot, str], int], views: Sequence[AccountView]) -> Iterator[Metric]:
    text = "Sessions started afresh although connected: deaf, or of bad quality."
    family = CounterMetricFamily("tandem_proactive_reconnects", text, labels=[*_SLOT, "reason"])
    for view, slot, why in product(views, Slot, ("deaf", "quality")):
        family.add_metric([view.account.id, str(slot), why], counts.get((view.account.id, slot, why), 0))
    yield family


def accounts(views: Sequence[AccountView], availability: Mapping[AccountId, Availability]) -> Iterator[Metric]:
    status = StateSetMetricFamily("tandem_account_status", "1 for the status an account has.", labels=_ACCOUNT)
    for view in views:
        status.add_metric([view.account.id], {str(each): each is view.status for each in AccountStatus})
    up = GaugeMetricFamily("tandem_account_up", "1 while a slot of the account is online.", labels=_ACCOUNT)
    text = "Seconds without any slot online, an outage that lasted over the start included."
    down = CounterMetricFamily("tandem_account_downtime_seconds", text, labels=_ACCOUNT)
    for account, figures in availability.items():
        up.add_metric([account], int(figures.online))
        down.add_metric([account], figures.downtime)
    text = "When the account's own phone was last seen; if it never was, since when it is looked for."
    phone = GaugeMetricFamily("tandem_phone_seen_timestamp_seconds", text, labels=_ACCOUNT)
    for view in views:
        if view.linked and view.phone is not None:
            phone.add_metric([view.account.id], view.phone.at)
    yield from (status, up, down, phone)


def sessions(views: Sequence[AccountView]) -> Iterator[Metric]:
    states = StateSetMetricFamily("tandem_session_state", "1 for the state a session is in.", labels=_SLOT)
    code = GaugeMetricFamily("tandem_session_state_code", "The state's frozen number.", labels=_SLOT)
    since = GaugeMetricFamily("tandem_session_since_timestamp_seconds", "When that state began.", labels=_SLOT)
    active = GaugeMetricFamily("tandem_session_active", "1 for the slot that sends.", labels=_SLOT)
    quality = GaugeMetricFamily("tandem_session_quality_ratio", "Quality, 0 to 1.", labels=_SLOT)
    ping = GaugeMetricFamily("tandem_session_ping_seconds", "Last acknowledged round trip.", labels=_SLOT)
    keep_alive = GaugeMetricFamily(
        "tandem_session_keep_alive_seconds", "Longest wait between two pings, where it can be set.", labels=_SLOT
    )
    restarts = CounterMetricFamily("tandem_host_restarts", "Starts of a slot's host after its first.", labels=_SLOT)
    for names, slot in _named(views):
        states.add_metric(names, {str(state): state is slot.state for state in SessionState})
        code.add_metric(names, slot.state.number)
        since.add_metric(names, slot.since)
        active.add_metric(names, int(slot.role is Role.ACTIVE))
        restarts.add_metric(names, slot.restarts)
        if slot.quality is not None:
            quality.add_metric(names, slot.quality)
        if slot.keep_alive is not None:
            keep_alive.add_metric(names, slot.keep_alive)
        if slot.ping_ms is not None:
            ping.add_metric(names, slot.ping_ms / 1000)
    yield from (states, code, since, active, quality, ping, keep_alive, restarts)


def sending(views: Sequence[AccountView]) -> Iterator[Metric]:
    text = "Messages an account may send in a minute now; +Inf: no limit."
    rate = GaugeMetricFamily("tandem_send_rate_per_minute", text, labels=_ACCOUNT)
    text = "When a pause of sending ends, 0 if there is none."
    until = GaugeMetricFamily("tandem_send_paused_until_timestamp_seconds", text, labels=_ACCOUNT)
    state = GaugeMetricFamily("tandem_send_state_code", "The sending state's frozen number.", labels=_ACCOUNT)
    for view in views:
        pace = view.sending
        rate.add_metric([view.account.id], float("inf") if pace.per_minute is None else pace.per_minute)
        until.add_metric([view.account.id], pace.until)
        state.add_metric([view.account.id], pace.state.number)
    yield from (rate, until, state)


def hosts(sizes: Hosts) -> Iterator[Metric]:
    text = "Memory of a slot's host, shared pages counted in part (PSS)."
    family = GaugeMetricFamily("tandem_host_memory_bytes", text, labels=_SLOT)
    for (account, slot), size in sizes.items():
        family.add_metric([account, str(slot)], size)
    yield family


def queues(backlogs: Mapping[str, Backlog], dead_letters: int | None) -> Iterator[Metric]:
    depth = GaugeMetricFamily("tandem_queue_depth", "Messages waiting in a queue.", labels=["queue"])
    text = "Age of the oldest message waiting, 0 when none does."
    age = GaugeMetricFamily("tandem_queue_oldest_age_seconds", text, labels=["queue"])
    for name, backlog in backlogs.items():
        depth.add_metric([name], backlog.depth)
        age.add_metric([name], backlog.oldest_age)
    yield from (depth, age)
    if dead_letters is not None:
        text = "What could not be processed and waits for somebody to look at it."
        yield GaugeMetricFamily("tandem_dead_letters", text, value=dead_letters)


def writes(count: int) -> Iterator[Metric]:
    text = "Documents that the store wrote, as Firestore bills them."
    yield CounterMetricFamily("tandem_store_writes", text, value=count)


def costs(parts: Mapping[str, Costs]) -> Iterator[Metric]:
    text = "Documents asked of Firestore: the most that it bills as reads."
    reads = CounterMetricFamily("tandem_firestore_reads", text, labels=["part"])
    text = "Documents written to Firestore: the most that it bills as writes."
    writes = CounterMetricFamily("tandem_firestore_writes", text, labels=["part"])
    for part, each in parts.items():
        reads.add_metric([part], each.reads)
        writes.add_metric([part], each.writes)
    yield from (reads, writes)


def workings(figures: Workings) -> Iterator[Metric]:
    yield from _intake(figures.intake)
    text = "How much later the second slot brought its copy of a message."
    yield _histogram("tandem_pair_lag_seconds", text, figures.pair_lag_ms, 0.001)
    text = "From an operation's arrival at the queue to the end of the sync that made it durable."
    yield _histogram("tandem_queue_commit_seconds", text, figures.commit_seconds)
    yield _histogram("tandem_queue_commit_operations", "Operations that shared one sync.", figures.commit_sizes)
    text = "Commits that the disk refused; what was in them is tried again."
    yield CounterMetricFamily("tandem_queue_commit_failures", text, value=figures.failed_commits)
    yield _histogram("tandem_batch_duration_seconds", "How long the store took for a batch.", figures.write_seconds)
    yield _histogram("tandem_batch_messages", "Messages in a batch that the store took.", figures.batch_sizes)
    text = "Changes of a stored message's status that the store took."
    yield CounterMetricFamily("tandem_status_updates", text, value=figures.updates)


def _intake(counts: Counts) -> Iterator[Metric]:
    text = "What the events were that hosts handed up; refused ones stay in the host's journal."
    family = CounterMetricFamily("tandem_inbound_events", text, labels=["outcome"])
    for name, outcome in _INTAKE.items():
        family.add_metric([outcome], getattr(counts, name))
    yield family


def times(lag: Histogram, ways: Mapping[str, Histogram]) -> Iterator[Metric]:
    yield _histogram("tandem_event_loop_lag_seconds", "How late the event loop woke a task that slept.", lag)
    text = "From a message's arrival to its being in the store."
    yield _histogram("tandem_message_stored_seconds", text, ways["inbound"])
    text = "From the acceptance of a message to the acknowledgement of WhatsApp's server."
    yield _histogram("tandem_message_acknowledged_seconds", text, ways["outbound"])


def deliveries(endpoints: Mapping[str, Told]) -> Iterator[Metric]:
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


def conditions(store_trouble: str, fleet_held: str, disk_free: float) -> Iterator[Metric]:
    text = "1 while the store takes no messages; they wait on disk."
    yield GaugeMetricFamily("tandem_store_degraded", text, value=int(bool(store_trouble)))
    text = "1 while all logins are held because many sessions failed at once."
    yield GaugeMetricFamily("tandem_fleet_held", text, value=int(bool(fleet_held)))
    text = "Part of the data directory's disk that is free."
    yield GaugeMetricFamily("tandem_disk_free_ratio", text, value=disk_free)


def alerts(firing: Sequence[Alert]) -> Iterator[Metric]:
    text = "Alerts of the daemon's own rules that fire now."
    family = GaugeMetricFamily("tandem_alerts_firing", text, labels=["rule", "severity"])
    names = [alert.finding.rule.name for alert in firing]
    for rule in RULES.values():
        family.add_metric([rule.name, str(rule.severity)], names.count(rule.name))
    yield family


def archive(archived: Archived) -> Iterator[Metric]:
    text = "What became of events on their way to the store; frequent kinds are sampled."
    family = CounterMetricFamily("tandem_archived_events", text, labels=["outcome"])
    for name in ("kept", "sampled_out", "lost"):
        family.add_metric([name], getattr(archived, name))
    yield family


def _named(views: Sequence[AccountView]) -> Iterator[tuple[list[str], SlotView]]:
    return (([view.account.id, str(slot.slot)], slot) for view in views for slot in view.slots)


def _histogram(name: str, text: str, histogram: Histogram, scale: float = 1.0) -> HistogramMetricFamily:
    """``scale`` turns the histogram's unit into the metric's."""
    bounds = [*(str(round(float(bound) * scale, 9)) for bound in histogram.bounds), "+Inf"]
    reached, buckets = 0, []
    for bound, count in zip(bounds, histogram.counts, strict=True):
        reached += count
        buckets.append((bound, float(reached)))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total * scale)
