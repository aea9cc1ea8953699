"""Where the figures come from: callables that the daemon hands in, read when somebody asks.

Each figure has one owner, who counts it once; monitoring only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tandem.model.ids import AccountId
from tandem.model.views import AccountView


@dataclass(frozen=True, slots=True)
class Traffic:
    """Messages of one account since the start: first copies, further copies, written to the store, sent."""

    received: int = 0
    duplicates: int = 0
    stored: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an account is online, and for how many seconds it was not since the start."""

    online: bool
    downtime: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in a queue: how many, and the age of the oldest in seconds (0 when empty)."""

    depth: int = 0
    oldest_age: float = 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """Of one endpoint: since the start what was delivered, attempts that failed, dead letters; and what waits."""

    kind: str
    delivered: int = 0
    failed: int = 0
    dead: int = 0
    backlog: Backlog = Backlog()


@dataclass(frozen=True, slots=True)
class Sources:
    """Each is called on the event loop and must answer at once, from memory."""

    accounts: Callable[[], Sequence[AccountView]] = tuple
    traffic: Callable[[], Mapping[AccountId, Traffic]] = dict
    availability: Callable[[], Mapping[AccountId, Availability]] = dict
    inbox: Callable[[], Backlog] = Backlog
    outbox: Callable[[], Backlog] = Backlog
    endpoints: Callable[[], Mapping[str, Told]] = dict
    writes: Callable[[], int] = int
    """Documents written to the store since the start, for messages."""
    batch: Callable[[], int] = int
    """Messages in the batch that is being written now."""


def messages_processed(traffic: Mapping[AccountId, Traffic]) -> int:
    """Return how many messages came in or went out, copies not counted."""
    return sum(each.received + each.sent for each in traffic.values())
