"""What the API needs from the rooms below; the daemon hands in the real parts, unit tests their twins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from tandem.api.single_instance import SingleInstance
from tandem.errors import NotFound
from tandem.model.cluster_view import ClusterView, LeaseView
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId, ChatId, Number
from tandem.model.outage import Outage
from tandem.model.outbox import Content, IdempotencyKey, IfUnknown, OutboxRow, Target, Wanted
from tandem.model.states import Slot
from tandem.model.views import AccountView, PairingView, PairMethod, QueueView, VitalSample
from tandem.policy.alerting import Alert
from tandem.queue.dead_letters import DeadLetter


class Accounts(Protocol):
    """The supervised accounts. Every method raises NotFound for an account that does not exist."""

    async def add(self, name: str, number: Number) -> tuple[AccountView, bool]:
        """Add an account and start pairing its primary. The same number again: the same account, False."""
        ...

    def list(self) -> Sequence[AccountView]: ...

    def get(self, account: AccountId) -> AccountView: ...

    async def pair(self, account: AccountId, slot: Slot, method: PairMethod) -> tuple[PairingView, bool]:
        """Start a pairing, or return the one under way and False. Raises Conflict if the slot is paired, TooSoon."""
        ...

    async def cancel_pairing(self, account: AccountId, slot: Slot) -> AccountView:
        """End a pairing under way. Raises NotFound if there is none."""
        ...

    async def switch(self, account: AccountId) -> AccountView:
        """Move the active role to the other slot. Raises Conflict, with the reason, if that one cannot take it."""
        ...

    async def restart(self, account: AccountId, slot: Slot) -> AccountView:
        """Start a slot afresh, out of a parked or conflicting state too. Raises Conflict if it is not linked."""
        ...

    async def remove(self, account: AccountId) -> None:
        """Log out both devices and forget the account; its conversations stay in the store."""


class Outgoing(Protocol):
    """Messages on their way out."""

    async def accept(
        self,
        account: AccountId,
        chat: ChatId,
        content: Content,
        key: IdempotencyKey | None = None,
        *,
        expires_in: float | None = None,
        if_unknown: IfUnknown = IfUnknown.RESEND,
    ) -> tuple[OutboxRow, bool]:
        """Commit a message for sending. With a key that was used before: the row it made, and False.

        ``expires_in`` in seconds. Raises Conflict if the key came with another request, Overloaded when the account's
        backlog is full.
        """
        ...

    async def repeated(self, account: AccountId, key: IdempotencyKey) -> OutboxRow | None:
        """Return the row that this request made before, if it did. Raises Conflict if the key came with another."""
        ...

    async def known(self, account: AccountId, chat: ChatId, message_id: str) -> Sequence[Target]:
        """Return the chat's messages of this id that were sent from here or are not in the store yet."""
        ...

    async def get(self, outbox_id: str) -> OutboxRow:
        """Raise NotFound if there is none, as do the three acts."""
        ...

    async def page(self, wanted: Wanted, limit: int) -> tuple[Sequence[OutboxRow], int | None]:
        """Return rows, newest first, and where the next page begins, None when there is none."""
        ...

    async def cancel(self, outbox_id: str) -> OutboxRow:
        """Raise Conflict unless it is queued."""
        ...

    async def resend(self, outbox_id: str) -> OutboxRow:
        """Raise Conflict unless it is unknown."""
        ...

    async def give_up(self, outbox_id: str) -> OutboxRow:
        """Raise Conflict unless it is unknown."""
        ...


class DeadLetters(Protocol):
    """What could not be processed, kept until a person has looked at it. Raises Transient while the queue is not there.

    ``queue.dead_letters.DeadLetters`` is one.
    """

    async def list(self, limit: int = 100, after: int = 0) -> Sequence[DeadLetter]:
        """Oldest first, those with an id beyond ``after``."""
        ...

    async def get(self, identifier: int) -> DeadLetter:
        """Raise NotFound if there is none."""
        ...

    async def drop(self, identifier: int) -> None:
        """Delete a letter for good. Raises NotFound if there is none."""

    async def count(self) -> int: ...


class Subscription(Protocol):
    """One reader's bounded queue of events."""

    @property
    def closed(self) -> bool: ...

    def take_dropped(self) -> int:
        """Return how many events were lost since the last call, because this reader was slow."""
        ...

    async def next(self, timeout: float) -> Sequence[Event]:
        """Return what has come, oldest first; empty after ``timeout`` seconds of silence or when closed."""
        ...


class EventFeed(Protocol):
    """What happened lately and what happens now; ``monitoring.events.EventStream`` is one."""

    def recent(self, limit: int, type: EventType | None = None, account: AccountId | None = None) -> Sequence[Event]:  # noqa: A002
        """Newest first."""
        ...

    def after(self, event_id: str) -> Sequence[Event]:
        """Return what came after an event, oldest first; nothing if that one is forgotten."""
        ...

    def subscribe(self, size: int = 256) -> AbstractContextManager[Subscription]: ...


class Figures(Protocol):
    """Counters and gauges; ``monitoring.metrics.Metrics`` is one."""

    @property
    def content_type(self) -> str: ...

    async def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        ...

    def summary(self) -> Mapping[str, object]:
        """Return what ``GET /api/metrics`` answers under ``metrics``."""
        ...

    def traffic(self, account: AccountId) -> Mapping[str, int]:
        """Return ``received``, ``duplicates``, ``stored``, ``sent`` of an account since the start."""
        ...

    def queues(self) -> Sequence[QueueView]: ...


class Cluster(Protocol):
    """The instances that share the accounts. All but the two acts answer at once, from memory.

    ``SingleInstance`` stands for it where there is one instance.
    """

    def shared(self) -> bool:
        """Whether several instances may share the accounts."""
        ...

    def overview(self) -> ClusterView: ...

    def role(self) -> str:
        """Return this instance's part: ``active`` or ``passive``."""
        ...

    def require(self, account: AccountId) -> None:
        """Raise InstancePassive, naming the holder, if another instance runs the account."""

    async def move(self, account: AccountId, to: str = "") -> LeaseView:
        """Hand an account to an instance, by id or name; empty: to the fittest. Returns the lease afterwards.

        Raises Conflict with the reason, NotFound, InstancePassive if the lease is not held here, StoreUnavailable.
        """
        ...

    async def drain(self, on: bool) -> ClusterView:  # noqa: FBT001 - the port's words
        """Hand every account over and take none, or take part again. Raises Conflict, StoreUnavailable."""
        ...


def _always_active() -> str:
    return "active"


@dataclass(frozen=True, slots=True)
class About:
    """Who is answering. ``role`` is this instance's part among several: active or passive."""

    version: str
    commit: str
    instance: str
    role: Callable[[], str] = _always_active
    region: str = "primary"


def _always_ready() -> str | None:
    return None


async def _no_report(day: date) -> Mapping[str, object]:
    raise NotFound(f"there is no report of {day.isoformat()}")


_ALONE = SingleInstance()


def _epoch() -> date:
    return date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the API stands on.

    ``replay`` processes a dead letter again: raises NotFound; raises PoisonMessage, and keeps the letter, if it still
    cannot be understood. ``alerts`` are those that fire; ``report`` raises NotFound for a day that nothing is known of;
    ``today`` is the day of the report's time zone. ``readiness`` returns why the daemon cannot serve yet, or None when
    it can. ``outages`` gives the last outages of an account, newest first; ``history`` the last samples of a slot's
    vital signs, oldest first.
    """

    accounts: Accounts
    outgoing: Outgoing
    dead_letters: DeadLetters
    replay: Callable[[int], Awaitable[None]]
    events: EventFeed
    figures: Figures
    about: About
    outages: Callable[[AccountId], Sequence[Outage]] = lambda _account: ()
    readiness: Callable[[], str | None] = _always_ready
    alerts: Callable[[], Sequence[Alert]] = tuple
    report: Callable[[date], Awaitable[Mapping[str, object]]] = _no_report
    today: Callable[[], date] = _epoch
    history: Callable[[AccountId, Slot], Sequence[VitalSample]] = lambda _account, _slot: ()
    cluster: Cluster = _ALONE
