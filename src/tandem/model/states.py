"""States and roles. The number of each value is exported to monitoring and never changes."""

from __future__ import annotations

from enum import Enum
from typing import Self


class Numbered(str, Enum):  # noqa: UP042 - StrEnum members cannot carry a second value
    """A string enum whose members carry a frozen number for gauges."""

    number: int

    def __new__(cls, value: str, number: int) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.number = number
        return member

    def __str__(self) -> str:
        return str(self.value)


class Slot(Numbered):
    """One linked device of an account."""

    PRIMARY = ("primary", 1)
    BACKUP = ("backup", 2)

    @property
    def partner(self) -> Slot:
        return Slot.BACKUP if self is Slot.PRIMARY else Slot.PRIMARY


class Role(Numbered):
    """What a slot does: the active one sends, the standby only receives."""

    ACTIVE = ("active", 1)
    STANDBY = ("standby", 2)
    NONE = ("none", 0)


class SessionState(Numbered):
    """Where a slot's session stands. Only ONLINE counts as online."""

    UNPAIRED = ("unpaired", 0)
    PAIRING = ("pairing", 1)
    CONNECTING = ("connecting", 2)
    SYNCING = ("syncing", 3)
    ONLINE = ("online", 4)
    DEGRADED = ("degraded", 5)  # connected, but its last ping went unanswered
    RECONNECTING = ("reconnecting", 6)  # the library's own first retry
    WAITING = ("waiting", 7)  # ours: the host is down, its next start is scheduled
    CONFLICT = ("conflict", 8)
    LOGGED_OUT = ("logged_out", 9)
    BANNED = ("banned", 10)
    OUTDATED = ("outdated", 11)
    PARKED = ("parked", 12)  # it kept dying: an operator's act brings it back
    STOPPED = ("stopped", 13)

    @property
    def terminal(self) -> bool:
        """Whether only an operator's act (or, for a ban, its end) leaves this state; it survives restarts."""
        return self in _TERMINAL

    @property
    def connected(self) -> bool:
        return self in {SessionState.ONLINE, SessionState.DEGRADED}


_TERMINAL = frozenset(
    {
        SessionState.LOGGED_OUT,
        SessionState.BANNED,
        SessionState.OUTDATED,
        SessionState.PARKED,
    }
)


class AccountStatus(Numbered):
    """What the API and the health endpoint say of an account as a whole."""

    ONLINE = ("online", 3)  # every paired slot is online and both are paired
    DEGRADED = ("degraded", 2)  # one slot is online, the other is not, or is not paired
    OFFLINE = ("offline", 1)
    UNPAIRED = ("unpaired", 0)


class MessageStatus(Numbered):
    """How far a message of a conversation has come. It only grows."""

    RECEIVED = ("received", 0)  # somebody else's message
    SENT = ("sent", 1)  # own: the server has it
    DELIVERED = ("delivered", 2)
    READ = ("read", 3)
    PLAYED = ("played", 4)  # voice and video


class OutboxState(Numbered):
    """What became of a message that was accepted for sending."""

    QUEUED = ("queued", 0)
    SENDING = ("sending", 1)
    SENT = ("sent", 2)
    DELIVERED = ("delivered", 3)
    READ = ("read", 4)
    UNKNOWN = ("unknown", 5)
    EXPIRED = ("expired", 6)
    FAILED = ("failed", 7)
    CANCELLED = ("cancelled", 8)


class SendingState(Numbered):
    """Whether an account sends at its usual rate. The number is exported and never changes."""

    NORMAL = ("normal", 0)
    SLOWED = ("slowed", 1)  # WhatsApp refused something: slower for a while
    PAUSED = ("paused", 2)
    BANNED = ("banned", 3)  # neither slot sends before the ban's end
