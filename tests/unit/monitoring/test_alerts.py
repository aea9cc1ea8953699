from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.errors import StoreUnavailable
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId
from tandem.model.states import AccountStatus, SessionState, Slot
from tandem.monitoring.alerts import Alerts
from tandem.monitoring.events import EventStream
from tandem.policy.alert_rules import AccountFacts, Facts, SlotFacts
from tandem.policy.alerting import Alert, Manners
from tandem.queue.alert_memory import KIND, AlertMemory
from tandem.queue.delivery_rows import Parcel
from tandem.queue.queue import Queue
from tandem.settings import QueueSettings

ACCOUNT = AccountId("0123456789abcdef")
DAY = 86_400.0


def standing(status: AccountStatus, state: SessionState) -> Facts:
    slots = tuple(SlotFacts(slot, state, "the phone removed it") for slot in Slot)
    return Facts((AccountFacts(ACCOUNT, status, slots),))


HEALTHY = standing(AccountStatus.ONLINE, SessionState.ONLINE)
OFFLINE = standing(AccountStatus.OFFLINE, SessionState.WAITING)
LOGGED_OUT = standing(AccountStatus.OFFLINE, SessionState.LOGGED_OUT)


@dataclass
class Notebook:
    """A memory that can fail, and keeps what was to be delivered."""

    kept: dict[str, Alert] = field(default_factory=dict)
    parcels: list[Parcel] = field(default_factory=list)
    saves: int = 0
    failing: bool = False

    async def load(self) -> dict[str, Alert]:
        return dict(self.kept)

    async def save(self, alerts: Mapping[str, Alert], notices: Sequence[Parcel]) -> None:
        if self.failing:
            raise StoreUnavailable("the disk refuses")
        self.saves += 1
        self.kept = dict(alerts)
        self.parcels += notices

    @property
    def titles(self) -> list[str]:
        return [json.loads(parcel.payload)["title"] for parcel in self.parcels]


class Desk:
    def __init__(self, notebook: Notebook) -> None:
        self.facts = HEALTHY
        self.events = EventStream(VirtualClock(), SeededRandom())
        self.notebook = notebook
        self.alerts = Alerts(
            self._facts, notebook, self.events, clock=VirtualClock(), random=SeededRandom(), manners=Manners()
        )

    async def _facts(self) -> Facts:
        return self.facts

    async def becomes(self, facts: Facts) -> None:
        self.facts = facts
        self.events(EventType.SESSION_STATE, "something happened", account=ACCOUNT)

    def told(self) -> list[Event]:
        kinds = {EventType.ALERT, EventType.ALERT_RESOLVED}
        return [event for event in reversed(self.events.recent(1000)) if event.type in kinds]


def played(play: Callable[[Desk], Awaitable[None]], notebook: Notebook | None = None) -> Desk:
    desks: list[Desk] = []

    async def scenario() -> None:
        desk = Desk(notebook or Notebook())
        desks.append(desk)
        task = asyncio.create_task(desk.alerts.run())
        await asyncio.sleep(1)
        await play(desk)
        task.cancel()

    run_virtually(scenario())
    return desks[0]


def test_an_account_that_stays_offline_is_told_within_a_minute_and_once_and_its_end_too() -> None:
    async def play(desk: Desk) -> None:
        await desk.becomes(OFFLINE)
        await asyncio.sleep(600)
        assert [alert.finding.rule.name for alert in desk.alerts.firing()] == ["account_offline"]
        await desk.becomes(HEALTHY)
        await asyncio.sleep(600)

    desk = played(play)
    fired, resolved = desk.told()
    assert (fired.type, resolved.type) == (EventType.ALERT, EventType.ALERT_RESOLVED)
    assert fired.account == ACCOUNT
    assert 60 <= fired.timestamp - 1_700_000_001 <= 60 + 16
    assert fired.data["todo"]
    assert desk.notebook.titles == ["account_offline", "over: account_offline"]
    assert desk.alerts.firing() == []


def test_what_cannot_wait_is_told_within_seconds() -> None:
    async def play(desk: Desk) -> None:
        await desk.becomes(LOGGED_OUT)
        await asyncio.sleep(3)
        assert {event.data["rule"] for event in desk.told()} == {"slot_stopped"}

    played(play)


def test_a_day_of_quiet_raises_no_alert_and_writes_nothing() -> None:
    async def play(desk: Desk) -> None:
        await asyncio.sleep(DAY)
        assert desk.told() == []

    desk = played(play)
    assert desk.notebook.saves == 0


def test_a_restart_neither_tells_again_nor_forgets_the_end() -> None:
    async def goes_wrong(desk: Desk) -> None:
        await desk.becomes(LOGGED_OUT)
        await asyncio.sleep(30)

    async def stays_wrong_then_ends(desk: Desk) -> None:
        await desk.becomes(LOGGED_OUT)
        await asyncio.sleep(30)
        assert desk.told() == []
        await desk.becomes(HEALTHY)
        await asyncio.sleep(200)
        assert {event.type for event in desk.told()} == {EventType.ALERT_RESOLVED}

    before = played(goes_wrong).notebook
    played(stays_wrong_then_ends, Notebook(kept=before.kept))


def test_a_disk_that_refuses_delays_the_telling_and_loses_none() -> None:
    async def play(desk: Desk) -> None:
        desk.notebook.failing = True
        await desk.becomes(LOGGED_OUT)
        await asyncio.sleep(60)
        assert desk.told() == []
        desk.notebook.failing = False
        await asyncio.sleep(20)
        assert len([event for event in desk.told() if event.type is EventType.ALERT]) == 2

    played(play)


def test_notices_say_what_to_do_and_hold_no_number() -> None:
    async def play(desk: Desk) -> None:
        await desk.becomes(LOGGED_OUT)
        await asyncio.sleep(5)

    payload = json.loads(played(play).notebook.parcels[0].payload)
    assert payload["severity"] == "critical"
    assert "link it again" in payload["todo"]
    assert ACCOUNT in payload["body"]


@pytest.mark.parametrize("endpoints", [0, 2])
def test_alerts_and_their_notices_are_durable_together(tmp_path: Path, endpoints: int) -> None:
    notebook = played(_goes_wrong).notebook
    asyncio.run(_kept_and_read_back(tmp_path, notebook, endpoints))


async def _kept_and_read_back(tmp_path: Path, notebook: Notebook, endpoints: int) -> None:
    clock = VirtualClock()
    queue = Queue(tmp_path, QueueSettings(), clock, SeededRandom(), EventStream(clock, SeededRandom()))
    await queue.open()
    await queue.deliveries.configure(KIND, [f"endpoint-{number}" for number in range(endpoints)])
    memory = AlertMemory(queue.database, queue.deliveries, clock)
    alert = next(iter(notebook.kept.values()))
    await memory.save(notebook.kept, notebook.parcels)
    assert await memory.load() == notebook.kept
    due = [await queue.deliveries.due(f"endpoint-{number}", 10) for number in range(endpoints)]
    assert [len(each) for each in due] == [2] * endpoints
    await memory.save({alert.key: replace(alert, gone_since=1.0)}, [])
    assert [each.gone_since for each in (await memory.load()).values()] == [1.0]
    await queue.close()


async def _goes_wrong(desk: Desk) -> None:
    await desk.becomes(LOGGED_OUT)
    await asyncio.sleep(30)
