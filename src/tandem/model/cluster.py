"""Several instances that share the accounts: who is there, and who has the right to run what.

An *instance* is one running daemon on its own data directory. It shows that it lives by heartbeats; a *term* is an
unbroken row of them. A *lease* is the right to run an account: to send for it, to write what it received, to change it.
It is held in a term of its holder and void when that term is over. Its ``generation`` only grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NewType

from tandem.model.ids import AccountId
from tandem.model.states import SessionState, Slot

InstanceId = NewType("InstanceId", str)
"""Names a data directory for ever; not the process, not the machine."""

NOBODY = InstanceId("")


class Fitness(IntEnum):
    """How well an instance could run an account."""

    UNLINKED = 0  # it has no linked device of it
    LINKED = 1  # it has, but none is online
    ONLINE = 2


@dataclass(frozen=True, slots=True)
class SlotStanding:
    """How a slot stands that an instance runs. ``since`` in Unix seconds; ``device`` is empty if it is not linked."""

    state: SessionState
    reason: str = ""
    device: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class AccountStanding:
    """What an instance says of an account in its heartbeat.

    ``durable_through`` (Unix seconds): everything that the holder received before is in the store; 0: nothing is said.
    """

    fitness: Fitness = Fitness.UNLINKED
    slots: Mapping[Slot, SlotStanding] = field(default_factory=dict)
    durable_through: float = 0.0


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance's last heartbeat.

    ``beat`` counts the heartbeats of a term. ``every`` (seconds): when the next one is due at the latest; only who
    beats at the pace of leases may hold any. ``origin`` is equal only for processes of which the lock on the data
    directory proves that they did not run at the same time. ``deposed``: another instance has ended this term.
    ``draining``: it wants no lease. ``at`` (Unix seconds, its own clock) is for people and decides nothing.
    """

    id: InstanceId
    name: str
    term: int
    beat: int
    every: float
    region: str = ""
    url: str = ""
    version: str = ""
    origin: str = ""
    deposed: bool = False
    draining: bool = False
    at: float = 0.0
    accounts: Mapping[AccountId, AccountStanding] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lease:
    """Who runs an account. Valid while ``holder`` is in ``term``; ``since`` in Unix seconds, for people.

    ``wanted``: the instance it was handed to; ``reason`` in words, why it is as it is. ``removed``: an operator deleted
    the account; every instance unlinks its devices.
    """

    account: AccountId
    holder: InstanceId = NOBODY
    term: int = 0
    generation: int = 0
    wanted: InstanceId = NOBODY
    reason: str = ""
    since: float = 0.0
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Right:
    """An instance's own right to run an account now: valid before ``until`` (monotonic seconds), if not renewed."""

    account: AccountId
    generation: int
    until: float
