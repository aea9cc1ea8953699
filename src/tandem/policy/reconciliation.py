"""What to do about a send whose fate is not known.

Three witnesses can tell. The sending device's key store names every message that was about to leave, before it does: no
entry for the row's secret proves that it never left, as long as the device has not been logged out since. The account's
other device gets an echo of everything the server took; the recipient answers with a receipt. Echo and receipt settle
the row by themselves; this policy decides only when their absence is proof enough, and what must happen first: as long
as the host that made the call lives, the library may still send.

Every kind of message leaves this proof, reactions and revokes too (tests/integration/whatsapp/test_host_contents.py).
A read mark leaves none and needs none: made twice it is made once.

A call that another instance made is foreign: its key stores are not here and its host cannot be ended from here. Its
lease has ended, so it is over a moment after that; then any own device is as good a witness as the partner.

Invariant: a message is sent again only if it never left, or if the other device has been online and caught up for
``patience`` seconds after the call was over and has not seen it; and not even then if it is to be parked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tandem.model.outbox import IfUnknown


class Action(Enum):
    """What to do now."""

    WAIT = "wait"
    END_HOST = "end_host"  # the library may still be sending: end its host, then look again
    SEND_AGAIN = "send_again"
    PARK = "park"  # it could be sent again, but an operator has to say so


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of an ``unknown`` send. Durations in seconds.

    ``age``: since it became unknown. ``call_over``: the host that made the call is gone. ``left``: the key stores name
    as many messages for its secret as there were attempts, or cannot testify any more. ``partner_watched``: how long
    the account's other device has been online, its offline messages received, since the call was over; 0 if it is not.
    ``repeatable``: sending it twice has the same effect as sending it once. ``foreign``: another instance made the
    call; ``left`` is true then.
    """

    age: float
    call_over: bool
    left: bool
    partner_watched: float
    repeatable: bool = False
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    action: Action
    reason: str


def judge(evidence: Evidence, patience: float, if_unknown: IfUnknown = IfUnknown.RESEND) -> Judgement:
    """Decide. ``patience`` seconds without an echo are proof that the server does not have the message."""
    judgement = _judge(evidence, patience)
    if judgement.action is Action.SEND_AGAIN and if_unknown is IfUnknown.PARK:
        return Judgement(Action.PARK, judgement.reason)
    return judgement


def _judge(evidence: Evidence, patience: float) -> Judgement:
    if evidence.repeatable:
        return Judgement(Action.SEND_AGAIN, "doing it twice changes nothing")
    if not evidence.call_over:
        return _under_way(evidence, patience)
    if not evidence.left:
        return Judgement(Action.SEND_AGAIN, "it never left: the device's key store does not name it")
    if evidence.partner_watched < patience:
        return Judgement(Action.WAIT, "it may have arrived: waiting for the echo on the account's other device")
    witness = "a device of the account" if evidence.foreign else "the account's other device"
    reason = f"{witness} has been online for {evidence.partner_watched:.0f} s and has not seen it"
    return Judgement(Action.SEND_AGAIN, reason)


def _under_way(evidence: Evidence, patience: float) -> Judgement:
    if evidence.foreign:
        return Judgement(Action.WAIT, "another instance may still be sending it")
    if evidence.age < patience:
        return Judgement(Action.WAIT, "the library may still be sending it")
    return Judgement(Action.END_HOST, f"a send has gone unanswered for {evidence.age:.0f} s")
