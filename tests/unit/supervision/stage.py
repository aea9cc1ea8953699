"""A supervisor with many accounts on virtual time, its hosts scripted, its events kept with their times."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from support.scripted_devices import ScriptedDevices
from tandem.model.account import Account
from tandem.model.event import EventType
from tandem.model.ids import AccountId, Number, account_id
from tandem.model.states import SessionState, Slot
from tandem.supervision.account import Pair
from tandem.supervision.session import Session
from tandem.supervision.supervisor import Supervisor
from unit.supervision.test_supervisor import World


@dataclass(frozen=True)
class Told:
    at: float
    type: EventType
    message: str
    data: dict[str, object]


@dataclass
class Stage(World):
    devices: ScriptedDevices = field(default_factory=ScriptedDevices)
    told: list[Told] = field(default_factory=list)
    run: Supervisor = field(init=False)

    async def link(self, accounts: int = 1, *slots: Slot) -> None:
        """Make accounts with these slots (both, if none is named) linked; connect nothing yet."""
        for number in range(accounts):
            phone = Number(f"+1202555{100 + number:04d}")
            account = account_id(phone)
            await self.registry.save_account(Account(account, phone, f"Shop {number}", float(number)))
            for slot in slots or tuple(Slot):
                self.devices.paired[account, slot] = f"{phone[1:]}:{slot.number}@s.whatsapp.net"

    async def boot(self) -> None:
        self.run = self.supervisor()
        await self.run.prepare()
        self.run.start()

    async def up(self, accounts: int = 1, *slots: Slot) -> None:
        """Linked and online."""
        await self.link(accounts, *slots)
        await self.boot()
        await asyncio.sleep(20)
        assert set(self.states().values()) <= {SessionState.ONLINE, SessionState.UNPAIRED}

    def pairs(self) -> list[Pair]:
        return [self.run.pair_of(view.account.id) for view in self.run.list()]

    @property
    def pair(self) -> Pair:
        return self.pairs()[0]

    def session(self, slot: Slot) -> Session:
        return self.pair.sessions[slot]

    def states(self) -> dict[tuple[AccountId, Slot], SessionState]:
        return {
            (pair.account.id, slot): session.state for pair in self.pairs() for slot, session in pair.sessions.items()
        }

    def count(self, event: EventType) -> int:
        return sum(told.type is event for told in self.told)

    def _publish(self, type: EventType, message: str, **data: object) -> None:  # noqa: A002
        super()._publish(type, message, **data)
        self.told.append(Told(asyncio.get_running_loop().time(), type, message, data))
