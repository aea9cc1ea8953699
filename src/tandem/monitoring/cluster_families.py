"""The metric families of instances that share the accounts; of a single instance there is little to tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tandem.model.cluster_view import ClusterRole, ClusterView, RegionState
from tandem.model.event import EventType

_CHANGES = {
    EventType.LEASE_ACQUIRED: "acquired",
    EventType.LEASE_LOST: "lost",
    EventType.SWITCHED_REGION: "switched_region",
}


def leases(view: ClusterView, trouble: str, held_back: int) -> Iterator[Metric]:
    """What this instance may do, and how it knows. Where nothing is shared, no account has a lease to be told of."""
    text = "1 while this instance runs an account, or is the only one; 0 while others run them all."
    yield GaugeMetricFamily("tandem_instance_role", text, value=int(view.me.role is ClusterRole.ACTIVE))
    text = "1 while this instance cannot be sure of its right to run an account."
    yield GaugeMetricFamily("tandem_lease_trouble", text, value=int(bool(trouble)))
    held = GaugeMetricFamily("tandem_lease_held", "1 if this instance holds the account's lease.", labels=["account"])
    text = "Grows with each change of the account's holder, whichever instance that is."
    generation = GaugeMetricFamily("tandem_lease_generation", text, labels=["account"])
    for lease in view.leases:
        held.add_metric([lease.account], int(lease.mine))
        generation.add_metric([lease.account], lease.generation)
    yield from (held, generation)
    text = "Messages received here that wait until the instance that runs their account has stored them."
    yield GaugeMetricFamily("tandem_held_back_messages", text, value=held_back)
    yield from _seen(view)


def _seen(view: ClusterView) -> Iterator[Metric]:
    text = "Since this instance's last heartbeat that was acknowledged; none without heartbeats."
    age = GaugeMetricFamily("tandem_heartbeat_age_seconds", text)
    for instance in view.instances:
        if instance.me and instance.seen_ago is not None:
            age.add_metric([], instance.seen_ago)
    text = "1 if a region's API answers, 0 if it does not; none before it is known."
    up = GaugeMetricFamily("tandem_region_up", text, labels=["region"])
    for region in view.regions:
        if region.state is not RegionState.UNKNOWN:
            up.add_metric([region.name], int(region.state is RegionState.HEALTHY))
    yield from (age, up)


def changes(counts: Mapping[EventType, int]) -> Iterator[Metric]:
    text = "Leases that this instance took and lost, and accounts that changed the region by that."
    family = CounterMetricFamily("tandem_lease_changes", text, labels=["what"])
    for kind, what in _CHANGES.items():
        family.add_metric([what], counts.get(kind, 0))
    yield family
