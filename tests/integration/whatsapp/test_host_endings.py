from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from integration.whatsapp.host_stage import (
    ACCOUNT,
    CONTACT,
    NUMBER,
    SETTINGS,
    Session,
    Stage,
    alive,
    wait_until_gone,
)
from tandem.errors import DataUnusable, Misconfigured, NotOnline
from tandem.model import signals
from tandem.model.message import DecodedMessage
from tandem.model.states import Slot
from tandem.whatsapp.decode import decode
from tandem.whatsapp.exits import ExitCode
from tandem.whatsapp.factory import HostFactory
from tandem.whatsapp.options import EmulatorEndpoint
from tandem.whatsapp.port import DeviceSpec

PARENT = Path(__file__).with_name("lone_parent.py")


async def test_a_killed_host_leaves_its_journal_and_comes_back(stage: Stage) -> None:
    session = await stage.online(Slot.PRIMARY)
    for text in ("one", "two"):
        await stage.emulator.send(CONTACT, NUMBER, text)
    first, _ = await session.message("one")
    await session.message("two")
    session.device.acknowledge(first.sequence)
    await session.device.probe(5.0)  # the acknowledgement went before it
    os.kill(session.device.pid, 9)
    assert await session.gone() == signals.HostEnded(-9, "killed by SIGKILL")
    (left,) = stage.factory.leftover(ACCOUNT, Slot.PRIMARY)
    message = decode(left)
    assert isinstance(message, DecodedMessage)
    assert message.text == "two"

    began = time.monotonic()
    again = await stage.online(Slot.PRIMARY)
    print(f"kill -9 to online again: {time.monotonic() - began:.3f} s")
    assert again.device.facts.leftover == 1
    replayed, _ = await again.message("two")
    assert replayed.sequence == left.sequence
    await stage.emulator.send(CONTACT, NUMBER, "three")
    later, _ = await again.message("three")
    assert later.sequence > left.sequence


async def test_a_stopped_host_ends_within_its_grace_and_stays_linked(stage: Stage) -> None:
    session = await stage.online(Slot.PRIMARY)
    began = time.monotonic()
    await session.device.stop()
    seconds = time.monotonic() - began
    print(f"stop: {seconds * 1000:.0f} ms")
    assert seconds < SETTINGS.stop_grace
    assert await session.gone() == signals.HostEnded(ExitCode.STOPPED, "stopped as asked")
    assert stage.factory.paired_device(ACCOUNT, Slot.PRIMARY)
    await stage.online(Slot.PRIMARY)


async def test_a_logged_out_device_is_gone_from_the_store(stage: Stage) -> None:
    session = await stage.online(Slot.BACKUP)
    await session.device.logout(10.0)
    await session.device.stop()
    assert stage.factory.paired_device(ACCOUNT, Slot.BACKUP) == ""


async def test_no_host_outlives_its_daemon(stage: Stage, tmp_path: Path) -> None:
    arguments = [str(tmp_path / "data"), str(stage.emulator.port), stage.emulator.root_key.hex(), NUMBER]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, str(PARENT), *arguments, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    async with asyncio.timeout(20):
        host = int(json.loads(await parent.stdout.readline())["pid"])
    assert alive(host)
    parent.kill()
    await parent.wait()
    seconds = await asyncio.to_thread(wait_until_gone, host, 2.0)
    print(f"the host ended {seconds * 1000:.0f} ms after its daemon was killed")
    await stage.online(Slot.PRIMARY)


async def test_a_second_host_on_one_key_store_is_refused(stage: Stage) -> None:
    first = await stage.online(Slot.PRIMARY)
    with pytest.raises(NotOnline, match="another process holds this key store"):
        await stage.begin(Slot.PRIMARY)
    assert await first.device.probe(5.0) > 0


async def test_an_unlinked_key_store_is_refused(stage: Stage, tmp_path: Path) -> None:
    elsewhere = Stage(stage.emulator, tmp_path / "elsewhere")
    with pytest.raises(DataUnusable, match="no linked device"):
        await elsewhere.begin(Slot.PRIMARY)
    with closing(sqlite3.connect(stage.file(Slot.PRIMARY, ".db"))) as store:
        store.execute("DELETE FROM whatsmeow_device")
        store.commit()
    with pytest.raises(DataUnusable, match="no linked device"):
        await stage.begin(Slot.PRIMARY)
    assert not elsewhere.sessions[0].news


async def test_a_damaged_key_store_is_refused(stage: Stage) -> None:
    for suffix in (".db-wal", ".db-shm"):
        stage.file(Slot.PRIMARY, suffix).unlink(missing_ok=True)
    stage.file(Slot.PRIMARY, ".db").write_bytes(b"nothing that SQLite knows" * 400)
    with pytest.raises(DataUnusable, match="cannot be read"):
        await stage.begin(Slot.PRIMARY)


@pytest.mark.parametrize(("port", "key"), [(0, bytes(32)), (9, bytes(31))])
async def test_a_host_that_cannot_be_redirected_never_connects(linked: Path, port: int, key: bytes) -> None:
    factory = HostFactory(linked / "data", SETTINGS, EmulatorEndpoint(port, key))
    session = Session(Slot.PRIMARY)
    with pytest.raises(Misconfigured, match="not redirected"):
        await factory.start(DeviceSpec(ACCOUNT, Slot.PRIMARY, 1), session.listener())
    assert session.news == []


async def test_a_server_that_is_not_there_ends_the_host(stage: Stage) -> None:
    await stage.emulator.stop()
    session = await stage.begin(Slot.PRIMARY)
    ended = await session.gone()
    assert ended.code == ExitCode.DIAL_FAILED
    assert "WhatsApp could not be reached" in ended.reason


async def test_a_receipt_the_library_cannot_express_takes_one_slot_not_both(stage: Stage) -> None:
    primary, backup = await stage.online(Slot.PRIMARY), await stage.online(Slot.BACKUP)
    await stage.fault(kind="unknown_receipt", type="view")
    ended = await primary.gone()
    assert ended.code == ExitCode.POISONED
    assert await backup.device.probe(5.0) > 0
    await stage.emulator.send(CONTACT, NUMBER, "still here?")
    await backup.message("still here?")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "device_removed"}, signals.LoggedOut("the device was unlinked on the phone", on_connect=False)),
        ({"kind": "conflict"}, signals.Replaced()),
    ],
    ids=["removed", "replaced"],
)
async def test_what_the_server_says_while_online_is_told(
    stage: Stage, fault: dict[str, object], expected: signals.Signal
) -> None:
    session = await stage.online(Slot.PRIMARY)
    await stage.fault(**fault)
    assert await session.signal(type(expected)) == expected
    (left,) = stage.factory.leftover(ACCOUNT, Slot.PRIMARY)
    assert decode(left) == expected
    await session.device.stop()
    assert stage.factory.leftover(ACCOUNT, Slot.PRIMARY) == []


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"reason": 401}, signals.LoggedOut("the device was unlinked on the phone", on_connect=True)),
        ({"reason": 403}, signals.LoggedOut("the phone's WhatsApp was logged out or re-registered", on_connect=True)),
        ({"reason": 402, "code": 102, "expire": 60}, signals.Banned("blocked by too many people", 60.0)),
        ({"reason": 402, "code": 105, "expire": 60}, signals.Banned("105", 60.0)),
        ({"reason": 405}, signals.Outdated()),
        ({"reason": 409}, signals.ConnectFailed("WhatsApp refuses how the library presents itself")),
        ({"reason": 418}, signals.ConnectFailed("WhatsApp refused the login for an unknown reason")),
    ],
    ids=["401", "403", "402", "402-unknown", "405", "409", "418"],
)
async def test_why_a_login_was_refused_is_told(
    stage: Stage, fault: dict[str, object], expected: signals.Signal
) -> None:
    await stage.fault(kind="login_failure", **fault)
    session = await stage.begin(Slot.PRIMARY)
    assert await session.signal(type(expected)) == expected


async def test_a_login_failure_on_which_the_library_crashes_costs_the_host_only(stage: Stage) -> None:
    await stage.fault(kind="login_failure", reason=414)
    session = await stage.begin(Slot.PRIMARY)
    ended = await session.gone()
    assert ended.code == -6
    assert "on which the library crashes" in ended.reason
    assert any(source == "stderr" and "panic" in text for _, source, text in stage.lines)


async def test_a_dial_that_hangs_for_ever_does_not_delay_the_end(stage: Stage) -> None:
    stage.emulator.clients.begin_fault({"kind": "hang_upgrade"})
    session = await stage.begin(Slot.PRIMARY)
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await session.device.stop()
    assert time.monotonic() - began < SETTINGS.stop_grace + 0.5
