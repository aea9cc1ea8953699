"""The API's pairing answers with the real supervisor behind it; only the device hosts are twins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import ClientSession

from support.virtual_time import VirtualClock
from tandem.api.server import ApiServer
from tandem.model import signals
from tandem.model.states import Slot
from tandem.supervision.supervisor import Supervisor
from unit.api.world import ADMIN, World, settings
from unit.supervision import test_supervisor as stage

ACCOUNT = stage.ACCOUNT


@dataclass
class Real:
    supervision: stage.World
    supervisor: Supervisor
    session: ClientSession
    url: str

    async def call(self, verb: str, path: str = "/pair", **body: Any) -> tuple[int, Any, str]:
        """Return status, answer and Retry-After."""
        headers = {"Authorization": f"Bearer {ADMIN}"}
        url = f"{self.url}/api/whatsapp/account/{ACCOUNT}{path}"
        async with self.session.request(verb, url, headers=headers, json=body or None) as answer:
            return answer.status, await answer.json(), answer.headers.get("Retry-After", "")


@pytest.fixture
async def real() -> AsyncIterator[Real]:
    supervision, world = stage.World(), World(settings())
    supervisor = supervision.supervisor()
    server = ApiServer(
        world.settings, replace(world.parts, accounts=supervisor), world.store, VirtualClock(), world.random
    )  # fmt: skip
    await server.start()
    try:
        await supervisor.add("Shop", stage.NUMBER)
        async with ClientSession() as session:
            yield Real(supervision, supervisor, session, server.url.rstrip("/"))
    finally:
        await server.stop()
        await supervisor.stop()


async def _until_started(real: Real, slot: Slot) -> None:
    async with asyncio.timeout(5):
        while not any(device.spec.slot is slot for device in real.supervision.devices.started):
            await asyncio.sleep(0.01)


async def test_a_start_is_202_the_same_again_200_and_a_hasty_other_one_429(real: Real) -> None:
    status, answer, _ = await real.call("POST", slot="backup", method="qr")
    assert (status, "idempotent" in answer and answer["idempotent"]) == (202, False)
    status, again, _ = await real.call("POST", slot="backup", method="qr")
    assert (status, again["idempotent"]) == (200, True)
    assert again["pairing"]["deadline"] == answer["pairing"]["deadline"]
    status, problem, retry_after = await real.call("POST", slot="backup", method="code")
    assert (status, problem["error"]) == (429, "rate_limited")
    assert 1 <= int(retry_after) <= stage.PAIRING.restart_gap


async def test_a_slot_that_pairs_by_itself_may_be_asked_for_at_once(real: Real) -> None:
    assert (await real.call("POST", slot="primary", method="qr"))[0] == 200
    assert (await real.call("POST", slot="primary", method="code"))[0] == 202


async def test_a_linked_slot_is_409_and_the_other_one_is_offered(real: Real) -> None:
    await _until_started(real, Slot.PRIMARY)
    real.supervision.devices.last(Slot.PRIMARY).says(signals.QrShown("fictional", 20.0))
    real.supervision.devices.scanned(Slot.PRIMARY)
    await _until_started(real, Slot.BACKUP)
    status, problem, _ = await real.call("POST", slot="primary", method="qr")
    assert (status, problem["error"]) == (409, "conflict")
    assert "linked already" in problem["detail"]
    status, answer, _ = await real.call("POST")
    assert (status, answer["pairing"]["slot"]) == (200, "backup")


async def test_cancelling_is_200_and_then_404(real: Real) -> None:
    assert (await real.call("DELETE", "/pair?slot=primary"))[0] == 200
    async with asyncio.timeout(5):
        while real.supervisor.get(ACCOUNT).slot(Slot.PRIMARY).pairing is not None:
            await asyncio.sleep(0.01)
    assert (await real.call("DELETE", "/pair?slot=primary"))[0] == 404
