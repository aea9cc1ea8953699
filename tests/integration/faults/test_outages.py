"""WhatsApp cannot be reached by whoever dials: refused and hanging, at TCP, right after it, and at the upgrade.

Four accounts in each case: the connection of one account's active slot is cut, of another's standby, of a third's both;
the fourth is left alone. Six seconds later whoever dials is served again. Four of six other managers, under these
faults, stayed down for good.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from integration.faults.gate import Gate, Trouble
from integration.faults.stage import SLOTS, FaultStage, chosen
from integration.faults.traffic import Traffic
from tandem.demo.processes import free_port
from tandem.demo.scene import Actor

pytestmark = pytest.mark.timeout(300)

AWAY = 6.0
CONNECT_TIMEOUT = 4.0
BACK = 12.0
"""Seconds after the service's return: a hanging dial is given up, the fleet's canary comes online, the rest follow."""
PATH = r"(reconnecting|waiting|connecting)( (reconnecting|waiting|connecting))* online"
MOST_STARTS = 6
AT_ONCE = 3
STRUCK: Mapping[int, tuple[str, ...]] = {0: ("active",), 1: ("standby",), 2: ("active", "standby"), 3: ()}


@dataclass(frozen=True, slots=True)
class Outage:
    """``wish``: what the emulator does to whoever dials; ``trouble``: what happens before it can."""

    name: str
    wish: Mapping[str, object] | None = None
    trouble: Trouble | None = None


OUTAGES = (
    Outage("http-429", {"kind": "refuse", "status": 429}),
    Outage("http-503", {"kind": "refuse", "status": 503}),
    Outage("tcp-refused", trouble=Gate.refuse),
    Outage("tcp-hangs", trouble=Gate.hang),
    Outage("silence-after-tcp", trouble=Gate.silence),
    Outage("upgrade-hangs", {"kind": "hang_upgrade"}),
)


@dataclass(slots=True)
class Result:
    told: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Mapping[str, Result]:
    return asyncio.run(_play_all([outage for outage in OUTAGES if outage.name in chosen(request)]))


async def _play_all(outages: list[Outage]) -> dict[str, Result]:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(outage: Outage) -> Result:
        async with turns:
            return await _play(outage)

    return dict(zip((outage.name for outage in outages), await asyncio.gather(*map(one, outages)), strict=True))


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.name)
def test_an_outage_is_survived(outage: Outage, results: Mapping[str, Result]) -> None:
    result = results[outage.name]
    print("\n".join(result.told))
    assert not result.complaints, "; ".join(result.complaints)


async def _play(outage: Outage) -> Result:
    result, port, gate_port = Result(), free_port(), 0
    async with Gate(port) as gate:
        gate_port = gate.port
        settings = {"TANDEM_EMULATOR": f"127.0.0.1:{gate_port}", "TANDEM_DEVICE__CONNECT_TIMEOUT": str(CONNECT_TIMEOUT)}
        async with FaultStage(len(STRUCK), settings, emulator_port=port) as stage:
            await stage.link_everybody()
            await _go_away_and_come_back(outage, stage, gate, result)
    return result


async def _go_away_and_come_back(outage: Outage, stage: FaultStage, gate: Gate, result: Result) -> None:
    actors = list(enumerate(stage.actors))
    traffic = [Traffic(stage, actor, actor.contact, f"{outage.name} {number}") for number, actor in actors]
    for each in traffic:
        each.begin()
    struck = {actor: await _slots(stage, actor, STRUCK[number]) for number, actor in actors}
    since = len(stage.told)
    if outage.wish is not None:
        await stage.emulator.call("POST", "/control/faults", outage.wish)
    if outage.trouble is not None:
        await outage.trouble(gate)
    began = time.time()
    await asyncio.gather(*(stage.wish(actor, slot, {"kind": "drop"}) for actor in struck for slot in struck[actor]))
    await asyncio.sleep(AWAY)
    _judge_meanwhile(stage, struck, since, began, result)
    await stage.emulator.clear_faults()
    await gate.open()
    await _judge_return(stage, struck, since, time.time(), result)
    for each in traffic:
        await each.end()
    for each in traffic:
        result.complaints += [] if await each.settled() else [f"{each.label}: messages did not settle"]
        result.complaints += await each.judge(refused=False)
    received, accepted = sum(len(each.received) for each in traffic), sum(len(each.accepted) for each in traffic)
    result.told.append(f"{outage.name}: {received} in, {accepted} out, {gate.silenced} dials met silence")


async def _judge_return(
    stage: FaultStage, struck: Mapping[Actor, tuple[str, ...]], since: int, returned: float, result: Result
) -> None:
    for actor, slots in struck.items():
        for slot in SLOTS:
            if slot in slots:
                judged = await _judge_slot(stage, actor, slot, since, returned)
                result.told += judged.told
                result.complaints += judged.complaints
            elif stage.states(actor.account, slot, since):
                result.complaints.append(f"the {slot}, which nothing struck, was disturbed")


async def _slots(stage: FaultStage, actor: Actor, roles: tuple[str, ...]) -> tuple[str, ...]:
    active = await stage.active(actor.account)
    return tuple(slot for slot in SLOTS if ("active" if slot == active else "standby") in roles)


def _judge_meanwhile(
    stage: FaultStage, struck: Mapping[Actor, tuple[str, ...]], since: int, began: float, result: Result
) -> None:
    """The role left an active slot at once, and nobody came online while nobody could."""
    for (actor, slots), roles in zip(struck.items(), STRUCK.values(), strict=True):
        moves = stage.moves(actor.account, since)
        if roles == ("active",) and (len(moves) != 1 or moves[0].at - began > 1.0):
            result.complaints.append(f"the role moved {len(moves)} times, {[told.at - began for told in moves]}")
        if roles in {("standby",), ()} and moves:
            result.complaints.append("the role moved although the active slot was not struck")
        states = [told.state for slot in slots for told in stage.states(actor.account, slot, since)]
        if "online" in states:
            result.complaints.append(f"somebody came online: {states}")


async def _judge_slot(stage: FaultStage, actor: Actor, slot: str, since: int, returned: float) -> Result:
    """Watch a struck slot until it is back."""
    result = Result()
    done = await stage.hear(
        lambda: bool(re.fullmatch(PATH, stage.path(actor.account, slot, since))), returned + BACK - time.time()
    )
    told, path = stage.states(actor.account, slot, since), stage.path(actor.account, slot, since)
    result.told.append(f"{slot}: {path}, {told[-1].at - returned if told else 0:.2f} s after the service's return")
    if not done:
        result.complaints.append(f"the {slot} went '{path}' and was not back within {BACK:g} s")
    starts = sum(each.state == "connecting" for each in told)
    if starts > MOST_STARTS:
        result.complaints.append(f"the {slot}'s host was started {starts} times")
    return result
