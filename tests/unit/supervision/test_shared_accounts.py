"""A supervisor whose accounts are shared with other instances."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from math import inf

import pytest

from support.virtual_time import SeededRandom, VirtualClock
from tandem.errors import Conflict, InstancePassive, NotFound, NotOnline
from tandem.model import signals
from tandem.model.account import Account
from tandem.model.cluster import Fitness, SlotStanding
from tandem.model.cluster_view import LeaseView
from tandem.model.event import EventType
from tandem.model.ids import AccountId, ChatId
from tandem.model.outbox import Content, SendOutcome, SendResult, Text
from tandem.model.states import AccountStatus, Role, SessionState, Slot
from tandem.model.views import PairMethod
from tandem.supervision.account import Pair
from tandem.supervision.supervisor import Supervisor, SupervisorPorts
from unit.supervision.test_supervisor import ACCOUNT, NUMBER, PAIRING, World, virtual

CHAT = ChatId("13035550100@s.whatsapp.net")
DEVICE = "12025550123:2@s.whatsapp.net"
SHOP = Account(ACCOUNT, NUMBER, "Shop", 0.0)


@dataclass
class TwinPart:
    """Has the right up to ``until``; ``refuses`` what would change an account."""

    until: float = -inf
    slots: tuple[Slot, ...] = tuple(Slot)
    refuses: bool = False
    others: dict[Slot, tuple[str, SlotStanding]] = field(default_factory=dict)
    acts: list[str] = field(default_factory=list)
    alone: bool = False
    copied: bool = False

    def keys_are_ours(self) -> bool:
        return not self.copied

    def may_send_until(self, account: AccountId) -> float:  # noqa: ARG002 - the port's
        return self.until

    def lease(self, account: AccountId) -> LeaseView | None:
        return LeaseView(account, holder_name="the south")

    def elsewhere(self, account: AccountId, slot: Slot) -> tuple[str, SlotStanding] | None:  # noqa: ARG002 - the port's
        return self.others.get(slot)

    async def add(self, account: Account) -> None:
        self._do(f"add {account.name}")

    async def remove(self, account: AccountId) -> None:
        self._do(f"remove {account}")

    def _do(self, act: str) -> None:
        if self.refuses:
            raise InstancePassive("ask the other one")
        self.acts.append(act)


@dataclass
class Shared(World):
    part: TwinPart = field(default_factory=TwinPart)
    moves: int = 0
    stored: int = 0
    sends: bool = False
    serving: set[AccountId] = field(default_factory=set)

    def supervisor(self) -> Supervisor:
        ports = SupervisorPorts(
            devices=self.devices, registry=self.registry, publish=self._publish,  # type: ignore[arg-type]  # a twin
            clock=VirtualClock(), random=SeededRandom(), receive=lambda _event: None, import_leftover=self._import,
            serve=self._serve, save_account=self._stored, cluster=self.part, moved=self._moved,
        )  # fmt: skip
        return Supervisor(self.limits, ports, suspect_after=2.0, max_accounts=100, pairing_limits=PAIRING)

    def _moved(self, _pair: Pair) -> None:
        self.moves += 1

    async def _serve(self, pair: Pair) -> None:
        self.served.append(pair.account.id)
        self.serving.add(pair.account.id)
        try:
            if self.sends:
                await pair.send(pair.active, CHAT, Text("hello"), b"", 60.0)
            await asyncio.Event().wait()
        finally:
            self.serving.discard(pair.account.id)

    async def _stored(self, account: Account) -> None:  # noqa: ARG002 - the port's
        self.stored += 1


async def _linked(world: Shared, *slots: Slot) -> Supervisor:
    for slot in slots or tuple(Slot):
        world.devices.paired[ACCOUNT, slot] = f"12025550123:{slot.number}@s.whatsapp.net"
    await world.registry.save_account(SHOP)
    supervisor = world.supervisor()
    await supervisor.prepare()
    supervisor.start()
    await asyncio.sleep(1)
    for slot in slots or tuple(Slot):
        world.devices.last(slot).logs_in()
    await asyncio.sleep(1)
    return supervisor


def _roles(supervisor: Supervisor) -> list[Role]:
    return [slot.role for slot in supervisor.get(ACCOUNT).slots]


@virtual
async def test_without_the_right_both_slots_are_online_and_stand_by_and_nobody_sends() -> None:
    world = Shared()
    supervisor = await _linked(world)
    view = supervisor.get(ACCOUNT)
    assert view.status is AccountStatus.ONLINE
    assert _roles(supervisor) == [Role.STANDBY, Role.STANDBY]
    assert view.lease == LeaseView(ACCOUNT, holder_name="the south")
    assert world.served == []
    assert supervisor.fitness() == {ACCOUNT: Fitness.ONLINE}
    with pytest.raises(NotOnline, match="another instance"):
        await supervisor.pair_of(ACCOUNT).send(Slot.PRIMARY, CHAT, Text("hello"), b"", 1.0)
    assert world.devices.last(Slot.PRIMARY).sent == []
    await supervisor.stop()


@virtual
async def test_an_account_is_served_from_when_it_is_taken_up_until_it_is_laid_down() -> None:
    world = Shared()
    supervisor = await _linked(world)
    world.part.until, moves = inf, world.moves
    for _ in range(2):
        supervisor.take_up(ACCOUNT)
        await asyncio.sleep(1)
    assert (world.served, world.serving) == ([ACCOUNT], {ACCOUNT})
    assert world.moves == moves + 2, "whoever watches is told, since the roles have changed"
    assert _roles(supervisor) == [Role.ACTIVE, Role.STANDBY]
    hosts = supervisor.hosts()
    await supervisor.lay_down(ACCOUNT)
    assert (world.serving, world.moves) == (set(), moves + 3)
    await asyncio.sleep(60)
    assert world.served == [ACCOUNT]
    assert supervisor.hosts() == hosts, "nothing was under way"
    supervisor.take_up(ACCOUNT)
    await asyncio.sleep(1)
    assert world.serving == {ACCOUNT}
    await supervisor.lay_down(AccountId("unknown"))
    with pytest.raises(NotFound):
        supervisor.take_up(AccountId("unknown"))
    await supervisor.stop()
    assert world.serving == set()


@virtual
async def test_a_send_that_is_under_way_when_it_is_laid_down_ends_with_its_host() -> None:
    world = Shared(sends=True)
    supervisor = await _linked(world)
    world.part.until = inf
    device = world.devices.last(Slot.PRIMARY)
    device.stalled_for = 30.0
    supervisor.take_up(ACCOUNT)
    await asyncio.sleep(0.5)
    await supervisor.lay_down(ACCOUNT)
    await asyncio.sleep(0.5)
    assert not device.alive
    assert device.sent == []
    assert world.devices.last(Slot.BACKUP).alive
    await supervisor.stop()


@virtual
async def test_the_host_is_told_until_when_a_send_may_begin_and_after_the_end_none_is_tried() -> None:
    world = Shared()
    supervisor = await _linked(world)
    ends: list[float] = []

    async def send(_chat: ChatId, _content: Content, _secret: bytes, _timeout: float, not_after: float) -> SendResult:
        ends.append(not_after)
        return SendResult(SendOutcome.ACCEPTED, "3EB0", 1)

    world.devices.last(Slot.PRIMARY).send = send  # type: ignore[method-assign,assignment]
    pair, now = supervisor.pair_of(ACCOUNT), asyncio.get_running_loop().time()
    world.part.until = now + 8.0
    await pair.send(Slot.PRIMARY, CHAT, Text("hello"), b"", 1.0)
    assert _roles(supervisor) == [Role.ACTIVE, Role.STANDBY]
    await asyncio.sleep(8.0)
    with pytest.raises(NotOnline):
        await pair.send(Slot.PRIMARY, CHAT, Text("hello"), b"", 1.0)
    assert ends == [now + 8.0]
    assert _roles(supervisor) == [Role.STANDBY, Role.STANDBY]
    await supervisor.stop()


@virtual
async def test_keys_are_fought_for_unless_a_copy_of_the_data_directory_may_run() -> None:
    """Whoever runs the account: a passive instance's devices are its own."""
    for copied, expected in ((True, False), (False, True)):
        world = Shared(part=TwinPart(-inf, copied=copied))
        supervisor = await _linked(world)
        world.devices.last(Slot.PRIMARY).says(signals.Replaced())
        await asyncio.sleep(60)
        started = [device for device in world.devices.started if device.spec.slot is Slot.PRIMARY]
        assert (len(started) > 1) is expected
        await supervisor.stop()


@virtual
async def test_an_account_from_elsewhere_gets_devices_here_and_offers_to_link_one() -> None:
    world = Shared()
    supervisor = world.supervisor()
    await supervisor.adopt(SHOP)
    await supervisor.adopt(SHOP)
    await asyncio.sleep(1)
    assert world.registry.accounts == {ACCOUNT: SHOP}
    assert world.devices.last(Slot.PRIMARY).spec.pairing
    assert [device.spec.slot for device in world.devices.started] == [Slot.PRIMARY]
    added = [text for name, text in world.events if name is EventType.ACCOUNT_ADDED]
    assert added == ["account added on another instance; link this instance's own devices"]
    assert (world.served, world.part.acts, supervisor.fitness()) == ([], [], {ACCOUNT: Fitness.UNLINKED})
    await supervisor.stop()


@virtual
async def test_a_new_account_is_made_known_first_and_served_when_its_lease_is_taken_up() -> None:
    world = Shared()
    supervisor = world.supervisor()
    world.part.refuses = True
    with pytest.raises(InstancePassive):
        await supervisor.add("Shop", NUMBER)
    assert (world.registry.accounts, supervisor.list(), world.events) == ({}, [], [])
    world.part.refuses = False
    await supervisor.add("Shop", NUMBER)
    await asyncio.sleep(1)
    assert world.part.acts == ["add Shop"]
    assert (world.served, world.stored) == ([], 0), "the account was stored before its lease was taken, by the part"
    await supervisor.stop()


@virtual
async def test_an_account_is_removed_only_if_all_instances_can_be_told() -> None:
    world = Shared()
    supervisor = await _linked(world)
    world.part.refuses = True
    with pytest.raises(InstancePassive):
        await supervisor.remove(ACCOUNT)
    assert not any(device.logged_out for device in world.devices.started)
    world.part.refuses = False
    await asyncio.gather(supervisor.remove(ACCOUNT), supervisor.remove_here(ACCOUNT))
    assert world.part.acts == [f"remove {ACCOUNT}"]
    assert all(device.logged_out for device in world.devices.started)
    assert world.names().count(EventType.ACCOUNT_REMOVED) == 1
    assert supervisor.list() == []


@virtual
async def test_what_was_deleted_elsewhere_is_unlinked_here_without_asking_anybody() -> None:
    world = Shared(part=TwinPart(refuses=True))
    supervisor = await _linked(world)
    await supervisor.remove_here(ACCOUNT)
    assert all(device.logged_out for device in world.devices.started)
    assert (world.registry.accounts, supervisor.list()) == ({}, [])
    with pytest.raises(NotFound):
        await supervisor.remove_here(ACCOUNT)


def _half(slot: Slot, *states: SessionState) -> TwinPart:
    told = SlotStanding(states[0], "as its instance says", DEVICE, 17.0) if states else None
    return TwinPart(slots=(slot,), others={slot.partner: ("the south", told)} if told else {})


@virtual
async def test_a_slot_that_another_instance_runs_is_shown_as_that_one_tells() -> None:
    world = Shared(part=_half(Slot.PRIMARY, SessionState.ONLINE))
    supervisor = await _linked(world, Slot.PRIMARY)
    view = supervisor.get(ACCOUNT)
    backup = view.slot(Slot.BACKUP)
    assert (backup.instance, backup.state, backup.role) == ("the south", SessionState.ONLINE, Role.STANDBY)
    assert (backup.device, backup.reason, backup.since) == (DEVICE, "as its instance says", 17.0)
    assert (view.slot(Slot.PRIMARY).instance, view.status) == ("", AccountStatus.ONLINE)
    assert [device.spec.slot for device in world.devices.started] == [Slot.PRIMARY]
    assert set(supervisor.pair_of(ACCOUNT).standings) == {Slot.PRIMARY}
    world.part.others.clear()
    view = supervisor.get(ACCOUNT)
    assert (view.slot(Slot.BACKUP).reason, view.slot(Slot.BACKUP).role) == ("no instance tells of it", Role.NONE)
    assert view.status is AccountStatus.DEGRADED
    await supervisor.stop()


@virtual
async def test_an_instance_that_runs_the_backup_alone_sends_by_it() -> None:
    world = Shared(part=_half(Slot.BACKUP))
    world.part.until = inf
    supervisor = await _linked(world, Slot.BACKUP)
    assert supervisor.pair_of(ACCOUNT).active is Slot.BACKUP
    assert _roles(supervisor) == [Role.NONE, Role.ACTIVE]
    await supervisor.stop()
    fresh = Shared(part=_half(Slot.BACKUP)).supervisor()
    await fresh.add("Shop", NUMBER)
    assert fresh.pair_of(ACCOUNT).active is Slot.BACKUP, "before any is linked too"
    await fresh.stop()


@virtual
async def test_a_slot_that_runs_elsewhere_cannot_be_linked_here_and_is_never_offered() -> None:
    world = Shared(part=_half(Slot.PRIMARY, SessionState.UNPAIRED))
    supervisor = world.supervisor()
    await supervisor.add("Shop", NUMBER)
    with pytest.raises(Conflict, match="does not run on this instance"):
        await supervisor.pair(ACCOUNT, Slot.BACKUP, PairMethod.QR)
    await asyncio.sleep(1)
    world.devices.scanned(Slot.PRIMARY)
    await asyncio.sleep(5)
    assert {device.spec.slot for device in world.devices.started} == {Slot.PRIMARY}
    await supervisor.stop()
