from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, timedelta
from pathlib import Path

import pytest

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.errors import NotFound
from tandem.model.account import Account
from tandem.model.event import EventType
from tandem.model.ids import AccountId, Number, account_id
from tandem.model.outage import Observation, Outage
from tandem.model.states import Slot
from tandem.monitoring.day_book import DayBook
from tandem.monitoring.events import EventStream
from tandem.monitoring.reporter import Reporter
from tandem.monitoring.sources import Backlog, Sources, Traffic
from tandem.monitoring.tally import Tally
from tandem.policy.report import DayReport
from tandem.queue.queue import Queue
from tandem.settings import QueueSettings
from tandem.store.memory import MemoryStore

NUMBER = Number("+12025550100")
ACCOUNT = account_id(NUMBER)
DAY = 86_400.0
FIRST = date(2023, 11, 14)  # of the virtual clock's start, 22:13:20 UTC
TO_MIDNIGHT = 6400.0


@dataclass
class Office:
    """A queue on the disk, a day book and a reporter, on virtual time."""

    directory: Path
    store: MemoryStore
    sent: list[DayReport] = field(default_factory=list)
    traffic: dict[AccountId, Traffic] = field(default_factory=dict)
    depth: int = 0
    may_report: bool = True

    async def open(self) -> None:
        clock = VirtualClock()
        self.events = EventStream(clock, SeededRandom())
        self.queue = Queue(self.directory, QueueSettings(), clock, SeededRandom(), self.events)
        await self.queue.open()
        await self.queue.registry.save_account(Account(ACCOUNT, NUMBER, "Desk", clock.now()))
        tally = Tally(clock)
        self.events.listen(tally)
        sources = Sources(traffic=lambda: self.traffic, inbox=lambda: Backlog(self.depth, 0.0))
        self.book = DayBook(self.queue.day_figures, sources, tally, UTC, clock)
        self.events.listen(self.book)
        self.reporter = Reporter(
            self.queue.day_figures,
            self.queue.outages,
            self.store,
            accounts=lambda: [ACCOUNT],
            send=self._send,
            zone=UTC,
            clock=clock,
            publish=self.events,
            may_report=lambda: self.may_report,
        )
        self.tasks = [asyncio.create_task(self.book.run()), asyncio.create_task(self.reporter.run())]

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await self.book.close()
        await self.queue.close()

    async def _send(self, report: DayReport) -> None:
        self.sent.append(report)

    def works(self, received: int) -> None:
        before = self.traffic.get(ACCOUNT, Traffic())
        self.traffic[ACCOUNT] = replace(before, received=before.received + received)


def in_office(directory: Path, play: Callable[[Office], Awaitable[None]]) -> Office:
    offices: list[Office] = []

    async def scenario() -> None:
        office = Office(directory, MemoryStore(VirtualClock()))
        offices.append(office)
        await office.open()
        await play(office)
        await office.close()

    run_virtually(scenario())
    return offices[0]


def test_each_days_report_holds_that_days_figures(tmp_path: Path) -> None:
    async def play(office: Office) -> None:
        office.works(3)
        office.depth = 9
        office.events(EventType.SWITCHED_TO_BACKUP, "switched", account=ACCOUNT, slot=Slot.BACKUP)
        office.book.took(ACCOUNT, "inbound", 0.02)
        await asyncio.sleep(TO_MIDNIGHT + 60)
        office.depth = 0
        office.works(5)
        await asyncio.sleep(2 * DAY)

    office = in_office(tmp_path, play)
    first, second = (report.accounts[0] for report in office.sent[:2])
    assert [report.date for report in office.sent[:2]] == ["2023-11-14", "2023-11-15"]
    assert (first.counts["received"], first.counts["failovers"], first.inbound.p99) == (3, 1, 0.025)
    assert (second.counts["received"], second.counts["failovers"]) == (5, 0)
    assert (office.sent[0].inbox_high_water, office.sent[1].inbox_high_water) == (9, 0)
    told = [event for event in office.events.recent(100) if event.type is EventType.DAILY_REPORT]
    assert [event.data["date"] for event in reversed(told)] == [report.date for report in office.sent]


def test_a_report_is_made_once_whoever_asks_again(tmp_path: Path) -> None:
    async def play(office: Office) -> None:
        office.works(1)
        await asyncio.sleep(TO_MIDNIGHT + 300)
        assert len(office.sent) == 1
        again = Office(tmp_path / "other", office.store)
        again.directory.mkdir()
        await again.open()
        again.works(100)
        await again.queue.day_figures.add(FIRST.isoformat(), {(ACCOUNT, "received"): 100}, {})
        await asyncio.sleep(DAY)
        assert FIRST.isoformat() not in {report.date for report in again.sent}
        await again.close()

    in_office(tmp_path, play)


def test_days_that_ended_while_nobody_was_there_are_reported_at_the_next_start(tmp_path: Path) -> None:
    async def dies(office: Office) -> None:
        office.works(4)
        await asyncio.sleep(61)

    async def comes_back(office: Office) -> None:
        await office.queue.outages.save([], [Observation(1_700_000_000.0, 1_700_000_061.0)])
        await asyncio.sleep(2 * DAY)
        assert office.sent[0].date == FIRST.isoformat()
        assert office.sent[0].accounts[0].counts["received"] == 4
        assert office.sent[0].accounts[0].uptime is None  # a minute of a day says nothing

    in_office(tmp_path, dies)
    in_office(tmp_path, comes_back)


def test_a_store_that_is_away_at_midnight_gets_the_report_later(tmp_path: Path) -> None:
    async def play(office: Office) -> None:
        office.works(1)
        office.store.failing = True
        await asyncio.sleep(TO_MIDNIGHT + 3600)
        assert office.sent == []
        office.store.failing = False
        await asyncio.sleep(700)
        assert [report.date for report in office.sent] == [FIRST.isoformat()]

    in_office(tmp_path, play)


def test_an_instance_that_ran_nothing_leaves_the_report_to_the_others_until_it_does(tmp_path: Path) -> None:
    async def play(office: Office) -> None:
        office.may_report = False
        office.works(1)
        await asyncio.sleep(TO_MIDNIGHT + DAY / 2)
        assert office.sent == []
        assert await office.store.report(FIRST.isoformat()) is None
        office.may_report = True
        await asyncio.sleep(3700)
        assert [report.date for report in office.sent] == [FIRST.isoformat()]

    in_office(tmp_path, play)


def test_a_disk_that_refuses_loses_no_count(tmp_path: Path) -> None:
    async def play(office: Office) -> None:
        office.works(2)
        await office.book.write_down(FIRST.isoformat())
        assert (await office.queue.day_figures.of(FIRST.isoformat()))[ACCOUNT]["received"] == 2
        await office.queue.database.close()
        office.works(3)
        await office.book.write_down(FIRST.isoformat())
        await office.queue.database.open()
        await office.book.write_down(FIRST.isoformat())
        assert (await office.queue.day_figures.of(FIRST.isoformat()))[ACCOUNT]["received"] == 5

    in_office(tmp_path, play)


def test_today_can_be_looked_at_and_the_unknown_is_said_to_be_unknown(tmp_path: Path) -> None:
    async def play(office: Office) -> None:
        office.works(1)
        await asyncio.sleep(120)
        began = 1_700_000_000.0 + 60
        await office.queue.outages.save([Outage(ACCOUNT, began, "killed", began + 5, 0, finished=True)], [])
        today = await office.reporter.of(FIRST)
        assert today["accounts"][0]["counts"]["received"] == 1  # type: ignore[index]
        assert today["accounts"][0]["incidents"][0]["seconds"] == 5  # type: ignore[index]
        for unknown in (FIRST + timedelta(days=1), FIRST - timedelta(days=5)):
            with pytest.raises(NotFound):
                await office.reporter.of(unknown)

    in_office(tmp_path, play)


def test_a_report_says_how_long_faults_went_unnoticed_and_slots_were_gone(tmp_path: Path) -> None:
    async def play(office: Office) -> None:
        tell = office.events
        tell(EventType.SESSION_STATE, "a ping went unanswered", account=ACCOUNT, slot=Slot.PRIMARY, silent_ms=8200)
        tell(EventType.SESSION_OFFLINE, "connection lost", account=ACCOUNT, slot=Slot.PRIMARY)
        tell(EventType.SWITCHED_TO_BACKUP, "switched", account=ACCOUNT, slot=Slot.BACKUP, role_gap_ms=7.5)
        await asyncio.sleep(0.4)
        tell(EventType.SESSION_ONLINE, "online", account=ACCOUNT, slot=Slot.PRIMARY)
        tell(EventType.SESSION_ONLINE, "online", account=ACCOUNT, slot=Slot.BACKUP)  # was never gone
        await office.book.write_down(FIRST.isoformat())
        (account,) = (await office.reporter.compose(FIRST)).accounts
        assert (account.detected.p99, account.role_moved.p99, account.recovered.p99) == (10.0, 0.01, 0.5)
        assert account.recovered.count == 1

    in_office(tmp_path, play)
