"""A duel for one device's keys with a real rival: another host on a copy of the key store, that always comes back."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from integration.faults.stage import FaultStage
from integration.faults.traffic import Traffic
from tandem.demo.scene import Actor
from tandem.model import signals
from tandem.model.account import Account
from tandem.model.ids import Number, account_id
from tandem.model.states import Slot
from tandem.policy.session_machine import Limits
from tandem.settings import DeviceSettings
from tandem.whatsapp.factory import HostFactory
from tandem.whatsapp.options import EmulatorEndpoint
from tandem.whatsapp.port import DeviceListener, DeviceSpec

pytestmark = pytest.mark.timeout(500)

QUIET = float(os.environ.get("DUEL_QUIET", "8"))
"""Seconds after the slot is parked in which it must not log in; 300 by hand shows the whole five minutes."""
LIMITS = Limits()


class Rival:
    """Somebody who restored a backup of the data directory, and reconnects at once for ever."""

    def __init__(self, stage: FaultStage, actor: Actor, folder: Path, root_key: bytes) -> None:
        number = Number(actor.number)
        self.logins = 0
        self._account = Account(account_id(number), number, "Rival", 0.0)
        self._factory = HostFactory(folder, DeviceSettings(), EmulatorEndpoint(stage.emulator_port, root_key))
        self._generation = 0

    async def fight(self) -> None:
        while True:
            replaced = asyncio.Event()
            self._generation += 1
            listener = DeviceListener(partial(self._hear, replaced), lambda _event: None)
            device = await self._factory.start(DeviceSpec(self._account, Slot.PRIMARY, self._generation), listener)
            try:
                await replaced.wait()
            finally:
                device.kill()
                await device.gone()

    def _hear(self, over: asyncio.Event, signal: signals.Signal) -> None:
        self.logins += isinstance(signal, signals.Connected)
        if isinstance(signal, signals.Replaced | signals.HostEnded):
            over.set()


@asynccontextmanager
async def _fighting(rival: Rival) -> AsyncIterator[None]:
    task = asyncio.create_task(rival.fight())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@contextmanager
def _copy_of_the_keys(stage: FaultStage, actor: Actor, folder: Path) -> Iterator[Path]:
    sessions = folder / "sessions" / actor.account
    sessions.mkdir(parents=True)
    for file in (stage.data / "sessions" / actor.account).glob("primary.db*"):
        shutil.copy(file, sessions)
    yield folder


# A rival's host that is ended while it logs in may leave its socket to the collector, which says so in any later test.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_rival_with_the_same_keys_gets_at_most_three_answers_and_costs_no_message(tmp_path: Path) -> None:
    async with FaultStage(1) as stage:
        await stage.link_everybody()
        actor = stage.actors[0]
        root_key = bytes.fromhex((await stage.emulator.call("GET", "/control/root-key"))["hex"])
        traffic = Traffic(stage, actor, actor.contact, "duel")
        since = len(stage.told)
        with _copy_of_the_keys(stage, actor, tmp_path) as folder:
            rival = Rival(stage, actor, folder, root_key)
            traffic.begin()
            began = time.time()
            async with _fighting(rival):
                parked = await stage.hear(lambda: stage.path(actor.account, "primary", since).endswith("parked"), 60.0)
                assert parked, stage.path(actor.account, "primary", since)
                path = stage.path(actor.account, "primary", since)
                (moved,) = stage.moves(actor.account, since)
                print(f"{path}, after {stage.told[-1].at - began:.1f} s; the rival logged in {rival.logins} times")
                await asyncio.sleep(QUIET)
                assert stage.path(actor.account, "primary", since) == path, "a parked slot must not log in"
            await traffic.end()
        assert path.count("connecting") == LIMITS.conflict_takebacks == 3
        assert moved.at - began < 2.0
        assert moved.slot == "backup"
        assert stage.path(actor.account, "backup", since) == ""
        assert await traffic.settled()
        assert await traffic.judge(refused=False) == []
        await stage.restart(actor, "primary")
