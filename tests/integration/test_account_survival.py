"""What endangers an account, as the real library and the emulator bring it about, and as the API shows it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(120)


async def test_a_restriction_that_a_send_meets_is_a_problem_with_its_end_and_the_next_step() -> None:
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as scene:
        await scene.link_everybody()
        actor = scene.actors[0]
        assert "restricted" not in await _problems(scene)
        await scene.emulator.fault("send_nack", code=463, count=1)
        sent = await scene.tandem.send(actor.account, actor.contact, "hello, stranger", "key-1")
        async with asyncio.timeout(20):
            while (await scene.tandem.outbox(sent))["status"] != "failed":
                await asyncio.sleep(0.1)
        problem = (await _problems(scene))["restricted"]
        assert "463" in problem["words"]
        assert problem["nextStep"].startswith("write only to people")
        assert 0 < problem["until"] - problem["since"] <= 6 * 3_600_000


async def _problems(scene: Scene) -> dict[str, Any]:
    got = await scene.tandem.call("GET", f"/api/whatsapp/account/{scene.actors[0].account}")
    return {problem["key"]: problem for problem in got["account"]["survival"]["problems"]}
