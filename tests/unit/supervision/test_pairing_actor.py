"""Pairing through the real supervisor on virtual time: whole windows, failing processes, cancelling, number forms."""

from __future__ import annotations

import asyncio

import pytest

from support.devices import TwinDevice
from tandem.errors import NotFound, TooSoon
from tandem.model import signals
from tandem.model.event import EventType
from tandem.model.ids import Number, account_id
from tandem.model.states import SessionState, Slot
from tandem.model.views import PairMethod, SlotView
from tandem.supervision.supervisor import Supervisor
from unit.supervision.test_supervisor import ACCOUNT, NUMBER, PAIRING, World, virtual

QR = signals.QrShown("fictional", 20.0)


def _slot(supervisor: Supervisor, slot: Slot = Slot.PRIMARY) -> SlotView:
    return supervisor.get(ACCOUNT).slot(slot)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _added(world: World) -> Supervisor:
    """An account whose primary is offered; its process has just started."""
    supervisor = world.supervisor()
    await supervisor.add("Shop", NUMBER)
    await asyncio.sleep(1)
    return supervisor


async def _show(device: TwinDevice, texts: int = 6) -> None:
    """Show as many texts as WhatsApp gives a process, 20 s each; then it ends."""
    for _ in range(texts):
        device.says(QR)
        await asyncio.sleep(20)
    device.dies(0, "its texts have run out")
    await asyncio.sleep(0.1)


def _processes(world: World, slot: Slot = Slot.PRIMARY) -> list[TwinDevice]:
    return [device for device in world.devices.started if device.spec.slot is slot and device.spec.pairing]


@virtual
async def test_fresh_processes_show_fresh_texts_until_the_window_ends() -> None:
    world = World()
    began = _now()
    supervisor = await _added(world)
    while _slot(supervisor).pairing is not None:
        device = world.devices.last(Slot.PRIMARY)
        assert device.alive
        await _show(device)
    assert PAIRING.window <= _now() - began <= PAIRING.window + 21
    assert len(_processes(world)) == 5
    assert not any(device.alive for device in _processes(world))
    assert _slot(supervisor).reason == "nobody linked the device within the time for it"
    assert "again" in _slot(supervisor).next_step
    assert world.names().count(EventType.PAIRING_FAILED) == 1
    await supervisor.stop()


@virtual
async def test_at_most_one_process_lives_at_a_time() -> None:
    world = World()
    supervisor = await _added(world)
    for _ in range(3):
        assert sum(device.alive for device in _processes(world)) == 1
        await _show(world.devices.last(Slot.PRIMARY))
    await supervisor.stop()


@virtual
async def test_a_process_that_dies_early_is_followed_after_a_growing_pause() -> None:
    world = World()
    supervisor = await _added(world)
    pauses = []
    for _ in range(3):
        world.devices.last(Slot.PRIMARY).dies()
        died, known = _now(), len(world.devices.started)
        while len(world.devices.started) == known:
            await asyncio.sleep(0.05)
        pauses.append(round(_now() - died))
    assert pauses == [1, 2, 4]
    assert _slot(supervisor).pairing is not None
    await supervisor.stop()


@virtual
async def test_five_failures_in_a_row_end_it_with_their_cause() -> None:
    world = World()
    supervisor = await _added(world)
    for _ in range(5):
        assert _slot(supervisor).pairing is not None
        world.devices.last(Slot.PRIMARY).dies(-9, "killed by signal 9")
        await asyncio.sleep(PAIRING.pause_max + 1)
    slot = _slot(supervisor)
    assert (slot.state, slot.pairing, slot.reason) == (SessionState.UNPAIRED, None, "killed by signal 9")
    assert slot.next_step
    assert len(_processes(world)) == 5
    await asyncio.sleep(3600)
    assert len(_processes(world)) == 5
    await supervisor.stop()


@virtual
async def test_a_process_that_showed_a_text_for_a_while_makes_the_failures_before_it_forgotten() -> None:
    world = World()
    supervisor = await _added(world)
    for _ in range(4):
        world.devices.last(Slot.PRIMARY).dies()
        await asyncio.sleep(PAIRING.pause_max + 1)
    await _show(world.devices.last(Slot.PRIMARY), texts=1)
    for _ in range(4):
        world.devices.last(Slot.PRIMARY).dies()
        await asyncio.sleep(PAIRING.pause_max + 1)
    assert _slot(supervisor).pairing is not None
    await supervisor.stop()


@virtual
async def test_cancelling_ends_the_process_and_says_so_once() -> None:
    world = World()
    supervisor = await _added(world)
    world.devices.last(Slot.PRIMARY).says(QR)
    await supervisor.cancel_pairing(ACCOUNT, Slot.PRIMARY)
    await asyncio.sleep(1)
    assert (_slot(supervisor).state, _slot(supervisor).pairing) == (SessionState.UNPAIRED, None)
    assert not world.devices.last(Slot.PRIMARY).alive
    assert world.names().count(EventType.PAIRING_CANCELLED) == 1
    with pytest.raises(NotFound):
        await supervisor.cancel_pairing(ACCOUNT, Slot.PRIMARY)
    assert EventType.PAIRING_FAILED not in world.names()
    await supervisor.stop()


@virtual
async def test_a_scan_in_the_instant_of_the_cancel_is_kept() -> None:
    world = World()
    supervisor = await _added(world)
    world.devices.last(Slot.PRIMARY).says(QR)
    world.devices.paired[ACCOUNT, Slot.PRIMARY] = "12025550123:1@s.whatsapp.net"
    await supervisor.cancel_pairing(ACCOUNT, Slot.PRIMARY)
    await asyncio.sleep(1)
    assert _slot(supervisor).device == "12025550123:1@s.whatsapp.net"
    assert EventType.PAIRING_SUCCEEDED in world.names()
    await supervisor.stop()


@virtual
async def test_asking_twice_is_one_pairing_and_another_method_waits_its_turn() -> None:
    world = World()
    supervisor = await _added(world)
    first, new = await supervisor.pair(ACCOUNT, Slot.BACKUP, PairMethod.QR)
    again, fresh = await supervisor.pair(ACCOUNT, Slot.BACKUP, PairMethod.QR)
    assert (new, fresh, first.deadline) == (True, False, again.deadline)
    with pytest.raises(TooSoon) as refusal:
        await supervisor.pair(ACCOUNT, Slot.BACKUP, PairMethod.CODE)
    assert 0 < refusal.value.retry_after <= PAIRING.restart_gap
    await asyncio.sleep(PAIRING.restart_gap)
    assert (await supervisor.pair(ACCOUNT, Slot.BACKUP, PairMethod.CODE))[1]
    await asyncio.sleep(1)
    world.devices.last(Slot.BACKUP).says(QR)
    await asyncio.sleep(1)
    pairing = _slot(supervisor, Slot.BACKUP).pairing
    assert pairing is not None
    assert (pairing.method, pairing.text) == (PairMethod.CODE, "ABCD-EFGH")
    await supervisor.stop()


@virtual
async def test_the_second_slot_is_offered_by_itself_and_the_first_is_left_alone() -> None:
    world = World()
    supervisor = await _added(world)
    world.devices.last(Slot.PRIMARY).says(QR)
    world.devices.scanned(Slot.PRIMARY)
    await asyncio.sleep(1)
    session = world.devices.last(Slot.PRIMARY)
    session.logs_in()
    await asyncio.sleep(1)
    pairing = _slot(supervisor, Slot.BACKUP).pairing
    assert pairing is not None
    assert pairing.method is PairMethod.QR
    await asyncio.sleep(PAIRING.window + 60)  # nobody scans the second one
    assert _slot(supervisor, Slot.BACKUP).pairing is None
    assert (session.alive, _slot(supervisor).state) == (True, SessionState.ONLINE)
    await supervisor.stop()


@virtual
async def test_a_phone_that_links_by_code_is_offered_no_qr_for_the_second_slot() -> None:
    world = World()
    supervisor = await _added(world)
    await supervisor.pair(ACCOUNT, Slot.PRIMARY, PairMethod.CODE)
    await asyncio.sleep(1)
    world.devices.last(Slot.PRIMARY).says(QR)
    await asyncio.sleep(1)
    world.devices.scanned(Slot.PRIMARY)
    await asyncio.sleep(1)
    assert _slot(supervisor).device
    assert _slot(supervisor, Slot.BACKUP).pairing is None
    await supervisor.stop()


@pytest.mark.parametrize(
    ("number", "user"),
    [
        ("+5511912345678", "551112345678"),  # Brazil without its ninth digit
        ("+525512345678", "5215512345678"),  # Mexico with the old mobile digit
        ("+5491123456789", "541123456789"),  # Argentina without it
        ("+12025550123", "12025550123"),
    ],
)
def test_the_forms_of_a_number_that_whatsapp_keeps_are_the_same_phone(number: str, user: str) -> None:
    @virtual
    async def scenario() -> None:
        world, account = World(), account_id(Number(number))
        supervisor = world.supervisor()
        await supervisor.add("Shop", Number(number))
        await asyncio.sleep(1)
        world.devices.scanned(Slot.PRIMARY, f"{user}:1@s.whatsapp.net")
        await asyncio.sleep(1)
        assert supervisor.get(account).slot(Slot.PRIMARY).device == f"{user}:1@s.whatsapp.net"
        assert not world.devices.quarantined
        await supervisor.stop()

    scenario()


@virtual
async def test_another_number_is_refused_and_its_keys_are_set_aside() -> None:
    world = World()
    supervisor = await _added(world)
    world.devices.scanned(Slot.PRIMARY, "12025550199:1@s.whatsapp.net")
    await asyncio.sleep(1)
    slot = _slot(supervisor)
    assert (slot.device, slot.pairing) == ("", None)
    assert "another number" in slot.reason
    assert world.devices.quarantined == [(ACCOUNT, Slot.PRIMARY)]
    assert "12025550199" not in str(world.events)
    await supervisor.stop()
