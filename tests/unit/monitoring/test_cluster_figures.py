"""What is told to machines of instances that share the accounts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tandem.model.cluster_view import ClusterRole
from tandem.model.event import EventType
from tandem.monitoring.standing import Standing
from tandem.policy.alert_rules import Thresholds, findings
from unit.monitoring.test_metrics import Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_single_instance_is_active_and_has_no_leases(scene: Scene) -> None:
    account = await scene.pair()
    samples = await scene.samples()
    assert samples[("tandem_instance_role",)] == 1
    assert samples[("tandem_lease_trouble",)] == 0
    absent = {"tandem_lease_held", "tandem_lease_generation", "tandem_heartbeat_age_seconds", "tandem_region_up"}
    assert not {key for key in samples if key[0] in absent}, account


async def test_who_runs_what_is_a_figure(scene: Scene) -> None:
    account = await scene.pair()
    scene.share(account)
    samples = await scene.samples()
    assert (samples["tandem_lease_held", account], samples["tandem_lease_generation", account]) == (0, 7)
    assert samples[("tandem_instance_role",)] == 0
    assert samples[("tandem_heartbeat_age_seconds",)] == 1.25  # its own, not the other's
    assert (samples["tandem_region_up", "backup"], samples["tandem_region_up", "primary"]) == (0, 1)
    assert ("tandem_region_up", "third") not in samples  # not known yet
    assert samples[("tandem_held_back_messages",)] == 12
    (lease,) = scene.cluster.leases
    me = replace(scene.cluster.me, role=ClusterRole.ACTIVE)
    scene.cluster = replace(scene.cluster, me=me, leases=(replace(lease, mine=True, generation=8),))
    samples = await scene.samples()
    assert (samples["tandem_lease_held", account], samples["tandem_lease_generation", account]) == (1, 8)
    assert samples[("tandem_instance_role",)] == 1


async def test_changes_begin_at_zero_and_are_counted_by_what_they_were(scene: Scene) -> None:
    account = await scene.pair()
    before = await scene.samples()
    assert [before["tandem_lease_changes_total", what] for what in ("acquired", "lost", "switched_region")] == [0, 0, 0]
    for kind in (EventType.LEASE_LOST, EventType.LEASE_ACQUIRED, EventType.LEASE_ACQUIRED, EventType.SWITCHED_REGION):
        scene.events(kind, "it changed", account=account)
    after = await scene.samples()
    assert [after["tandem_lease_changes_total", what] for what in ("acquired", "lost", "switched_region")] == [2, 1, 1]


async def test_doubt_about_the_right_to_run_raises_the_alert(scene: Scene) -> None:
    trouble = ""
    standing = Standing(
        scene.metrics._sources, scene.metrics.tally, Thresholds(), scene.clock.now, lease_trouble=lambda: trouble
    )
    assert not findings(await standing())
    trouble = "no heartbeat was acknowledged for 8.0 s: Firestore does not answer"
    (finding,) = findings(await standing())
    assert (finding.rule.name, finding.words) == ("lease_trouble", trouble)
    scene.trouble = trouble
    assert (await scene.samples())[("tandem_lease_trouble",)] == 1
