"""What a device host tells the daemon about its session: the input of the session machine.

Every signal belongs to one generation of one slot; the link adds both. Names follow the library's events.
"""

from __future__ import annotations

from dataclasses import dataclass

from tandem.model.reason import Reason


@dataclass(frozen=True, slots=True)
class Started:
    """The host process is up and has its key store open. ``paired`` says whether the store holds a device.

    ``keep_alive`` is the library's longest wait between two pings in seconds, as it read back after it was set; None
    where its timings cannot be set.
    """

    pid: int
    paired: bool
    keep_alive: float | None = None


@dataclass(frozen=True, slots=True)
class QrShown:
    """A QR text to show, a secret: never logged. ``expires_in`` in seconds."""

    text: str
    expires_in: float


@dataclass(frozen=True, slots=True)
class PairSucceeded:
    device: str  # the linked device's JID


@dataclass(frozen=True, slots=True)
class PairFailed:
    """``cause`` says more than ``reason``, where the library said more."""

    reason: str
    cause: Reason | None = None


@dataclass(frozen=True, slots=True)
class Connected:
    """Logged in. Word of the offline messages comes shortly before or after this."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link is lost and the library tries again by itself."""


@dataclass(frozen=True, slots=True)
class KeepAliveTimeout:
    errors: int


@dataclass(frozen=True, slots=True)
class KeepAliveRestored:
    pass


@dataclass(frozen=True, slots=True)
class PingTimed:
    """Round trip of the library's own keep-alive ping, or of a probe, in milliseconds."""

    milliseconds: float


@dataclass(frozen=True, slots=True)
class RateLimited:
    """WhatsApp said that it is asked too much; ``detail`` in words, without any number but WhatsApp's code.

    ``answered_send``: it was the answer to a send, so that whoever sends tells of it.
    """

    detail: str
    answered_send: bool = False


@dataclass(frozen=True, slots=True)
class SyncPreviewed:
    count: int


@dataclass(frozen=True, slots=True)
class SyncCompleted:
    count: int


@dataclass(frozen=True, slots=True)
class LoggedOut:
    reason: str
    on_connect: bool


@dataclass(frozen=True, slots=True)
class Replaced:
    """Somebody else connected with this device's keys."""


@dataclass(frozen=True, slots=True)
class Banned:
    """Temporary ban; ``seconds`` until its end, 0 if unknown."""

    code: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Outdated:
    """The server refuses this release of the library."""


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """Login refused for a reason that is none of the above."""

    reason: str


@dataclass(frozen=True, slots=True)
class StreamErrored:
    code: str


@dataclass(frozen=True, slots=True)
class HostEnded:
    """The host process is gone. ``code`` is its exit code, negative for a signal; ``reason`` is in words.

    ``unreachable``: it ended because WhatsApp could not be reached.
    """

    code: int
    reason: str
    unreachable: bool = False


Signal = (
    Started
    | QrShown
    | PairSucceeded
    | PairFailed
    | Connected
    | Disconnected
    | KeepAliveTimeout
    | KeepAliveRestored
    | PingTimed
    | RateLimited
    | SyncPreviewed
    | SyncCompleted
    | LoggedOut
    | Replaced
    | Banned
    | Outdated
    | ConnectFailed
    | StreamErrored
    | HostEnded
)
