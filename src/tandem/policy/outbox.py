"""What may become of a message that was accepted for sending.

    queued ──claim──► sending ──accepted──► sent ──delivered──► delivered ──read──► read
      ▲  │               │ │ └──rejected──► failed
      │  ├─expire─► expired │
      │  └─cancel─► cancelled ◄──give up──┐
      ├──not sent────────┘  └──unknown, restart──► unknown ──echo, receipt──► sent …
      └──send again (proof), resend (operator)────┘

Invariants: nothing but ``queued`` is ever sent, and only a proof that the server does not have it (``NOT_SENT``, and
``SEND_AGAIN`` by ``policy.reconciliation``) or an operator who takes it upon himself (``RESEND``) leads back there, so
no message is sent blindly again. Evidence of a server ack (a result, the partner's echo, a receipt) wins over every
other opinion and is never taken back: sent, delivered and read only grow. Time spent offline is no input.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tandem.errors import Conflict
from tandem.model.outbox import SendOutcome
from tandem.model.states import OutboxState


class Input(Enum):
    """What happens to a row."""

    CLAIM = "claim"  # the dispatcher is about to call the library
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    RESTARTED = "restarted"  # the daemon ended while the call was under way
    ECHO = "echo"  # the account's other device received the message
    DELIVERED = "delivered"
    READ = "read"
    EXPIRE = "expire"
    CANCEL = "cancel"  # nobody wants it sent any more
    SEND_AGAIN = "send_again"  # proof that an unknown send did not reach the server
    PARK = "park"  # there is such a proof, but the message is to wait for an operator
    RESEND = "resend"  # an operator wants an unknown send sent again
    GIVE_UP = "give_up"  # an operator does not

    @classmethod
    def of(cls, outcome: SendOutcome) -> Input:
        return cls(outcome.value)


@dataclass(frozen=True, slots=True)
class Step:
    """The new state, whether it is new, and why in words; ``attempt`` counts a call that reached the network.

    A reason without a change is a better reason for the same state.
    """

    state: OutboxState
    changed: bool
    reason: str = ""
    attempt: bool = False


_PROOF = {
    Input.ACCEPTED: OutboxState.SENT,
    Input.ECHO: OutboxState.SENT,
    Input.DELIVERED: OutboxState.DELIVERED,
    Input.READ: OutboxState.READ,
}
_PROOF_WORDS = {
    Input.ACCEPTED: "acknowledged by the server",
    Input.ECHO: "seen by the account's other device",
    Input.DELIVERED: "delivered",
    Input.READ: "read",
}
PROVEN = (OutboxState.SENT, OutboxState.DELIVERED, OutboxState.READ)
"""The server has it; each says more than the one before."""
ENDED = frozenset({OutboxState.EXPIRED, OutboxState.FAILED, OutboxState.CANCELLED})
"""It will not be sent; only proof that it was still changes anything."""
_RESULTS = {
    Input.REJECTED: OutboxState.FAILED,
    Input.NOT_SENT: OutboxState.QUEUED,
    Input.UNKNOWN: OutboxState.UNKNOWN,
    Input.RESTARTED: OutboxState.UNKNOWN,
}
_RESULT_WORDS = {
    Input.REJECTED: "refused by the server",
    Input.NOT_SENT: "waits for a session that is online",
    Input.UNKNOWN: "no answer: it may have been sent",
    Input.RESTARTED: "the daemon ended during the send: it may have been sent",
}
_QUEUED, _UNKNOWN, _CANCELLED = OutboxState.QUEUED, OutboxState.UNKNOWN, OutboxState.CANCELLED
# From which state an act leads where, why, and what cannot be done otherwise.
_ACTS = {
    Input.CLAIM: (_QUEUED, OutboxState.SENDING, "", "sent"),
    Input.EXPIRE: (_QUEUED, OutboxState.EXPIRED, "not sent before its time was over", "expired"),
    Input.CANCEL: (_QUEUED, _CANCELLED, "cancelled before it was sent", "cancelled"),
    Input.RESEND: (_UNKNOWN, _QUEUED, "to be sent again: an operator wants it", "sent again"),
    Input.GIVE_UP: (_UNKNOWN, _CANCELLED, "given up by an operator: it may have been sent", "given up"),
}
_ATTEMPTS = frozenset({Input.ACCEPTED, Input.REJECTED, Input.UNKNOWN, Input.RESTARTED})


def step(state: OutboxState, happened: Input, detail: str = "") -> Step:
    """Decide. ``detail`` is the cause, if one is known, and becomes part of the reason.

    Raises Conflict for what must never happen: to claim what is not queued, to expire what may have been sent.
    """
    if happened in _PROOF:
        return _prove(state, happened)
    if happened in _RESULTS:
        return _conclude(state, happened, detail)
    if happened in {Input.SEND_AGAIN, Input.PARK}:
        return _reconcile(state, happened, detail)
    needed, after, reason, done = _ACTS[happened]
    if state is not needed:
        raise Conflict(f"a message that is {state} cannot be {done}")
    return Step(after, changed=True, reason=reason)


def _reconcile(state: OutboxState, happened: Input, why: str) -> Step:
    """What was proven meanwhile stays. A parked message stays unknown and says why."""
    if state is not OutboxState.UNKNOWN:
        return Step(state, changed=False)
    if happened is Input.PARK:
        return Step(state, changed=False, reason=f"parked, send it again or give it up: {why}")
    return Step(OutboxState.QUEUED, changed=True, reason=f"to be sent again: {why}")


def _prove(state: OutboxState, happened: Input) -> Step:
    proven = _PROOF[happened]
    attempt = happened is Input.ACCEPTED and state is not OutboxState.UNKNOWN  # counted when it became unknown
    if state in PROVEN and PROVEN.index(state) >= PROVEN.index(proven):
        return Step(state, changed=False, attempt=attempt)
    return Step(proven, changed=True, reason=_PROOF_WORDS[happened], attempt=attempt)


def _conclude(state: OutboxState, happened: Input, detail: str) -> Step:
    """A result counts for the call it belongs to; what was proven meanwhile stays."""
    if state is not OutboxState.SENDING:
        return Step(state, changed=False)
    words = _RESULT_WORDS[happened]
    reason = f"{words}: {detail}" if detail else words
    return Step(_RESULTS[happened], changed=True, reason=reason, attempt=happened in _ATTEMPTS)
