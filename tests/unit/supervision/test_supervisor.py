from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.devices import TwinDevice, TwinDevices
from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.errors import Conflict, NotFound, NotOnline
from tandem.model import signals
from tandem.model.account import Account, SlotRecord
from tandem.model.event import EventType
from tandem.model.ids import AccountId, ChatId, Number, account_id
from tandem.model.message import RawEvent
from tandem.model.outbox import SendOutcome, Text
from tandem.model.states import AccountStatus, Role, SessionState, Slot
from tandem.model.views import PairMethod
from tandem.policy.pairing import Limits as PairingLimits
from tandem.policy.session_machine import Limits
from tandem.supervision.account import Pair
from tandem.supervision.supervisor import Supervisor, SupervisorPorts

NUMBER = Number("+12025550123")
ACCOUNT = account_id(NUMBER)
PAIRING = PairingLimits()


class TwinRegistry:
    def __init__(self) -> None:
        self.accounts: dict[AccountId, Account] = {}
        self.slots: dict[tuple[AccountId, Slot], SlotRecord] = {}

    async def load(self) -> list[tuple[Account, list[SlotRecord]]]:
        return [
            (account, [record for (owner, _), record in self.slots.items() if owner == account.id])
            for account in self.accounts.values()
        ]

    async def save_account(self, account: Account) -> None:
        self.accounts[account.id] = account

    async def save_slot(self, record: SlotRecord) -> None:
        self.slots[record.account, record.slot] = record

    async def remove_account(self, account: AccountId) -> None:
        del self.accounts[account]


@dataclass
class World:
    devices: TwinDevices = field(default_factory=TwinDevices)
    registry: TwinRegistry = field(default_factory=TwinRegistry)
    events: list[tuple[EventType, str]] = field(default_factory=list)
    imported: list[RawEvent] = field(default_factory=list)
    served: list[AccountId] = field(default_factory=list)
    ended: list[AccountId] = field(default_factory=list)
    storing: float = 0.0
    limits: Limits = field(default_factory=Limits)

    def supervisor(self) -> Supervisor:
        ports = SupervisorPorts(
            devices=self.devices,
            registry=self.registry,  # type: ignore[arg-type]  # a twin
            publish=self._publish,
            clock=VirtualClock(),
            random=SeededRandom(),
            receive=lambda _event: None,
            import_leftover=self._import,
            serve=self._serve,
            save_account=self._stored,
        )
        return Supervisor(self.limits, ports, suspect_after=2.0, max_accounts=100, pairing_limits=PAIRING)

    def names(self) -> list[EventType]:
        return [name for name, _ in self.events]

    def _publish(self, type: EventType, message: str, **_rest: object) -> None:  # noqa: A002
        self.events.append((type, message))

    async def _import(self, events: Sequence[RawEvent]) -> None:
        self.imported += events

    async def _serve(self, pair: Pair) -> None:
        self.served.append(pair.account.id)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.3)
            self.ended.append(pair.account.id)

    async def _stored(self, account: Account) -> None:  # noqa: ARG002 - the port's
        await asyncio.sleep(self.storing)


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def wrapper() -> None:
        run_virtually(test())

    wrapper.__name__ = test.__name__
    return wrapper


async def _settle() -> None:
    await asyncio.sleep(1)


async def _linked(world: World, *slots: Slot) -> Supervisor:
    """An account with these slots (both, if none is named) linked and online."""
    slots = slots or tuple(Slot)
    for slot in slots:
        world.devices.paired[ACCOUNT, slot] = "12025550123:1@s.whatsapp.net"
    await world.registry.save_account(Account(ACCOUNT, NUMBER, "Shop", 0.0))
    supervisor = world.supervisor()
    await supervisor.prepare()
    supervisor.start()
    await _settle()
    for slot in slots:
        world.devices.last(slot).logs_in()
    await _settle()
    return supervisor


def _roles(supervisor: Supervisor) -> dict[Slot, Role]:
    return {slot.slot: slot.role for slot in supervisor.get(ACCOUNT).slots}


@virtual
async def test_both_slots_come_online_the_backup_after_the_primary() -> None:
    world = World()
    supervisor = await _linked(world)
    assert [device.spec.slot for device in world.devices.started] == [Slot.PRIMARY, Slot.BACKUP]
    assert supervisor.get(ACCOUNT).status is AccountStatus.ONLINE
    assert _roles(supervisor) == {Slot.PRIMARY: Role.ACTIVE, Slot.BACKUP: Role.STANDBY}
    assert EventType.BACKUP_CONNECTION_READY in world.names()
    assert world.served == [ACCOUNT]
    await supervisor.stop()


@virtual
async def test_it_ceases_to_send_before_any_device_is_disconnected() -> None:
    world = World()
    supervisor = await _linked(world)
    await supervisor.cease()
    assert world.ended == [ACCOUNT]
    assert supervisor.get(ACCOUNT).status is AccountStatus.ONLINE
    supervisor.take_up(ACCOUNT)
    await _settle()
    assert world.served == [ACCOUNT]
    await supervisor.stop()
    assert all(device.stopped_gently for device in world.devices.started)


@virtual
async def test_a_store_that_does_not_answer_delays_the_end_by_the_patience_and_no_more() -> None:
    world = World(storing=60.0)
    supervisor = world.supervisor()
    await supervisor.prepare()
    supervisor.start()
    await supervisor.add("Shop", NUMBER)
    await _settle()
    before = asyncio.get_running_loop().time()
    await supervisor.stop(1.0)
    assert asyncio.get_running_loop().time() - before < 3


@virtual
async def test_a_killed_primary_costs_no_time_and_comes_back_as_the_standby() -> None:
    world = World()
    supervisor = await _linked(world)
    before = asyncio.get_running_loop().time()
    world.devices.last(Slot.PRIMARY).dies()
    while _roles(supervisor)[Slot.BACKUP] is not Role.ACTIVE:
        await asyncio.sleep(0)
    assert asyncio.get_running_loop().time() == before
    await _settle()
    assert world.devices.last(Slot.PRIMARY).alive
    world.devices.last(Slot.PRIMARY).logs_in()
    await asyncio.sleep(3600)
    assert _roles(supervisor) == {Slot.PRIMARY: Role.STANDBY, Slot.BACKUP: Role.ACTIVE}
    sentences = [text for name, text in world.events if name is EventType.SWITCHED_TO_BACKUP]
    assert sentences == ["switched to backup: primary is waiting (killed), backup is online"]
    await supervisor.stop()


@virtual
async def test_late_news_of_an_old_generation_is_dropped() -> None:
    world = World()
    supervisor = await _linked(world)
    old = world.devices.last(Slot.PRIMARY)
    old.dies()
    await _settle()
    world.devices.last(Slot.PRIMARY).logs_in()
    await _settle()
    old.says(signals.LoggedOut("from the past", on_connect=False))
    await _settle()
    assert supervisor.get(ACCOUNT).slot(Slot.PRIMARY).state is SessionState.ONLINE
    await supervisor.stop()


@virtual
async def test_sending_goes_through_the_active_slot_and_refuses_when_there_is_none() -> None:
    world = World()
    supervisor = await _linked(world)
    pair = supervisor.pair_of(ACCOUNT)
    chat = ChatId("13035550100@s.whatsapp.net")
    assert (await pair.send(pair.active, chat, Text("hello"), b"", 1.0)).outcome is SendOutcome.ACCEPTED
    await supervisor.switch(ACCOUNT)
    await pair.send(pair.active, chat, Text("hello"), b"", 1.0)
    assert [len(world.devices.last(slot).sent) for slot in Slot] == [1, 1]
    for slot in Slot:
        world.devices.last(slot).says(signals.Disconnected())
    await asyncio.sleep(0.1)
    with pytest.raises(NotOnline):
        await pair.send(pair.active, chat, Text("hello"), b"", 1.0)
    await supervisor.stop()


@virtual
async def test_a_send_that_goes_unanswered_moves_the_role_after_two_seconds_and_still_waits_for_its_answer() -> None:
    world = World()
    supervisor = await _linked(world)
    world.devices.last(Slot.PRIMARY).stalled_for = 8.0
    pair = supervisor.pair_of(ACCOUNT)
    chat = ChatId("13035550100@s.whatsapp.net")
    sending = asyncio.create_task(pair.send(Slot.PRIMARY, chat, Text("hello"), b"", 10.0))
    await asyncio.sleep(1.9)
    assert _roles(supervisor)[Slot.PRIMARY] is Role.ACTIVE
    await asyncio.sleep(0.2)
    assert _roles(supervisor)[Slot.BACKUP] is Role.ACTIVE
    assert (await sending).outcome is SendOutcome.ACCEPTED
    await supervisor.stop()


@virtual
async def test_being_logged_out_is_remembered_over_a_restart_and_the_keys_are_set_aside() -> None:
    world = World()
    supervisor = await _linked(world)
    world.devices.last(Slot.PRIMARY).says(signals.LoggedOut("device removed", on_connect=False))
    await _settle()
    assert world.devices.quarantined == [(ACCOUNT, Slot.PRIMARY)]
    assert _roles(supervisor)[Slot.BACKUP] is Role.ACTIVE
    await supervisor.stop()
    count = len(world.devices.started)
    again = world.supervisor()
    await again.prepare()
    again.start()
    await asyncio.sleep(600)
    primary = again.get(ACCOUNT).slot(Slot.PRIMARY)
    assert (primary.state, primary.reason) == (SessionState.LOGGED_OUT, "device removed")
    assert {device.spec.slot for device in world.devices.started[count:]} == {Slot.BACKUP}
    await again.stop()


@virtual
async def test_the_primary_hears_receipts_and_the_backup_only_while_there_is_no_primary() -> None:
    world = World()
    supervisor = await _linked(world)
    assert [world.devices.last(slot).spec.receipts for slot in Slot] == [True, False]
    world.devices.last(Slot.BACKUP).dies()
    await _settle()
    assert world.devices.last(Slot.BACKUP).spec.receipts is False
    world.devices.last(Slot.PRIMARY).says(signals.LoggedOut("device removed", on_connect=False))
    await _settle()
    world.devices.last(Slot.BACKUP).dies()
    await asyncio.sleep(60)
    assert world.devices.last(Slot.BACKUP).spec.receipts is True
    await supervisor.stop()


@virtual
async def test_a_ban_outlives_a_restart_and_ends_by_itself() -> None:
    world = World()
    supervisor = await _linked(world)
    world.devices.last(Slot.PRIMARY).says(signals.Banned("101", 3600.0))
    await _settle()
    await supervisor.stop()
    again = world.supervisor()
    await again.prepare()
    again.start()
    await asyncio.sleep(1800)
    assert again.get(ACCOUNT).slot(Slot.PRIMARY).state is SessionState.BANNED
    await asyncio.sleep(1810)
    assert again.get(ACCOUNT).slot(Slot.PRIMARY).state is not SessionState.BANNED
    await again.stop()


@virtual
async def test_a_corrupt_key_store_is_set_aside_and_the_partner_goes_on() -> None:
    world = World()
    world.devices.broken.add((ACCOUNT, Slot.PRIMARY))
    supervisor = await _linked(world, Slot.BACKUP)
    assert world.devices.quarantined == [(ACCOUNT, Slot.PRIMARY)]
    view = supervisor.get(ACCOUNT)
    assert "corrupt" in view.slot(Slot.PRIMARY).reason
    assert view.slot(Slot.BACKUP).role is Role.ACTIVE
    await supervisor.stop()


@virtual
async def test_leftovers_are_durable_before_anything_connects() -> None:
    world = World()
    left = RawEvent(ACCOUNT, Slot.PRIMARY, 1, 7, 17, b"raw", 0.0)
    world.devices.journals[ACCOUNT, Slot.PRIMARY] = [left]
    await world.registry.save_account(Account(ACCOUNT, NUMBER, "Shop", 0.0))
    await world.supervisor().prepare()
    assert world.imported == [left]
    assert not world.devices.started
    assert not world.devices.journals


@virtual
async def test_adding_a_number_starts_pairing_and_adding_it_again_changes_nothing() -> None:
    world = World()
    supervisor = world.supervisor()
    view, new = await supervisor.add("Shop", NUMBER)
    assert new
    assert (await supervisor.add("Other name", NUMBER))[1] is False
    await _settle()
    device = world.devices.last(Slot.PRIMARY)
    assert device.spec.pairing
    device.says(signals.QrShown("fictional", 60.0))
    await _settle()
    pairing = supervisor.get(view.account.id).slot(Slot.PRIMARY).pairing
    assert pairing is not None
    assert pairing.text == "fictional"
    assert (await supervisor.pair(ACCOUNT, Slot.PRIMARY, PairMethod.QR))[1] is False
    world.devices.scanned(Slot.PRIMARY)
    await _settle()
    session = world.devices.last(Slot.PRIMARY)
    assert (session.spec.pairing, device.alive) == (False, False)
    session.logs_in()
    await _settle()
    slot = supervisor.get(ACCOUNT).slot(Slot.PRIMARY)
    assert (slot.state, slot.role, slot.pairing) == (SessionState.ONLINE, Role.ACTIVE, None)
    with pytest.raises(Conflict):
        await supervisor.pair(ACCOUNT, Slot.PRIMARY, PairMethod.QR)
    await supervisor.stop()


@virtual
async def test_a_pairing_nobody_scans_ends_and_can_be_started_again() -> None:
    world = World()
    supervisor = world.supervisor()
    await supervisor.add("Shop", NUMBER)
    await asyncio.sleep(PAIRING.window + 1)
    slot = supervisor.get(ACCOUNT).slot(Slot.PRIMARY)
    assert (slot.state, slot.pairing) == (SessionState.UNPAIRED, None)
    assert not world.devices.last(Slot.PRIMARY).alive
    assert (await supervisor.pair(ACCOUNT, Slot.PRIMARY, PairMethod.QR))[1]
    await supervisor.stop()


@virtual
async def test_removing_an_account_logs_both_devices_out_and_keeps_their_keys_aside() -> None:
    world = World()
    supervisor = await _linked(world)
    devices = [world.devices.last(slot) for slot in Slot]
    await supervisor.remove(ACCOUNT)
    assert all(device.logged_out for device in devices)
    told = [text for name, text in world.events if name in {EventType.SESSION_OFFLINE, EventType.ACCOUNT_REMOVED}]
    assert told == [
        "primary: logged out: the account was removed",
        "backup: logged out: the account was removed",
        "account removed; its conversations stay",
    ]
    assert not any("link it again" in text for _, text in world.events)
    assert not any(device.alive for device in devices)
    assert {slot for _, slot in world.devices.quarantined} == set(Slot)
    with pytest.raises(NotFound):
        supervisor.get(ACCOUNT)


@virtual
async def test_stopping_disconnects_and_never_logs_out() -> None:
    world = World()
    supervisor = await _linked(world)
    devices = [world.devices.last(slot) for slot in Slot]
    await supervisor.stop()
    assert all(device.stopped_gently and not device.logged_out for device in devices)


@virtual
async def test_hosts_that_do_not_come_up_are_tried_again_without_end() -> None:
    world = World()
    world.devices.refuse = True
    world.devices.paired[ACCOUNT, Slot.PRIMARY] = "12025550123:1@s.whatsapp.net"
    await world.registry.save_account(Account(ACCOUNT, NUMBER, "Shop", 0.0))
    supervisor = world.supervisor()
    await supervisor.prepare()
    supervisor.start()
    await asyncio.sleep(3600)
    world.devices.refuse = False
    await asyncio.sleep(61)
    assert isinstance(world.devices.last(Slot.PRIMARY), TwinDevice)
    await supervisor.stop()


@virtual
async def test_a_quiet_year_makes_no_failover_and_no_restart() -> None:
    world = World()
    supervisor = await _linked(world)
    count = len(world.events)
    await asyncio.sleep(365 * 86400)
    assert len(world.events) == count
    assert len(world.devices.started) == 2
    await supervisor.stop()
