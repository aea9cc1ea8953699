"""Weeks of a phone on virtual time: what is told, what fires, and what a restart remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.model.account import Account
from tandem.model.event import Event, EventType
from tandem.model.ids import Jid
from tandem.model.message import DecodedMessage
from tandem.model.phone import Presence, Proof
from tandem.model.states import AccountStatus, Role, SessionState, Slot
from tandem.model.views import AccountView, SlotView
from tandem.monitoring.alerts import Alerts
from tandem.monitoring.events import EventStream
from tandem.monitoring.sources import Sources
from tandem.monitoring.standing import Standing
from tandem.monitoring.tally import Tally
from tandem.policy.alert_rules import Thresholds
from tandem.policy.alerting import Manners
from tandem.policy.phone import DAY
from tandem.queue.alert_memory import AlertMemory
from tandem.queue.queue import Queue
from tandem.supervision.phones import PhoneKeeper
from unit.queue.parts import ACCOUNT, NUMBER, open_queue


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weeks are looked at every ten minutes, not every 15 s."""
    monkeypatch.setattr("tandem.monitoring.alerts._EVERY", 600.0)


TOLD = {EventType.PHONE_UNSEEN, EventType.PHONE_SEEN, EventType.ALERT, EventType.ALERT_RESOLVED}


def typed() -> DecodedMessage:
    own, at = Jid(NUMBER[1:], "s.whatsapp.net"), int(VirtualClock().now() * 1000)
    return DecodedMessage("ID", own, own, None, None, True, False, "", at, "text", "", False, "", b"", b"")


class Life:
    """One run of a daemon: the keeper, and the alerts that look at what it knows."""

    def __init__(self, queue: Queue, *, linked: bool = True) -> None:
        clock = VirtualClock()
        self.linked = linked
        self.queue = queue
        self.events = EventStream(clock, SeededRandom())
        self.keeper = PhoneKeeper(queue.phones, self.accounts, clock=clock, publish=self.events)
        sources = Sources(accounts=self.accounts)
        facts = Standing(sources, Tally(clock), Thresholds(), clock.now)
        memory = AlertMemory(queue.database, queue.deliveries, clock)
        self.alerts = Alerts(facts, memory, self.events, clock=clock, random=SeededRandom(), manners=Manners())

    def accounts(self) -> list[AccountView]:
        device = f"{NUMBER[1:]}:1@s.whatsapp.net" if self.linked else ""
        slots = [
            SlotView(slot, device, Role.STANDBY, SessionState.ONLINE, "", 0.0, 1, None, None, 0, None) for slot in Slot
        ]
        account = Account(ACCOUNT, NUMBER, "Office", 0.0)
        phone = self.keeper.of(ACCOUNT)
        return [AccountView(account, AccountStatus.ONLINE, (slots[0], slots[1]), phone=phone)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.keeper.prepare()
        jobs = [asyncio.create_task(job) for job in (self.keeper.run(), self.alerts.run())]
        await asyncio.sleep(1)
        yield
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    def told(self) -> list[tuple[str, int]]:
        """What people were told, oldest first, and the day of it."""
        return [(_name(event), _day(event)) for event in reversed(self.events.recent(99)) if event.type in TOLD]


def _name(event: Event) -> str:
    return f"{event.type} {event.data.get('rule') or event.data.get('severity') or ''}".strip()


def _day(event: Event) -> int:
    return int((event.timestamp - 1_700_000_000.0) // DAY)


def test_fifteen_days_without_the_phone_are_told_at_ten_and_twelve_and_end_when_it_is_seen(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            life = Life(queue)
            async with life.running():
                life.keeper.linked(ACCOUNT)
                await asyncio.sleep(10 * DAY - 60)
                assert life.told() == []
                await asyncio.sleep(5 * DAY)
                assert life.told() == [
                    ("phone_unseen warning", 10),
                    ("alert phone_unseen", 10),
                    ("phone_unseen critical", 12),
                    ("alert phone_nearly_gone", 12),
                    ("alert_resolved phone_unseen", 12),
                ]
                life.keeper.noted(ACCOUNT, typed())
                await asyncio.sleep(DAY)
                assert life.told()[5:] == [("phone_seen", 14), ("alert_resolved phone_nearly_gone", 15)]
                (warning, _) = life.events.recent(9, EventType.PHONE_UNSEEN)
                assert warning.data["days"] == 12
                assert "open WhatsApp" in warning.message

    run_virtually(scenario())


def test_a_phone_in_use_is_never_spoken_of_and_costs_a_write_an_hour(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            life, writes = Life(queue), 0
            save = queue.phones.save

            async def counted(presences: dict[str, Presence]) -> None:
                nonlocal writes
                writes += 1
                await save(presences)  # type: ignore[arg-type]

            queue.phones.save = counted  # type: ignore[method-assign,assignment]
            async with life.running():
                for _ in range(20 * 24 * 4):
                    life.keeper.noted(ACCOUNT, typed())
                    await asyncio.sleep(900)
            assert life.told() == []
            assert 0 < writes <= 20 * 24 + 1

    run_virtually(scenario())


def test_nothing_is_told_of_an_account_that_is_not_linked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            life = Life(queue, linked=False)
            async with life.running():
                await asyncio.sleep(20 * DAY)
            assert life.told() == []
            assert await queue.phones.load() == {}

    run_virtually(scenario())


def test_without_any_proof_it_is_counted_from_the_first_look(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            life = Life(queue)
            async with life.running():
                await asyncio.sleep(9 * DAY)
                assert life.told() == []
                known = life.keeper.of(ACCOUNT)
                assert known is not None
                assert known.seen_at is None
                await asyncio.sleep(DAY + 2_000)
                assert life.told() == [("phone_unseen warning", 10), ("alert phone_unseen", 10)]

    run_virtually(scenario())


def test_a_restart_keeps_when_it_was_seen_and_repeats_no_warning(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            first = Life(queue)
            async with first.running():
                first.keeper.linked(ACCOUNT)
                await asyncio.sleep(11 * DAY)
            assert len(first.told()) == 2
        async with open_queue(tmp_path) as queue:
            second = Life(queue)
            async with second.running():
                known = second.keeper.of(ACCOUNT)
                assert known is not None
                assert (known.proof, known.told, round(known.at)) == (Proof.LINKED, 10, 1_700_000_001)
                await asyncio.sleep(DAY / 2)
                assert second.told() == []
                await asyncio.sleep(DAY)
                assert [name for name, _ in second.told()][:1] == ["phone_unseen critical"]

    run_virtually(scenario())


def test_a_removed_account_is_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            life = Life(queue)
            async with life.running():
                life.keeper.linked(ACCOUNT)
                life.keeper.removed(ACCOUNT)
                assert life.keeper.of(ACCOUNT) is None

    run_virtually(scenario())
