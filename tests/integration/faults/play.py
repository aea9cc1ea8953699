"""One fault at one place of a pair: struck, watched, ended, and judged."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field

import aiohttp

from integration.faults.stage import SLOTS, FaultStage
from integration.faults.traffic import Traffic
from support.fault_rows import Act, End, Notice, Row
from tandem.demo.clients import DemoFailed
from tandem.demo.scene import Actor

_PING = 2.0
_SETTINGS = {"TANDEM_SESSION__STABLE_AFTER": "1", "TANDEM_SESSION__PING_INTERVAL": str(_PING)}
"""What cases leave behind is forgotten sooner, and silence is noticed sooner than by default."""
_DWELL = 5.1
_CALM = 0.4
_LULL = 1.0
_LATE = 10.0
"""Seconds that a case goes on watching what is late, to say how late."""
_MANY = 4


@dataclass(frozen=True, slots=True)
class Case:
    row: Row
    where: str

    @property
    def name(self) -> str:
        return f"{self.row.name}-{self.where}"


@dataclass(slots=True)
class Outcome:
    """What the pair did. Seconds are counted from the fault."""

    case: Case
    paths: dict[str, str] = field(default_factory=dict)
    over: dict[str, float] = field(default_factory=dict)
    moves: list[tuple[float, str]] = field(default_factory=list)
    messages: tuple[int, int] = (0, 0)
    complaints: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        slots = "; ".join(
            f"{slot}: {path or 'undisturbed'} ({self.over[slot]:.2f} s)" for slot, path in self.paths.items()
        )
        role = "; ".join(f"{sentence} after {at:.3f} s" for at, sentence in self.moves) or "role stayed"
        return f"{self.case.name}: {slots}; {role}; {self.messages[0]} in, {self.messages[1]} out"


async def play_all(cases: list[Case], accounts: int = 12, at_once: int = 6) -> dict[str, Outcome]:
    """Play cases, each on an account of its own and with a contact of its own."""
    async with FaultStage(accounts, _SETTINGS) as stage:
        await stage.link_everybody()
        free: asyncio.Queue[Actor] = asyncio.Queue()
        for actor in stage.actors:
            free.put_nowait(actor)
        turns, outcomes = asyncio.Semaphore(at_once), dict[str, Outcome]()

        async def one(number: int, case: Case) -> None:
            async with turns:
                if free.empty():
                    outcomes[case.name] = Outcome(case, complaints=["earlier cases left no account whole"])
                    return
                actor = await free.get()
                play = _Play(stage, actor, case, _contact(number))
                outcomes[case.name] = await play.run()
                if not play.outcome.complaints or await play.healed():
                    free.put_nowait(actor)

        # What only a fresh account can show comes first: after one proactive reconnect a slot rests for minutes.
        longest_first = sorted(cases, key=lambda case: (case.row.notice is not Notice.PARTNER, -case.row.back))
        async with asyncio.TaskGroup() as tasks:
            for number, case in enumerate(longest_first):
                tasks.create_task(one(number, case))
        return outcomes


def _contact(number: int) -> str:
    """A number that is reserved for fiction."""
    return f"+1{303 + number // 100}55501{number % 100:02d}"


class _Play:
    """A case while it is played."""

    def __init__(self, stage: FaultStage, actor: Actor, case: Case, contact: str) -> None:
        self.outcome = Outcome(case)
        self._stage, self._actor, self._row, self._where = stage, actor, case.row, case.where
        self._traffic = Traffic(stage, actor, contact, case.name)
        self._struck: list[str] = []
        self._active = ""
        self._since = len(stage.told)
        self._lines = len(stage.daemon.lines)
        self._began = 0.0

    async def run(self) -> Outcome:
        outcome, traffic = self.outcome, self._traffic
        try:
            await self._prepare()
            faults = await self._strike()
            await self._watch()
            for fault in faults:
                await self._stage.lift(fault)
            await self._help()
            if self._row.quiet:
                traffic.begin()
            await traffic.end()
            no_witness = self._row.ends is End.LINK_AGAIN and self._where == "both"
            if not await traffic.settled(no_witness=no_witness):
                outcome.complaints.append("messages did not settle")
            refused = self._row.refused and self._where != "standby"
            outcome.complaints += await traffic.judge(refused=refused)
            await self._stage.active(self._actor.account)
        except (DemoFailed, ValueError, TimeoutError, aiohttp.ClientError) as error:
            outcome.complaints.append(repr(error))
        finally:
            await traffic.end()
            outcome.messages = len(traffic.received), len(traffic.accepted)
            if outcome.complaints:
                lines = self._stage.daemon.lines[self._lines :]
                outcome.log = [line for line in lines if self._actor.account in line]
        return outcome

    async def healed(self) -> bool:
        """Say whether the account is fit for another case although this one went wrong."""
        try:
            await self._stage.whole(self._actor.account, _LATE)
        except DemoFailed:
            return False
        return True

    async def _prepare(self) -> None:
        stage, account, row, where = self._stage, self._actor.account, self._row, self._where
        if row.primary:
            await stage.give_role(self._actor, "backup" if where == "standby" else "primary")
        moves = stage.moves(account)
        if row.notice is not Notice.AT_ONCE and where != "standby" and moves:
            # A role that has just moved does not leave a slot that can still send: that is tested elsewhere.
            await asyncio.sleep(max(0.0, moves[-1].at + _DWELL - time.time()))
        self._active = await stage.active(account)
        self._struck = [slot for slot in SLOTS if where == "both" or (slot == self._active) == (where == "active")]
        if not row.quiet:
            self._traffic.begin()
            await asyncio.sleep(_CALM)

    async def _strike(self) -> list[int]:
        self._since, self._began = len(self._stage.told), time.time()
        if isinstance(self._row.strike, Act):
            for slot in self._struck:
                await self._stage.hit(self._actor, slot, self._row.strike)
        return [await self._stage.wish(self._actor, slot, wish) for wish in self._row.wishes for slot in self._struck]

    async def _watch(self) -> None:
        """Wait until every slot has gone down its path, and the role has moved if it has to."""
        for slot in sorted(SLOTS, key=lambda slot: slot not in self._struck):
            await self._watch_slot(slot, self._patterns(slot))
        stage, account, row = self._stage, self._actor.account, self._row
        if self._where == "active" and row.moves:
            await stage.hear(lambda: bool(stage.moves(account, self._since)), row.keeps_role(_PING))
        self.outcome.moves = [(told.at - self._began, told.message) for told in stage.moves(account, self._since)]
        self.outcome.complaints += self._judge_role()

    async def _watch_slot(self, slot: str, patterns: set[str]) -> None:
        stage, outcome, row = self._stage, self.outcome, self._row
        if "" in patterns and slot in self._struck:
            await asyncio.sleep(max(0.0, self._began + _longest(row) + _LULL - time.time()))

        def gone() -> bool:
            return any(
                re.fullmatch(pattern, stage.path(self._actor.account, slot, self._since)) for pattern in patterns
            )

        done = await stage.hear(gone, self._began + row.back + _LATE - time.time())
        outcome.paths[slot] = stage.path(self._actor.account, slot, self._since)
        told = stage.states(self._actor.account, slot, self._since)
        outcome.over[slot] = told[-1].at - self._began if told else 0.0
        if not done:
            outcome.complaints.append(f"the {slot} went '{outcome.paths[slot]}', not {sorted(patterns)}")
        elif outcome.over[slot] > row.back:
            outcome.complaints.append(f"the {slot} took {outcome.over[slot]:.2f} s, not {row.back:g}")

    def _patterns(self, slot: str) -> set[str]:
        row = self._row
        if slot not in self._struck:
            return {row.partner}
        if row.primary and slot != "primary":  # it hears it only if it was started while there was no primary
            return {"", row.path}
        if self._where == "both":  # the role may come to a standby before or after it is struck
            return {row.pattern(active=True), row.pattern(active=False)}
        return {row.pattern(active=slot == self._active)}

    def _judge_role(self) -> list[str]:
        moves, row = self.outcome.moves, self._row
        if self._where == "both" or row.partner:  # both slots come and go
            return [f"the role moved {len(moves)} times"] if len(moves) > _MANY else []
        if self._where == "standby" or not row.moves:
            return [f"the role moved: {moves}"] if moves else []
        if len(moves) != 1:
            return [f"the role moved {len(moves)} times: {moves}"]
        bound = row.keeps_role(_PING)
        return [f"the role moved after {moves[0][0]:.3f} s, not {bound:g}"] if moves[0][0] > bound else []

    async def _help(self) -> None:
        """Do what the row says an operator has to do; then both slots must be online."""
        for slot in SLOTS:
            if self._row.ends is End.LINK_AGAIN and slot in self._struck:
                await self._stage.link(self._actor, slot)
            if self._row.ends is End.RESTART and (slot in self._struck or self._row.partner):
                await self._stage.restart(self._actor, slot)
        await self._stage.whole(self._actor.account)


def _longest(row: Row) -> float:
    return max((float(str(wish.get("seconds", 0))) for wish in row.wishes), default=0.0)
