"""Where the figures come from: callables that the daemon hands in, read when somebody asks.

Each figure has one owner, who counts it once; monitoring only reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tandem.inbound.pipeline import Counts
from tandem.model.cluster_view import ClusterView
from tandem.model.ids import AccountId
from tandem.model.states import Slot
from tandem.model.views import AccountView
from tandem.policy.alerting import Alert
from tandem.queue.statistics import Histogram
from tandem.store.port import Costs


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


def _nothing() -> Histogram:
    return Histogram(())


@dataclass(frozen=True, slots=True)
class Workings:
    """What the parts measure of themselves since the start: to be read, never changed.

    ``commit_sizes`` are operations that shared one sync, ``batch_sizes`` messages; ``updates`` are changes of a
    message's status that the store took.
    """

    intake: Counts = field(default_factory=Counts)
    pair_lag_ms: Histogram = field(default_factory=_nothing)
    commit_seconds: Histogram = field(default_factory=_nothing)
    commit_sizes: Histogram = field(default_factory=_nothing)
    failed_commits: int = 0
    write_seconds: Histogram = field(default_factory=_nothing)
    batch_sizes: Histogram = field(default_factory=_nothing)
    updates: int = 0


@dataclass(frozen=True, slots=True)
class Archived:
    """Events since the start: kept in the store, left out because their kind is frequent, lost."""

    kept: int = 0
    sampled_out: int = 0
    lost: int = 0


async def _none_dead() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Sources:
    """Each is called on the event loop and must answer at once, from memory; only ``dead_letters`` may read the disk.

    ``hosts`` are the process ids of the running device hosts; ``store_trouble``, ``fleet_held`` and ``lease_trouble``
    are words, empty when all is well; ``disk_free`` is a ratio; ``held_back`` counts messages that wait for another
    instance to have stored them.
    """

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
    workings: Callable[[], Workings] = Workings
    archived: Callable[[], Archived] = Archived
    alerts: Callable[[], Sequence[Alert]] = tuple
    hosts: Callable[[], Mapping[tuple[AccountId, Slot], int]] = dict
    dead_letters: Callable[[], Awaitable[int]] = _none_dead
    store_trouble: Callable[[], str] = str
    fleet_held: Callable[[], str] = str
    disk_free: Callable[[], float] = lambda: 1.0
    lease_trouble: Callable[[], str] = str
    cluster: Callable[[], ClusterView] = ClusterView
    held_back: Callable[[], int] = int
    costs: Callable[[], Mapping[str, Costs]] = dict
    """What was asked of Firestore, by the part of Tandem that asked; of another store nothing is told."""


def messages_processed(traffic: Mapping[AccountId, Traffic]) -> int:
    """Return how many messages came in or went out, copies not counted."""
    return sum(each.received + each.sent for each in traffic.values())
