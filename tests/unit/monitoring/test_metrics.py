from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tandem.model.event import EventType
from tandem.model.ids import AccountId, Number
from tandem.model.states import SendingState, SessionState, Slot
from tandem.model.views import SendingView
from tandem.monitoring.events import EventStream
from tandem.monitoring.metrics import Metrics
from tandem.monitoring.sources import Availability, Backlog, Sources, Traffic
from unit.api.twins import CountingRandom, FakeAccounts, FakeClock


class Scene:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events = EventStream(self.clock, CountingRandom())
        self.accounts = FakeAccounts(self.clock, self.events)
        self.traffic: dict[AccountId, Traffic] = {}
        self.availability: dict[AccountId, Availability] = {}
        sources = Sources(
            accounts=self.accounts.list,
            traffic=lambda: self.traffic,
            availability=lambda: self.availability,
            inbox=lambda: Backlog(7, 1.5),
            outbox=lambda: Backlog(2, 60.0),
            batch=lambda: 4,
        )
        self.metrics = Metrics(sources, self.events, self.clock, version="1", commit="c", instance="i")

    async def pair(self) -> AccountId:
        view, _ = await self.accounts.add("Desk", Number("+12025550123"))
        for slot in Slot:
            self.accounts.go_online(view.account.id, slot, tell=False)
        return view.account.id

    def samples(self) -> dict[tuple[str, ...], float]:
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(self.metrics.exposition().decode())
            for sample in family.samples
        }


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_sessions_are_state_sets(scene: Scene) -> None:
    account = await scene.pair()
    samples = scene.samples()
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
    assert scene.samples()["tandem_send_rate_per_minute", account] == float("inf")
    slowed = SendingView(SendingState.PAUSED, 0.0, 1_700_000_030.0, "WhatsApp limits the rate (429)")
    scene.accounts.views[account] = replace(scene.accounts.views[account], sending=slowed)
    samples = scene.samples()
    assert samples["tandem_send_rate_per_minute", account] == 0
    assert samples["tandem_send_paused_until_seconds", account] == 1_700_000_030
    assert samples["tandem_send_state_code", account] == SendingState.PAUSED.number


async def test_figures_are_read_from_their_owners(scene: Scene) -> None:
    account = await scene.pair()
    scene.traffic[account] = Traffic(received=10, duplicates=9, stored=8, sent=3)
    samples = scene.samples()
    assert samples["tandem_messages_received_total", account] == 10
    assert samples["tandem_messages_duplicates_total", account] == 9
    assert samples["tandem_messages_stored_total", account] == 8
    assert samples["tandem_messages_sent_total", account] == 3
    assert samples["tandem_queue_depth", "inbox"] == 7
    assert samples["tandem_queue_oldest_age_seconds", "outbox"] == 60
    assert scene.metrics.traffic(account)["stored"] == 8
    assert scene.metrics.traffic(AccountId("0" * 16))["stored"] == 0
    again = scene.samples()
    assert {key: again[key] for key in samples if key[0].startswith("tandem")} == {
        key: value for key, value in samples.items() if key[0].startswith("tandem")
    }


async def test_events_are_counted_by_type(scene: Scene) -> None:
    for _ in range(3):
        scene.events(EventType.PROACTIVE_RECONNECT, "Reconnecting")
    assert scene.samples()["tandem_events_total", "proactive_reconnect"] == 3
    assert scene.samples()[("tandem_event_failures_total",)] == 0


async def test_names_and_labels_keep_the_conventions(scene: Scene) -> None:
    account = await scene.pair()
    scene.traffic[account] = Traffic(1, 1, 1, 1)
    scene.events(EventType.ALERT, "Alert")
    text = scene.metrics.exposition().decode()
    assert "12025550123" not in text
    for family in text_string_to_metric_families(text):
        if family.name.startswith("process_"):
            continue
        assert re.fullmatch(r"tandem_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|milliseconds|percent|kb)$", family.name)
        labels = {name for sample in family.samples for name in sample.labels}
        assert labels <= {
            "account",
            "slot",
            "tandem_session_state",
            "queue",
            "type",
            "le",
            "version",
            "commit",
            "instance",
        }


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
    lag = next(value for key, value in scene.samples().items() if key[0] == "tandem_event_loop_lag_seconds_count")
    assert lag > 1000


async def test_accounts_are_up_or_have_been_down_for_so_long(scene: Scene) -> None:
    account = await scene.pair()
    scene.availability = {account: Availability(online=False, downtime=12.5)}
    samples = scene.samples()
    assert samples["tandem_account_up", account] == 0
    assert samples["tandem_account_downtime_seconds_total", account] == 12.5
