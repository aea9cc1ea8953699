"""What the outside is shown of an account: immutable snapshots, taken in one instant."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tandem.model.account import Account
from tandem.model.cluster_view import LeaseView
from tandem.model.ids import AccountId
from tandem.model.phone import Presence
from tandem.model.states import AccountStatus, Role, SendingState, SessionState, Slot


class PairMethod(StrEnum):
    QR = "qr"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class PairingView:
    """A pairing under way. ``text`` is the QR text or the code to type, empty until there is one: a secret.

    Times in Unix seconds: ``expires_at`` of this text, ``deadline`` of the whole pairing.
    """

    account: AccountId
    slot: Slot
    method: PairMethod
    text: str
    expires_at: float
    deadline: float


@dataclass(frozen=True, slots=True)
class SlotView:
    """``since`` in Unix seconds; ``quality`` 0 … 1, None while unknown; ``ping_ms`` the last round trip.

    ``keep_alive`` is the longest wait between two pings in seconds, None where the library keeps its own 20 to 30 s;
    ``quality_detail`` says in words what the quality lacks; ``next_step`` what the operator has to do, empty
    when there is nothing. ``banned_until`` in Unix seconds, 0 if it is not; ``logins`` within the last hour.
    ``instance`` names the instance that runs this slot, as that one tells; empty if it runs here.
    """

    slot: Slot
    device: str
    role: Role
    state: SessionState
    reason: str
    since: float
    generation: int
    quality: float | None
    ping_ms: float | None
    restarts: int
    pairing: PairingView | None
    keep_alive: float | None = None
    quality_detail: str = ""
    next_step: str = ""
    banned_until: float = 0.0
    logins: int = 0
    instance: str = ""


@dataclass(frozen=True, slots=True)
class SendingView:
    """The pace. ``per_minute`` None: no limit; ``until`` in Unix seconds, 0: no known end; ``reason`` in words.

    ``strangers_since`` and ``strangers_until``: when people without a conversation may not be written to, in Unix
    seconds, 0 if they may.
    """

    state: SendingState = SendingState.NORMAL
    per_minute: float | None = None
    until: float = 0.0
    reason: str = ""
    strangers_since: float = 0.0
    strangers_until: float = 0.0


@dataclass(frozen=True, slots=True)
class AccountView:
    """``lease``: who runs it, None where there is only one instance."""

    account: Account
    status: AccountStatus
    slots: tuple[SlotView, SlotView]
    sending: SendingView = SendingView()
    phone: Presence | None = None
    lease: LeaseView | None = None

    @property
    def linked(self) -> bool:
        return any(slot.device for slot in self.slots)

    def slot(self, slot: Slot) -> SlotView:
        return self.slots[0] if self.slots[0].slot is slot else self.slots[1]


@dataclass(frozen=True, slots=True)
class VitalSample:
    """A slot's vital signs at one instant (Unix seconds); None while it was not connected, or nothing is known."""

    at: float
    quality: float | None
    ping_ms: float | None


@dataclass(frozen=True, slots=True)
class QueueView:
    """What waits in a queue: how many, and the age of the oldest in seconds (0 when empty)."""

    name: str
    depth: int
    oldest_age: float
