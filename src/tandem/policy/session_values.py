"""What the session machine works with: a session, its limits, what can happen to it, what is to be done."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from tandem.model import signals
from tandem.model.states import SessionState
from tandem.policy.fleet import Cause
from tandem.policy.intensity import Window


@dataclass(frozen=True, slots=True)
class Limits:
    """Durations in seconds; see SessionSettings for the meaning of each. ``lease_held``: the keys are provably ours.

    ``sync_timeout`` is for offline messages that were announced, ``sync_grace`` for their announcement. ``hurries``
    recycles within ``conflict_period`` may be made at once because nobody of the pair was well.
    """

    connect_timeout: float = 30.0
    sync_timeout: float = 30.0
    sync_grace: float = 2.0
    library_retry: float = 3.0
    degraded_timeout: float = 15.0
    unwell_grace: float = 2.0
    backoff_first: float = 1.0
    backoff_max: float = 60.0
    stable_after: float = 60.0
    restart_intensity: int = 20
    restart_period: float = 300.0
    conflict_wait: float = 5.0
    conflict_takebacks: int = 3
    conflict_period: float = 300.0
    unknown_ban: float = 3600.0
    hurries: int = 3
    hurried_wait: float = 1.0
    lease_held: bool = True


@dataclass(frozen=True, slots=True)
class Session:
    """A slot's session. Times are monotonic seconds; ``deadline`` 0 means that the state is at rest.

    ``syncing``: offline messages were announced and are not complete; ``synced``: they are, before the login was told.
    ``stalled``: degraded because an answer is missing, so that a new connection may help at once. ``held``: waiting
    because the fleet holds all logins.
    """

    state: SessionState = SessionState.STOPPED
    reason: str = ""
    since: float = 0.0
    deadline: float = 0.0
    paired: bool = False
    syncing: bool = False
    synced: bool = False
    unwell: bool = False
    stalled: bool = False
    held: bool = False
    failures: int = 0
    restarts: Window = field(default_factory=Window)
    conflicts: Window = field(default_factory=Window)
    hurries: Window = field(default_factory=Window)


class Effect(Enum):
    """What the actor has to do, in order."""

    START_HOST = auto()
    STOP_HOST = auto()  # disconnect, never log out
    KILL_HOST = auto()
    QUARANTINE_KEYS = auto()


@dataclass(frozen=True, slots=True)
class Start:
    """Boot: bring the session up if it is linked and not in a terminal state."""


@dataclass(frozen=True, slots=True)
class Linked:
    """A pairing has put a device into this slot's key store; no process runs on it any more."""

    device: str


@dataclass(frozen=True, slots=True)
class Restart:
    """An operator wants the host started afresh; also the way out of a terminal state whose keys are still good."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The state's deadline has passed."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The host did not come up, or its key store cannot be used."""

    reason: str


@dataclass(frozen=True, slots=True)
class Recycle:
    """Some part of Tandem needs this very host ended and another in its place."""

    reason: str


@dataclass(frozen=True, slots=True)
class ActorFailed:
    """A defect in Tandem ended the session's own task, and its host with it."""


@dataclass(frozen=True, slots=True)
class SendUnanswered:
    """A send got no answer from the server in time."""


@dataclass(frozen=True, slots=True)
class Unwell:
    """The session is connected and bad, as its vitals have it; told only while the partner is online.

    The role moves first, sends under way have ``unwell_grace`` to finish, then the host is started afresh.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Hurry:
    """Nobody of the pair is well: wait no longer than must be."""


@dataclass(frozen=True, slots=True)
class NumberBanned:
    """The partner learned that the number is banned for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Removed:
    """The account is being removed, and its device was logged out for that: nobody links it again."""


@dataclass(frozen=True, slots=True)
class Released:
    """The fleet holds logins no more."""


Command = Start | Linked | Restart | ActorFailed | Hurry | NumberBanned | Released | Removed
"""What comes from Tandem itself: it counts whichever generation of the host it finds."""

Input = signals.Signal | Command | SendUnanswered | Unwell | Recycle | Expired | StartFailed


@dataclass(frozen=True, slots=True)
class Decision:
    """``cause``: the session failed, and for a reason that others may share."""

    session: Session
    effects: tuple[Effect, ...] = ()
    sentence: str = ""
    cause: Cause | None = None
