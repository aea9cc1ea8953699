from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tandem.errors import StoreUnavailable, TandemError
from tandem.inbound.pipeline import Counts
from tandem.model.cluster import InstanceId
from tandem.model.cluster_view import (
    ClusterRole,
    ClusterView,
    InstanceView,
    LeaseState,
    LeaseView,
    RegionState,
    RegionView,
    ThisInstance,
)
from tandem.model.event import EventType
from tandem.model.ids import AccountId, Number
from tandem.model.phone import Presence, Proof
from tandem.model.states import SendingState, SessionState, Slot
from tandem.model.views import SendingView
from tandem.monitoring.events import EventStream
from tandem.monitoring.metrics import Metrics
from tandem.monitoring.sources import Archived, Availability, Backlog, Sources, Told, Traffic, Workings
from tandem.policy.alert_rules import RULES, Finding
from tandem.policy.alerting import Alert, Phase
from tandem.queue.statistics import Histogram
from tandem.store.port import Costs
from unit.api.twins import CountingRandom, FakeAccounts, FakeClock


class Scene:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events = EventStream(self.clock, CountingRandom())
        self.accounts = FakeAccounts(self.clock, self.events)
        self.traffic: dict[AccountId, Traffic] = {}
        self.availability: dict[AccountId, Availability] = {}
        self.workings = Workings()
        self.alerts: list[Alert] = []
        self.hosts: dict[tuple[AccountId, Slot], int] = {}
        self.dead_letters = 0
        self.disk: TandemError | None = None
        self.trouble = ""
        self.cluster = ClusterView()
        self.costs: dict[str, Costs] = {}
        sources = Sources(
            accounts=self.accounts.list,
            traffic=lambda: self.traffic,
            availability=lambda: self.availability,
            inbox=lambda: Backlog(7, 1.5),
            outbox=lambda: Backlog(2, 60.0),
            batch=lambda: 4,
            endpoints=lambda: {"webhook-1a2b3c": Told("webhook", 5, 2, 1, Backlog(3, 4.5))},
            workings=lambda: self.workings,
            archived=lambda: Archived(8, 5, 1),
            alerts=lambda: self.alerts,
            hosts=lambda: self.hosts,
            dead_letters=self._count_dead_letters,
            store_trouble=lambda: self.trouble,
            fleet_held=lambda: self.trouble,
            lease_trouble=lambda: self.trouble,
            cluster=lambda: self.cluster,
            held_back=lambda: 12,
            costs=lambda: self.costs,
            disk_free=lambda: 0.25,
        )
        self.metrics = Metrics(sources, self.events, self.clock, version="1", commit="c", instance="i")

    async def _count_dead_letters(self) -> int:
        if self.disk is not None:
            raise self.disk
        return self.dead_letters

    async def pair(self) -> AccountId:
        view, _ = await self.accounts.add("Desk", Number("+12025550123"))
        for slot in Slot:
            self.accounts.go_online(view.account.id, slot, tell=False)
        return view.account.id

    def share(self, account: AccountId) -> None:
        """Let three instances share the account, of which another one runs it."""
        me = InstanceView(InstanceId("i-1"), "eu-1", "primary", me=True, seen_ago=1.25)
        other = InstanceView(InstanceId("i-2"), "us-1", "backup", seen_ago=3.0, holds=1)
        lease = LeaseView(account, other.id, "us-1", "backup", generation=7, state=LeaseState.HELD)
        regions = (
            RegionView("backup", "https://us.example", RegionState.UNHEALTHY, 3),
            RegionView("primary", "https://eu.example", RegionState.HEALTHY),
            RegionView("third", "https://as.example"),
        )
        this = ThisInstance(me.id, me.name, role=ClusterRole.PASSIVE, term=4)
        self.cluster = ClusterView(this, True, instances=(me, other), leases=(lease,), regions=regions)

    def see_phone(self, account: AccountId, at: float) -> None:
        self.accounts.views[account] = replace(self.accounts.views[account], phone=Presence(at, Proof.MESSAGE))

    async def busy(self) -> tuple[AccountId, str]:
        """Let something of everything happen. Returns the account, and what is told."""
        account = await self.pair()
        self.traffic[account] = Traffic(1, 1, 1, 1)
        self.availability = {account: Availability(online=True, downtime=1.5)}
        self.hosts = {(account, Slot.PRIMARY): os.getpid()}
        self.see_phone(account, 1_700_000_000.0)
        self.events(EventType.SWITCHED_TO_BACKUP, "switched", account=account, cause="waiting")
        self.costs = {"store": Costs(7, 3, 2)}
        self.share(account)
        return account, (await self.metrics.exposition()).decode()

    async def samples(self) -> dict[tuple[str, ...], float]:
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families((await self.metrics.exposition()).decode())
            for sample in family.samples
        }


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_sessions_are_state_sets(scene: Scene) -> None:
    account = await scene.pair()
    samples = await scene.samples()
    assert samples["tandem_session_state", account, "online", "primary"] == 1
    assert samples["tandem_session_state", account, "backup", "banned"] == 0
    assert samples["tandem_session_state_code", account, "primary"] == SessionState.ONLINE.number
    assert samples["tandem_session_active", account, "primary"] == 1
    assert samples["tandem_session_active", account, "backup"] == 0
    assert samples["tandem_session_quality_ratio", account, "primary"] == 0.98
    assert samples["tandem_session_keep_alive_seconds", account, "backup"] == 10.0
    assert samples["tandem_session_ping_seconds", account, "backup"] == pytest.approx(0.0424)
    assert sum(value for key, value in samples.items() if key[0] == "tandem_session_state") == 2


async def test_the_pace_of_sending_is_a_figure(scene: Scene) -> None:
    account = await scene.pair()
    assert (await scene.samples())["tandem_send_rate_per_minute", account] == float("inf")
    slowed = SendingView(SendingState.PAUSED, 0.0, 1_700_000_030.0, "WhatsApp limits the rate (429)")
    scene.accounts.views[account] = replace(scene.accounts.views[account], sending=slowed)
    samples = await scene.samples()
    assert samples["tandem_send_rate_per_minute", account] == 0
    assert samples["tandem_send_paused_until_timestamp_seconds", account] == 1_700_000_030
    assert samples["tandem_send_state_code", account] == SendingState.PAUSED.number


async def test_figures_are_read_from_their_owners(scene: Scene) -> None:
    account = await scene.pair()
    scene.traffic[account] = Traffic(received=10, duplicates=9, stored=8, sent=3)
    samples = await scene.samples()
    assert samples["tandem_messages_received_total", account] == 10
    assert samples["tandem_messages_duplicates_total", account] == 9
    assert samples["tandem_messages_stored_total", account] == 8
    assert samples["tandem_messages_sent_total", account] == 3
    assert samples["tandem_queue_depth", "inbox"] == 7
    assert samples["tandem_queue_oldest_age_seconds", "outbox"] == 60
    assert scene.metrics.traffic(account)["stored"] == 8
    assert scene.metrics.traffic(AccountId("0" * 16))["stored"] == 0
    again = await scene.samples()
    assert {key: again[key] for key in samples if key[0].startswith("tandem")} == {
        key: value for key, value in samples.items() if key[0].startswith("tandem")
    }


async def test_events_are_counted_by_type(scene: Scene) -> None:
    for _ in range(3):
        scene.events(EventType.PROACTIVE_RECONNECT, "Reconnecting")
    assert (await scene.samples())["tandem_events_total", "proactive_reconnect"] == 3
    assert (await scene.samples())[("tandem_event_failures_total",)] == 0


async def test_the_seeds_summary_is_true(scene: Scene) -> None:
    account = await scene.pair()
    scene.traffic[account] = Traffic(received=10, sent=5)
    offline = {"account": account, "slot": Slot.PRIMARY}
    scene.events(EventType.SESSION_ONLINE, "the first time is no reconnect", **offline, generation=1)  # type: ignore[arg-type]
    scene.events(EventType.SESSION_OFFLINE, "a missed ping", **offline, state="degraded")  # type: ignore[arg-type]
    scene.events(EventType.SESSION_ONLINE, "answered again", **offline, state="online")  # type: ignore[arg-type]
    scene.events(EventType.SESSION_OFFLINE, "lost", **offline, state="waiting")  # type: ignore[arg-type]
    scene.events(EventType.SESSION_STATE, "trying", **offline, state="connecting")  # type: ignore[arg-type]
    scene.events(EventType.SESSION_STATE, "a try that failed", **offline, state="waiting")  # type: ignore[arg-type]
    scene.events(EventType.SESSION_ONLINE, "back", **offline, generation=3)  # type: ignore[arg-type]
    scene.events(EventType.SESSION_STATE, "not while down", **offline, state="waiting")  # type: ignore[arg-type]
    scene.events(EventType.RATE_LIMIT_DETECTED, "slow down")
    scene.events(EventType.DEAD_LETTER, "cannot be stored")
    hour = {
        "disconnects": 1,
        "reconnects": 1,
        "reconnectFails": 1,
        "messageLoss": 1,
        "rateLimits": 1,
        "messagesProcessed": 15,
    }
    total = {"disconnects": 1, "reconnects": 1, "messageLoss": 1, "rateLimits": 1, "messagesProcessed": 15}
    rest = {"accounts": 1, "activeConnections": 1, "backupConnections": 1, "queueSize": 7, "batchSize": 4}
    assert scene.metrics.summary() == {"hourly": hour, "total": total, **rest}
    scene.clock.advance(3601)
    assert scene.metrics.summary()["hourly"] == dict.fromkeys(hour, 0) | {"messagesProcessed": 15}


async def test_processed_of_the_hour_follows_the_samples(scene: Scene) -> None:
    account = await scene.pair()
    task = asyncio.create_task(scene.metrics.run())
    for minute in range(120):
        scene.traffic[account] = Traffic(received=minute)
        for _ in range(120):
            await asyncio.sleep(0)
    task.cancel()
    hourly = scene.metrics.summary()["hourly"]
    assert isinstance(hourly, dict)
    assert 58 <= hourly["messagesProcessed"] <= 62
    lag = next(
        value for key, value in (await scene.samples()).items() if key[0] == "tandem_event_loop_lag_seconds_count"
    )
    assert lag > 1000


async def test_accounts_are_up_or_have_been_down_for_so_long(scene: Scene) -> None:
    account = await scene.pair()
    scene.availability = {account: Availability(online=False, downtime=12.5)}
    samples = await scene.samples()
    assert samples["tandem_account_up", account] == 0
    assert samples["tandem_account_downtime_seconds_total", account] == 12.5


async def test_what_the_parts_measure_is_told_in_base_units(scene: Scene) -> None:
    lag, commits = Histogram((1, 25, 60_000)), Histogram((0.001, 0.01))
    for milliseconds in (0.5, 20, 90_000):
        lag.add(milliseconds)
    commits.add(0.004)
    counts = Counts(received=9, first=4, duplicate=3, undecryptable=1, receipts=2, dead_lettered=1, refused=6)
    scene.workings = Workings(intake=counts, pair_lag_ms=lag, commit_seconds=commits, failed_commits=2, updates=11)
    scene.metrics.took(AccountId("0" * 16), "inbound", 0.02)
    samples = await scene.samples()
    assert samples["tandem_pair_lag_seconds_bucket", "0.001"] == 1
    assert samples["tandem_pair_lag_seconds_bucket", "0.025"] == 2
    assert samples["tandem_pair_lag_seconds_bucket", "60.0"] == 2
    assert samples["tandem_pair_lag_seconds_bucket", "+Inf"] == 3
    assert samples[("tandem_pair_lag_seconds_sum",)] == pytest.approx(90.0205)
    assert samples["tandem_queue_commit_seconds_bucket", "0.001"] == 0
    assert samples["tandem_queue_commit_seconds_bucket", "0.01"] == 1
    assert samples[("tandem_queue_commit_failures_total",)] == 2
    assert samples[("tandem_status_updates_total",)] == 11
    outcomes = {key[1]: value for key, value in samples.items() if key[0] == "tandem_inbound_events_total"}
    assert outcomes == {
        "first": 4, "duplicate": 3, "undecryptable": 1, "receipt": 2, "dead_letter": 1, "self_probe": 0, "refused": 6,
    }  # fmt: skip
    assert samples[("tandem_message_stored_seconds_count",)] == 1
    assert samples["tandem_message_stored_seconds_bucket", "0.025"] == 1
    assert samples[("tandem_message_acknowledged_seconds_count",)] == 0


async def test_failovers_are_counted_by_the_class_of_their_reason(scene: Scene) -> None:
    account = await scene.pair()
    for event, cause in (
        (EventType.SWITCHED_TO_BACKUP, "degraded"),
        (EventType.SWITCHED_TO_PRIMARY, "degraded"),
        (EventType.SWITCHED_TO_BACKUP, "operator"),
    ):
        scene.events(event, "switched", account=account, reason="one of very many sentences", cause=cause)
    samples = await scene.samples()
    assert samples["tandem_failovers_total", account, "degraded"] == 2
    assert samples["tandem_failovers_total", account, "operator"] == 1


async def test_what_happened_is_told_by_account_and_begins_at_zero(scene: Scene) -> None:
    account = await scene.pair()
    assert (await scene.samples())["tandem_disconnects_total", account] == 0
    scene.events(EventType.SESSION_OFFLINE, "lost", account=account, slot=Slot.PRIMARY, state="waiting")
    scene.events(EventType.DEAD_LETTER, "of no account")
    samples = await scene.samples()
    assert samples["tandem_disconnects_total", account] == 1
    assert samples["tandem_messages_lost_total", account] == 0
    assert samples["tandem_messages_lost_total", ""] == 1


async def test_conditions_alerts_and_the_archive_are_gauges_and_counters(scene: Scene) -> None:
    account = await scene.pair()
    quiet = await scene.samples()
    assert [quiet[(name,)] for name in ("tandem_store_degraded", "tandem_fleet_held")] == [0, 0]
    assert quiet["tandem_alerts_firing", "account_offline", "critical"] == 0
    assert sum(key[0] == "tandem_alerts_firing" for key in quiet) == len(RULES)
    scene.trouble, scene.dead_letters = "it does not answer", 4
    finding = Finding(RULES["account_offline"], "no session is online", account)
    scene.alerts = [Alert(finding, Phase.FIRING, 1.0)]
    samples = await scene.samples()
    assert [samples[(name,)] for name in ("tandem_store_degraded", "tandem_fleet_held")] == [1, 1]
    assert samples["tandem_alerts_firing", "account_offline", "critical"] == 1
    assert samples[("tandem_dead_letters",)] == 4
    assert samples[("tandem_disk_free_ratio",)] == 0.25
    assert [samples["tandem_archived_events_total", each] for each in ("kept", "sampled_out", "lost")] == [8, 5, 1]
    assert samples["tandem_deliveries_failed_total", "webhook", "webhook-1a2b3c"] == 2


async def test_a_queue_that_cannot_be_asked_costs_only_its_own_figure(scene: Scene) -> None:
    scene.dead_letters = 3
    assert (await scene.samples())[("tandem_dead_letters",)] == 3
    scene.disk = StoreUnavailable("the queue: disk I/O error")
    samples = await scene.samples()
    assert ("tandem_dead_letters",) not in samples
    assert ("tandem_disk_free_ratio",) in samples


async def test_memory_of_a_host_is_looked_at_now_and_then(scene: Scene) -> None:
    account = await scene.pair()
    scene.hosts = {(account, Slot.PRIMARY): os.getpid(), (account, Slot.BACKUP): 2**22 + 7}
    samples = await scene.samples()
    assert 5e6 < samples["tandem_host_memory_bytes", account, "primary"] < 5e9
    assert ("tandem_host_memory_bytes", account, "backup") not in samples  # it has just ended
    scene.hosts = {}
    assert ("tandem_host_memory_bytes", account, "primary") in await scene.samples()
    scene.clock.advance(15)
    assert ("tandem_host_memory_bytes", account, "primary") not in await scene.samples()


async def test_the_phone_is_a_point_in_time(scene: Scene) -> None:
    account = await scene.pair()
    assert ("tandem_phone_seen_timestamp_seconds", account) not in await scene.samples()
    scene.see_phone(account, 1_700_000_000.0)
    assert (await scene.samples())["tandem_phone_seen_timestamp_seconds", account] == 1_700_000_000


async def test_what_firestore_bills_is_told_by_part_and_of_another_store_nothing(scene: Scene) -> None:
    assert not {key for key in await scene.samples() if key[0].startswith("tandem_firestore")}
    scene.costs = {"store": Costs(writes=7, reads=3, calls=2), "leases": Costs(writes=5, reads=11, calls=5)}
    samples = await scene.samples()
    assert samples["tandem_firestore_writes_total", "store"] == 7
    assert samples["tandem_firestore_reads_total", "store"] == 3
    assert (samples["tandem_firestore_writes_total", "leases"], samples["tandem_firestore_reads_total", "leases"]) == (
        5,
        11,
    )
