"""The production incidents of the system before this one, and what shows that they cannot happen here.

Numbers are those of the list of 20; the words are what happened there. ``SHOWN_BY`` names a test for each that concerns
connections; those that no other test showed are below, on one stage that they share, in this order.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import structlog

from support.devices import TwinDevice, TwinDevices
from tandem.demo.options import DemoOptions
from tandem.demo.processes import free_port
from tandem.demo.scene import Actor, Scene
from tandem.model.account import Account
from tandem.model.ids import Number, account_id
from tandem.model.states import SessionState, Slot
from tandem.whatsapp.port import DeviceListener, DeviceSpec
from unit.supervision.test_supervisor import World, virtual

pytestmark = pytest.mark.timeout(180)
on_stage = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).parents[2]
HERE = "incidents/test_seed_incidents.py::"

SHOWN_BY: Mapping[str, tuple[str, ...]] = {
    "1 redeploy: all sessions stuck for ever": (
        f"{HERE}test_01_a_redeploy_brings_every_session_back_in_time",
        "unit/policy/test_session_machine.py::test_the_passing_of_every_deadline_leads_somewhere",
    ),
    "2 closing is logging out": (
        f"{HERE}test_02_nothing_but_deleting_an_account_logs_out",
        "unit/supervision/test_supervisor.py::test_stopping_disconnects_and_never_logs_out",
    ),
    "4 one rejected promise killed 17 accounts": (f"{HERE}test_04_a_defect_in_one_account_hurts_no_other",),
    "5 Firestore slowness stalls WhatsApp": (f"{HERE}test_05_a_store_that_never_answers_delays_no_failover",),
    "6 unstable account ids": (
        f"{HERE}test_06_a_number_added_again_however_written_is_the_same_account_undisturbed",
        "unit/model/test_ids.py::test_an_account_id_is_stable_and_shows_no_number",
    ),
    "7 the 401 loop": (
        f"{HERE}test_07_logged_out_means_no_login_any_more_and_everything_kept",
        "unit/supervision/test_supervisor.py::test_being_logged_out_is_remembered_over_a_restart_and_the_keys_are_set_aside",
    ),
    "8 passive for ever (what is not leases)": (f"{HERE}test_11_health_neither_kills_nor_lies",),
    "10 ephemeral disk": (
        "integration/test_refusals.py::test_a_data_directory_off_the_volume_on_railway",
        "integration/test_refusals.py::test_a_data_directory_that_cannot_be_written",
    ),
    "11 health checks that kill or lie": (f"{HERE}test_11_health_neither_kills_nor_lies",),
    "13 deadlocks and double sockets": (
        f"{HERE}test_13_many_commands_at_once_leave_one_host_a_slot_and_no_conflict",
        "unit/supervision/test_supervisor.py::test_late_news_of_an_old_generation_is_dropped",
    ),
    "14 connected but deaf": (
        "integration/test_vitals.py::test_a_deaf_slot_is_found_by_its_partner_and_started_afresh",
        "unit/supervision/test_supervisor.py::test_a_quiet_year_makes_no_failover_and_no_restart",
    ),
    "15 gap during downtime": (
        f"{HERE}test_15_what_came_while_nobody_was_online_is_stored_and_the_gap_is_told",
        "unit/supervision/test_outage_keeper.py::test_offline_messages_announced_are_part_of_the_outage",
    ),
    "20 evidence theatre: the watchdog that stopped a healthy process": (
        "integration/test_daemon_watchdog.py::test_a_process_that_was_suspended_goes_on",
        "integration/test_daemon_watchdog.py::test_heavy_load_that_moves_is_not_a_fault",
        "integration/test_daemon_watchdog.py::test_a_stuck_loop_ends_the_process_with_all_stacks_in_the_log",
        "unit/monitoring/test_watchdog.py::test_an_idle_loop_is_healthy",
    ),
    "boot storm of 30 accounts": (
        "unit/policy/test_fleet.py::test_sixty_logins_at_once_take_turns_and_are_through_within_seven_seconds",
    ),
    "orphan session folders deleted at boot": (f"{HERE}test_orphan_session_folders_stay",),
    "which accounts to restore": (f"{HERE}test_every_account_is_restored_whatever_its_state",),
    "self-exit, until the platform gives up": (f"{HERE}test_the_platform_restarts_without_end",),
}
"""Incident → the tests that show it. 3, 9, 16 … 19 concern no connection; 12 stands with the pairing's tests."""

STRANGER = "+12025550177"
UP_AGAIN = 20.0  # generous: other processes want these cores, too


@dataclass
class Redeploy:
    """What was there before a kill -9, and after the next start."""

    before: list[Mapping[str, Any]]
    after: list[Mapping[str, Any]]
    seconds: float
    orphan: Path


@dataclass
class Stage:
    scene: Scene
    redeploy: Redeploy
    killed: list[int] = field(default_factory=list)

    @property
    def first(self) -> Actor:
        return self.scene.actors[0]

    @property
    def second(self) -> Actor:
        return self.scene.actors[1]

    async def account(self, actor: Actor) -> Mapping[str, Any]:
        answer = await self.scene.tandem.call("GET", f"/api/whatsapp/account/{actor.account}")
        account: Mapping[str, Any] = answer["account"]
        return account

    async def online(self, *actors: Actor) -> None:
        """Wait until both slots of these are online."""
        for actor in actors:
            for slot in ("primary", "backup"):
                await self.scene.tandem.wait_for_slot(actor.account, slot, "online", UP_AGAIN)

    async def stanzas(self) -> list[Mapping[str, Any]]:
        answer = await self.scene.emulator.call("GET", "/control/transcript?limit=5000")
        return list(answer["stanzas"])

    def stored(self) -> list[str]:
        with sqlite3.connect(f"file:{self.scene.data}/store.db?mode=ro", uri=True) as database:
            return [text for (text,) in database.execute("SELECT text FROM messages ORDER BY seq")]

    def hosts(self, actor: Actor) -> list[tuple[str, int]]:
        return sorted((host.slot, host.pid) for host in self.scene.daemon.hosts() if host.account == actor.account)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    """Two linked accounts and one that nobody ever linked, after the daemon was killed and started again."""
    async with Scene(DemoOptions(accounts=2), lambda _sentence: None) as scene:
        await scene.link_everybody()
        await scene.tandem.add_account("Never linked", STRANGER)
        orphan = scene.data / "sessions" / ("f" * 16)
        orphan.mkdir()
        (orphan / "primary.db").write_bytes(b"keys of an account that nobody knows")
        before = list(await scene.tandem.accounts())
        await scene.daemon.child.end(signal.SIGKILL)
        began = time.monotonic()
        await scene.restart_daemon()
        for actor in scene.actors:
            for slot in ("primary", "backup"):
                await scene.tandem.wait_for_slot(actor.account, slot, "online", UP_AGAIN)
        seconds = time.monotonic() - began
        yield Stage(scene, Redeploy(before, list(await scene.tandem.accounts()), seconds, orphan))


async def _until(condition: Callable[[], Awaitable[bool]], patience: float = UP_AGAIN) -> None:
    ends = time.monotonic() + patience
    while not await condition():
        assert time.monotonic() < ends, "waited in vain"
        await asyncio.sleep(0.05)


def test_every_incident_names_a_test_that_is_there() -> None:
    """Incident 20: a document that proves things with code that never runs."""
    named = [name for names in SHOWN_BY.values() for name in names]
    for name in named:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / "tests" / path).read_text())
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert function in defined, name
    here = set(re.findall(r"def (test_\w+)\(", Path(__file__).read_text()))
    assert {name.removeprefix(HERE) for name in named if name.startswith(HERE)} == here - {
        "test_every_incident_names_a_test_that_is_there"
    }


@on_stage
async def test_01_a_redeploy_brings_every_session_back_in_time(stage: Stage) -> None:
    """There: credentials restored, nothing connected, no timeout, no alert. Here: all online, seconds after."""
    print(f"kill -9 to every slot online again: {stage.redeploy.seconds:.2f} s")
    assert stage.redeploy.seconds < UP_AGAIN
    for actor in (stage.first, stage.second):
        account = await stage.account(actor)
        assert [slot["state"] for slot in account["slots"]] == ["online", "online"]
        [outage] = account["outages"]
        assert outage["cause"] == "the daemon was not running: it was killed or crashed"


@on_stage
async def test_every_account_is_restored_whatever_its_state(stage: Stage) -> None:
    """There: five contradictory rules in three weeks. Here: every account, the unlinked one too."""
    before, after = stage.redeploy.before, stage.redeploy.after
    assert [account["id"] for account in after] == [account["id"] for account in before]
    assert [account["name"] for account in after][-1] == "Never linked"


@on_stage
async def test_orphan_session_folders_stay(stage: Stage) -> None:
    """There: folders that no account was known for were deleted at boot, and with them live sessions."""
    assert (stage.redeploy.orphan / "primary.db").read_bytes() == b"keys of an account that nobody knows"


def test_the_platform_restarts_without_end() -> None:
    """There: the service stayed down after its tenth exit. Here: always restarted, and only a stuck loop exits."""
    assert tomllib.loads((ROOT / "railway.toml").read_text())["deploy"]["restartPolicyType"] == "ALWAYS"
    sources = (ROOT / "src" / "tandem").rglob("*.py")
    daemon_rooms = (path for path in sources if not {"cli", "demo", "whatsapp"} & {*path.parts})
    exits = [path.name for path in daemon_rooms if re.search(r"os\._exit|sys\.exit\(", path.read_text())]
    assert sorted(exits) == ["daemon.py", "watchdog.py"]  # the second signal; the stuck loop


class Defective(TwinDevices):
    """Starting the hosts of one account fails in a way that nobody has thought of."""

    sick = account_id(Number("+12025550199"))

    async def start(self, spec: DeviceSpec, listener: DeviceListener) -> TwinDevice:
        if spec.account.id == self.sick:
            raise ZeroDivisionError
        return await super().start(spec, listener)


@virtual
async def _a_defect() -> None:
    world = World(devices=Defective())
    numbers = [Number("+12025550198"), Number("+12025550199")]
    for number in numbers:
        for slot in Slot:
            world.devices.paired[account_id(number), slot] = f"{number[1:]}:1@s.whatsapp.net"
        await world.registry.save_account(Account(account_id(number), number, "Shop", 0.0))
    supervisor = world.supervisor()
    await supervisor.prepare()
    supervisor.start()
    await asyncio.sleep(5)
    for device in world.devices.started:
        device.logs_in()
    await asyncio.sleep(3600)
    healthy = supervisor.get(account_id(numbers[0]))
    assert [slot.state for slot in healthy.slots] == [SessionState.ONLINE, SessionState.ONLINE]
    assert not any(slot.state.connected for slot in supervisor.get(Defective.sick).slots)
    assert len(world.devices.started) == 2
    await supervisor.stop()


def test_04_a_defect_in_one_account_hurts_no_other() -> None:
    """There: one rejected promise ended the process and 17 accounts. Here: an exception costs its own slot."""
    with structlog.testing.capture_logs() as lines:
        _a_defect()
    failures = [line for line in lines if line["log_level"] == "error"]
    assert {line["account"] for line in failures} == {Defective.sick}


@on_stage
async def test_05_a_store_that_never_answers_delays_no_failover() -> None:
    """There: DEADLINE_EXCEEDED after 70 s took the sockets down. Here: Firestore hangs, and the role moves at once."""
    port, asked = free_port(), 0

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                pass
        writer.close()

    hanging = await asyncio.start_server(never, "127.0.0.1", port)
    environment = {
        "TANDEM_STORE": "firestore",
        "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{port}",
        "TANDEM_FIRESTORE__PROJECT": "demo-hanging",
    }
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None, environment) as scene:
        await scene.link_everybody()
        actor = scene.actors[0]
        await scene.emulator.write(actor.contact, actor.number, "waits for the store")
        await asyncio.sleep(0.5)
        moves, killed = len(scene.log.moves), time.time()
        for host in scene.daemon.hosts():
            if host.slot == scene.log.active.get(actor.account, "primary"):
                os.kill(host.pid, signal.SIGKILL)

        async def moved() -> bool:
            return len(scene.log.moves) > moves

        await _until(moved, 5.0)
        print(f"role moved after {(scene.log.moves[-1].at - killed) * 1000:.0f} ms while the store hung")
        assert scene.log.moves[-1].at - killed < 1.0
        await scene.everybody_online()
        figures = (await scene.tandem.call("GET", "/api/metrics"))["metrics"]
        assert figures["queueSize"] == 1
        assert asked, "the store was never asked"
    hanging.close()


@on_stage
async def test_06_a_number_added_again_however_written_is_the_same_account_undisturbed(stage: Stage) -> None:
    """There: an id from the time of day, so a new folder and a 401 for each add. Here: a digest of the number."""
    before = await stage.account(stage.first)
    digits = stage.first.number.removeprefix("+1")
    for written in (f"+1 ({digits[:3]}) {digits[3:6]}-{digits[6:]}", f"001{digits}"):
        with contextlib.suppress(aiohttp.ClientResponseError):  # what is no number is refused, which adds nothing
            assert await stage.scene.tandem.add_account("Another name", written) == stage.first.account
    assert stage.first.account == account_id(Number(stage.first.number))
    after = await stage.account(stage.first)
    assert [slot["generation"] for slot in after["slots"]] == [slot["generation"] for slot in before["slots"]]
    assert len(await stage.scene.tandem.accounts()) == 3


@on_stage
async def test_15_what_came_while_nobody_was_online_is_stored_and_the_gap_is_told(stage: Stage) -> None:
    """There: history ignored, then four mechanisms. Here: offline messages awaited, stored once, the gap published."""
    scene, actor = stage.scene, stage.first
    known = len((await stage.account(actor))["outages"])
    await scene.emulator.fault("refuse", seconds=3)
    await scene.emulator.fault("drop", number=actor.number)

    async def out() -> bool:
        return (await stage.account(actor))["outage"] is not None

    await _until(out)
    texts = [f"while nobody was there {number}" for number in range(5)]
    for text in texts:
        await scene.emulator.write(actor.contact, actor.number, text)

    async def told() -> bool:
        outages = (await stage.account(actor))["outages"]
        return len(outages) > known and outages[0]["recovered"] is not None

    await _until(told)
    last = (await stage.account(actor))["outages"][0]
    assert last["recovered"] == 5
    assert "primary is" in last["cause"]
    [gap] = (await scene.tandem.call("GET", f"/api/events?type=gap&limit=1&account={actor.account}"))["events"]
    assert (gap["data"]["from"], gap["data"]["to"], gap["data"]["recovered"]) == (last["from"], last["to"], 5)

    async def stored() -> bool:
        return set(texts) <= set(stage.stored())

    await _until(stored)
    assert sorted(text for text in stage.stored() if text in texts) == texts
    await stage.online(stage.first, stage.second)


@on_stage
async def test_11_health_neither_kills_nor_lies(stage: Stage) -> None:
    """There: 503 without a session, so that the platform restarted it; then a constant 200. Here: three contracts."""
    tandem = stage.scene.tandem
    await stage.scene.emulator.fault("refuse", seconds=3)
    await stage.scene.emulator.fault("drop")

    async def down() -> bool:
        return bool((await tandem.call("GET", "/health"))["status"] == "down")

    await _until(down)
    assert (await tandem.call("GET", "/livez"))["status"] == "alive"
    assert (await tandem.call("GET", "/readyz"))["ready"] is True
    await stage.online(stage.first, stage.second)
    health = await tandem.call("GET", "/health")
    assert health["status"] == "degraded"  # one account is not linked: it says so
    assert health["accounts"] == {"total": 3, "online": 2, "degraded": 0, "offline": 1}
    assert {"version", "commit", "instance", "role"} <= set(health)


@on_stage
async def test_13_many_commands_at_once_leave_one_host_a_slot_and_no_conflict(stage: Stage) -> None:
    """There: two paths reconnected the same keys, and each threw the other out. Here: one owner, one at a time."""
    path = f"/api/whatsapp/account/{stage.first.account}/restart"
    calls = [stage.scene.tandem.call("POST", path, {"slot": slot}) for slot in ("primary", "backup") * 5]
    for _, pid in stage.hosts(stage.first):
        os.kill(pid, signal.SIGKILL)
    await asyncio.gather(*calls)
    await asyncio.sleep(0.5)
    await stage.online(stage.first)
    assert [slot for slot, _ in stage.hosts(stage.first)] == ["backup", "primary"]
    assert [each for each in await stage.stanzas() if "conflict" in each["stanza"]] == []


@on_stage
async def test_07_logged_out_means_no_login_any_more_and_everything_kept(stage: Stage) -> None:
    """There: logged out, cleaned up, connected again with dead credentials, for weeks. Here: once, and all is kept."""
    scene, actor = stage.scene, stage.second
    await scene.emulator.write(actor.contact, actor.number, "said before")

    async def stored() -> bool:
        return "said before" in stage.stored()

    await _until(stored)
    await scene.emulator.fault("device_removed", number=actor.number, device=1)
    await scene.tandem.wait_for_slot(actor.account, "primary", "logged_out", UP_AGAIN)
    since = time.time()
    await scene.stop_daemon()
    await scene.restart_daemon()
    await scene.tandem.wait_for_slot(actor.account, "backup", "online", UP_AGAIN)
    await asyncio.sleep(1.5)
    primary = (await stage.account(actor))["slots"][0]
    assert (primary["state"], primary["role"]) == ("logged_out", "none")
    mine = f"{actor.number.removeprefix('+')}:1@"
    assert [each for each in await stage.stanzas() if each["at"] > since and mine in each["device"]] == []
    folder = scene.data / "sessions" / actor.account
    assert list(folder.glob("quarantine/primary-*/primary.db"))
    assert not (folder / "primary.db").exists()
    assert "said before" in stage.stored()
    await stage.online(stage.first)


@on_stage
async def test_02_nothing_but_deleting_an_account_logs_out(stage: Stage) -> None:
    """There: closing logged out. Here: kills, restarts, failovers and a shutdown are behind us, and no device was."""

    async def logouts() -> list[Mapping[str, Any]]:
        return [each for each in await stage.stanzas() if "remove-companion-device" in each["stanza"]]

    await stage.scene.tandem.call("POST", f"/api/whatsapp/account/{stage.first.account}/switch")
    assert len(scene_restarts := stage.scene.log.restored) == 3, scene_restarts
    assert await logouts() == []
    await stage.scene.tandem.call("DELETE", f"/api/whatsapp/account/{stage.first.account}")
    assert len([each for each in await logouts() if each["direction"] == "in"]) == 2
    assert any(text.startswith("while nobody was there") for text in stage.stored())
