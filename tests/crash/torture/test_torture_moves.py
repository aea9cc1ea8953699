"""Accounts moved to and fro between two regions by hand, under 10 or 20 sends a second: lost, doubled, out of order?

Each region accepts for half of the chats, whoever runs the account just then: what one instance accepts for a chat
keeps its order. (What two accept within the time that it takes the one to be told of the other's may change places.)
What is measured is from the 202 to the server's ack, by the emulator's ledger, and for how long an account had no
sender at each move; all clocks are this machine's. ``make torture-moves MOVES=100`` runs the long form; CI the short
one.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, pairwise
from math import inf
from statistics import median

import aiohttp
import pytest

from integration.cluster.stage import TTL, Region, Stage, Talk
from support import firestore_emulator
from tandem.demo.clients import DemoFailed
from tandem.demo.verdict import summary

MOVES = int(os.environ.get("TORTURE_MOVES", "6"))
EVERY = (1.5, 3.5)
PER_SECOND = float(os.environ.get("TORTURE_RATE", "10"))
ACCOUNTS, CHATS = 2, 5
SETTLE = 60.0
USUAL_GAP = 1.0
MOVED = 0.8
"""Of the moves; on a busy machine one may be too slow to be waited for, or an account has just moved by itself."""
REGIONS = {
    "primary": {"TANDEM_CLUSTER__SLOTS": "primary", "TANDEM_PACING__MODE": "off"},
    "backup": {"TANDEM_CLUSTER__SLOTS": "backup", "TANDEM_PACING__MODE": "off"},
}

pytestmark = pytest.mark.timeout(180 + 10 * MOVES)


@pytest.fixture
def firestore() -> Iterator[firestore_emulator.FirestoreEmulator]:
    with firestore_emulator.running() as emulator:
        yield emulator


@dataclass
class Talks:
    """Texts by recipient in the order of their 202, and when each 202 came, in Unix seconds."""

    accepted: dict[str, float] = field(default_factory=dict)
    order: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    refused: Counter[str] = field(default_factory=Counter)
    over: bool = False

    async def run(self, stage: Stage) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number, talk in enumerate(stage.talks):
                for chat in range(CHATS):
                    tasks.create_task(self._speak(stage, talk, number * CHATS + chat))

    async def _speak(self, stage: Stage, talk: Talk, chat: int) -> None:
        """One after the other to one contact, so that their order is known."""
        contact = f"+1303555{300 + chat:04d}"
        due = time.monotonic() + random.uniform(0, ACCOUNTS * CHATS / PER_SECOND)
        for number in count():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self.over:
                return
            text = f"{contact.removeprefix('+')} {number}"
            await self._hand_in(list(stage.regions.values())[chat % 2], talk, contact, text)
            self.accepted[text] = time.time()
            self.order[contact].append(text)
            due += ACCOUNTS * CHATS / PER_SECOND

    async def _hand_in(self, region: Region, talk: Talk, contact: str, text: str) -> None:
        while True:
            try:
                await region.tandem.send(talk.account, contact, text, f"key-{text.replace(' ', '-')}")
            except (aiohttp.ClientError, TimeoutError) as error:
                self.refused[str(getattr(error, "status", type(error).__name__))] += 1
                await asyncio.sleep(0.1)
            else:
                return


async def test_what_is_sent_while_accounts_move_arrives_once_in_order(
    firestore: firestore_emulator.FirestoreEmulator,
) -> None:
    dice, talks = random.Random(9), Talks()
    async with Stage(firestore, REGIONS, accounts=ACCOUNTS) as stage:
        for talk in stage.talks:
            await stage.run_by(talk, "primary", TTL + 5)
        began, moved = time.time(), 0
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(talks.run(stage))
            for number in range(MOVES):
                await asyncio.sleep(dice.uniform(*EVERY))
                moved += await _move(stage, stage.talks[number % ACCOUNTS])
            await asyncio.sleep(EVERY[1])
            talks.over = True
        seconds = time.time() - began
        shown = await _settled(stage, talks)
        ledger = (await stage.emulator.call("GET", "/control/ledger"))["messages"]
        gaps = _gaps(stage, began)
        unknown = len(stage.events("message_send_unknown", began))

    counts = Counter(text for texts in shown.values() for text in texts)
    acked: dict[str, float] = {}
    for entry in ledger:
        if entry["text"] in talks.accepted and entry["accepted"] is not None:
            acked[entry["text"]] = min(entry["accepted"], acked.get(entry["text"], entry["accepted"]))
    waits = [max(0.0, (acked[text] - at) * 1000) for text, at in talks.accepted.items() if text in acked]
    lost, doubled = [sorted(text for text in talks.accepted if wrong(counts[text])) for wrong in (_none, _several)]
    report = {
        "moves": moved, "asked": MOVES, "messages": len(talks.accepted), "lost": len(lost), "doubled": len(doubled),
        "chats": len(talks.order),
        "chats_in_order": sum(shown[contact] == texts for contact, texts in talks.order.items()),
        "accept_to_server_ack_ms": summary(waits), "slowest_ms": [round(each) for each in sorted(waits)[-8:]],
        "no_sender_ms": summary([gap * 1000 for gap in gaps]), "handovers": len(gaps), "unknown": unknown,
        "seconds": round(seconds), "out_of_order": _out_of_order(shown),
        "refused": dict(talks.refused),
    }  # fmt: skip
    print(json.dumps(report))
    assert (lost, doubled) == ([], [])
    assert shown == talks.order
    assert moved >= MOVED * MOVES
    assert median(gaps) < USUAL_GAP


def _none(times: int) -> bool:
    return times == 0


def _several(times: int) -> bool:
    return times > 1


def _out_of_order(shown: Mapping[str, list[str]]) -> int:
    """How many messages came after one that was accepted later."""
    numbers = [[int(text.split()[1]) for text in texts] for texts in shown.values()]
    return sum(later < earlier for chat in numbers for earlier, later in pairwise(chat))


def _gaps(stage: Stage, since: float) -> list[float]:
    """For how many seconds each account had no sender, at each move."""
    gaps = []
    for talk in stage.talks:
        lost = [each for each in stage.events("lease_lost", since) if each.account == talk.account]
        acquired = [each.at for each in stage.events("lease_acquired", since) if each.account == talk.account]
        gaps += [min((at for at in acquired if at >= each.at), default=inf) - each.at for each in lost]
    return gaps


async def _settled(stage: Stage, talks: Talks) -> Mapping[str, list[str]]:
    """What the contacts' phones show once they show everything, or when it has had its time."""
    ends = time.monotonic() + SETTLE
    while True:
        shown = {contact: await _shown(stage, contact) for contact in talks.order}
        if sum(map(len, shown.values())) >= len(talks.accepted) or time.monotonic() > ends:
            await asyncio.sleep(7)  # longer than a resend takes to be decided: a double would come now
            return {contact: await _shown(stage, contact) for contact in talks.order}
        await asyncio.sleep(0.5)


async def _shown(stage: Stage, contact: str) -> list[str]:
    return [text for each in await stage.emulator.shown_to(contact) for text in [each["text"]] * each["times"]]


async def _move(stage: Stage, talk: Talk) -> bool:
    """Ask the region that runs the account to hand it to the other one. Whether it did."""
    holder = await stage.holder(talk)
    if not holder:
        return False
    other = next(name for name in stage.regions if name != holder)
    body = {"account": talk.account, "to": other}
    try:
        await stage.regions[holder].tandem.call("POST", "/api/cluster/move", body)
        await stage.run_by(talk, other, 2 * TTL)
    except (aiohttp.ClientError, TimeoutError, DemoFailed):
        return False
    return True
