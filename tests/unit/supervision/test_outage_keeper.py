from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.virtual_time import SeededRandom, VirtualClock
from tandem.model import signals
from tandem.model.event import EventType
from tandem.model.ids import AccountId
from tandem.model.message import RawEvent
from tandem.model.outage import Outage
from tandem.model.states import Slot
from tandem.queue.queue import Queue
from tandem.supervision.outages import OutageKeeper
from tandem.supervision.supervisor import Supervisor, SupervisorPorts
from unit.queue.parts import Told, make_queue
from unit.supervision.test_supervisor import ACCOUNT, NUMBER, World, virtual

BOTH = tuple(Slot)


@dataclass
class Life:
    """One run of a daemon: queue, supervisor and keeper on twins of the devices."""

    world: World
    queue: Queue
    told: Told
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        world, told, clock = self.world, self.told, VirtualClock()
        self.keeper = OutageKeeper(self.queue.outages, self._caught_up, clock=clock, publish=told)
        ports = SupervisorPorts(
            devices=world.devices,
            registry=self.queue.registry,
            publish=told,
            clock=clock,
            random=SeededRandom(),
            receive=lambda _event: None,
            import_leftover=world._import,
            serve=world._serve,
            save_account=world._stored,
            moved=self.keeper.changed,
            removed=self.keeper.removed,
        )
        self.supervisor = Supervisor(world.limits, ports, suspect_after=2.0, max_accounts=3)
        self.settled.set()
        await self.supervisor.prepare()
        await self.keeper.prepare(self.supervisor.list())
        self.running = asyncio.create_task(self.keeper.run())
        self.supervisor.start()
        await asyncio.sleep(1)

    async def online(self, *slots: Slot) -> None:
        for slot in slots or BOTH:
            self.world.devices.last(slot).logs_in()
        await asyncio.sleep(0.01)

    async def lose(self, *slots: Slot) -> None:
        for slot in slots or BOTH:
            self.world.devices.last(slot).says(signals.Disconnected())
        await asyncio.sleep(0.01)

    async def killed(self) -> None:
        """The process is gone: nobody writes any more."""
        assert self.running is not None
        self.running.cancel()
        self.keeper._stopped = True
        await self.supervisor.stop()
        await self.queue.close()

    async def stopped(self) -> None:
        await self.keeper.stop()
        await self.killed()

    def gaps(self) -> list[dict[str, Any]]:
        return self.told.of(EventType.GAP)

    def arrive(self, late: float = 0.0) -> None:
        at = VirtualClock().now() - late
        self.keeper.arrived(RawEvent(ACCOUNT, Slot.PRIMARY, 1, 1, 17, b"", at))

    async def _caught_up(self, account: AccountId) -> None:
        assert account == ACCOUNT
        await self.settled.wait()


@asynccontextmanager
async def lives() -> AsyncIterator[Any]:
    """Begin one run after the other on the same data directory."""
    world = World()
    for slot in BOTH:
        world.devices.paired[ACCOUNT, slot] = "12025550123:1@s.whatsapp.net"
    with tempfile.TemporaryDirectory() as folder:

        async def begin() -> Life:
            told = Told()
            queue = make_queue(Path(folder), told)
            await queue.open()
            life = Life(world, queue, told)
            await life.begin()
            return life

        yield begin


async def first_life(begin: Any) -> Life:
    """A run with the account added and online."""
    life: Life = await begin()
    await life.supervisor.add("Shop", NUMBER)
    await asyncio.sleep(1)
    await life.online()
    return life


@virtual
async def test_losing_both_slots_is_an_outage_until_one_is_online_again() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        assert life.keeper.recent(ACCOUNT) == ()
        await life.lose(Slot.PRIMARY)
        assert life.keeper.online(ACCOUNT)
        await life.lose(Slot.BACKUP)
        assert not life.keeper.online(ACCOUNT)
        [outage] = life.keeper.recent(ACCOUNT)
        assert outage.ended is None
        assert outage.cause == "primary is reconnecting (connection lost), backup is reconnecting (connection lost)"
        await asyncio.sleep(1)
        life.arrive()
        life.arrive(late=1_000)  # was on its way to the disk when the outage began
        await life.online(Slot.BACKUP)
        await asyncio.sleep(1)
        [gap] = life.gaps()
        assert gap["to"] - gap["from"] == 1010
        assert gap["recovered"] == 1
        [stored] = await life.queue.outages.recent(ACCOUNT, 5)
        assert stored == life.keeper.recent(ACCOUNT)[0]
        assert (stored.finished, stored.recovered) == (True, 1)
        assert 1.0 < life.keeper.downtime(ACCOUNT) < 1.1
        await life.stopped()


@virtual
async def test_a_gap_is_published_when_what_came_late_is_durable_and_no_live_message_counts() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        await life.lose()
        life.settled.clear()
        life.arrive()
        await life.online(Slot.PRIMARY)
        await asyncio.sleep(1)
        assert life.gaps() == []
        life.arrive()  # live: it came after the account was online
        life.arrive(late=1.5)
        life.settled.set()
        await asyncio.sleep(0.1)
        assert [gap["recovered"] for gap in life.gaps()] == [1]
        await life.stopped()


@virtual
async def test_offline_messages_announced_are_part_of_the_outage() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        await life.lose()
        life.world.devices.last(Slot.PRIMARY).says(signals.SyncPreviewed(3), signals.Connected())
        await asyncio.sleep(5)
        assert not life.keeper.online(ACCOUNT)
        for _ in range(3):
            life.arrive()
        life.world.devices.last(Slot.PRIMARY).says(signals.SyncCompleted(3))
        await asyncio.sleep(1)
        [gap] = life.gaps()
        assert (gap["recovered"], gap["to"] - gap["from"]) == (3, 5010)
        await life.stopped()


@virtual
async def test_offline_messages_announced_after_the_login_are_part_of_the_outage_too() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        await life.lose()
        device = life.world.devices.last(Slot.PRIMARY)
        device.says(signals.Connected())
        await asyncio.sleep(0.1)
        assert not life.keeper.online(ACCOUNT)
        device.says(signals.SyncPreviewed(3))
        for _ in range(3):
            life.arrive()
        device.says(signals.SyncCompleted(3))
        await asyncio.sleep(1)
        assert [gap["recovered"] for gap in life.gaps()] == [3]
        await life.stopped()


@virtual
async def test_after_a_kill_the_outage_runs_from_the_last_sign_of_life() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        await asyncio.sleep(605.0)
        killed_at = VirtualClock().now()
        await life.killed()
        await asyncio.sleep(100)
        again = await begin()
        [outage] = again.keeper.recent(ACCOUNT)
        assert 0 <= killed_at - outage.began <= 10.1
        assert outage.cause == "the daemon was not running: it was killed or crashed"
        await again.online(Slot.PRIMARY)
        await asyncio.sleep(1)
        assert len(again.gaps()) == 1
        assert 100 < again.keeper.downtime(ACCOUNT) < 115
        first, second = await again.queue.outages.observations(0.0, 2e9)
        assert second.began - first.ended > 99
        await again.stopped()


@virtual
async def test_a_kill_right_after_the_first_time_online_is_an_outage_too() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        killed_at = VirtualClock().now()
        await life.killed()
        again = await begin()
        [outage] = again.keeper.recent(ACCOUNT)
        assert outage.cause == "the daemon was not running: it was killed or crashed"
        assert killed_at - outage.began < 1
        await again.stopped()


@virtual
async def test_a_clean_stop_leaves_word_of_the_instant() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        await asyncio.sleep(33)
        stopped_at = VirtualClock().now()
        await life.stopped()
        await asyncio.sleep(5)
        again = await begin()
        [outage] = again.keeper.recent(ACCOUNT)
        assert (outage.began, outage.cause) == (stopped_at, "the daemon was not running: it was stopped")
        await again.stopped()


@virtual
async def test_an_outage_that_lasts_goes_on_over_a_restart_as_one() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        await life.lose()
        [before] = life.keeper.recent(ACCOUNT)
        await asyncio.sleep(15)
        await life.killed()
        await asyncio.sleep(50)
        again = await begin()
        assert again.keeper.recent(ACCOUNT) == (before,)
        await again.online(Slot.BACKUP)
        await asyncio.sleep(1)
        [outage] = again.keeper.recent(ACCOUNT)
        assert outage.seconds(0.0) > 65
        await again.stopped()


@virtual
async def test_a_kill_before_the_late_messages_were_counted_says_so() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        await life.lose()
        life.settled.clear()
        await life.online(Slot.PRIMARY)
        await asyncio.sleep(1)
        await life.killed()
        again = await begin()
        assert [gap["recovered"] for gap in again.gaps()] == [None]
        assert [outage.finished for outage in again.keeper.recent(ACCOUNT)] == [False, True]
        await again.stopped()


@virtual
async def test_a_removed_account_is_forgotten_and_starts_afresh_when_it_is_added_again() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        await life.lose()
        await life.supervisor.remove(ACCOUNT)
        await asyncio.sleep(30)
        assert life.keeper.recent(ACCOUNT) == ()
        await life.supervisor.add("Shop", NUMBER)
        await asyncio.sleep(30)
        assert life.keeper.recent(ACCOUNT) == ()
        await life.stopped()


@virtual
async def test_six_quiet_hours_have_no_outage_and_one_observation() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        await asyncio.sleep(6 * 3600)
        assert life.keeper.recent(ACCOUNT) == ()
        [seen] = await life.queue.outages.observations(0.0, 2e9)
        assert seen.ended - seen.began > 6 * 3600 - 11
        await life.stopped()


@virtual
async def test_a_process_that_was_suspended_was_not_there() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        await asyncio.sleep(60)
        loop: Any = asyncio.get_running_loop()
        loop._jumping.now += 600  # as after SIGSTOP and SIGCONT
        await asyncio.sleep(15)
        [outage] = life.keeper.recent(ACCOUNT)
        assert outage.cause == "the daemon was suspended"
        assert 600 <= outage.seconds(0.0) <= 611
        assert life.keeper.online(ACCOUNT)
        assert len(await life.queue.outages.observations(0.0, 2e9)) == 2
        await life.stopped()


@virtual
async def test_what_the_disk_refuses_is_written_later() -> None:
    async with lives() as begin:
        life = await first_life(begin)
        await asyncio.sleep(1)
        file, life.queue.database._file = life.queue.database._file, None
        await life.lose()
        await life.online(Slot.PRIMARY)
        await asyncio.sleep(60)
        assert await life.queue.outages.recent(ACCOUNT, 5) == []
        life.queue.database._file = file
        await asyncio.sleep(11)
        [outage] = await life.queue.outages.recent(ACCOUNT, 5)
        assert outage.finished
        assert isinstance(outage, Outage)
        assert len(life.keeper.recent(ACCOUNT)) == 1
        await life.stopped()
