"""The 14-day rule: WhatsApp unlinks every device of a phone that was away that long. Pure.

Whatever the number's own device 0 sends proves that the phone was there: a message typed on it, a receipt of it, and
the scan that linked a device. Sources: WhatsApp's help on linked devices (the phone must be used every 14 days);
mautrix-whatsapp's ``phoneping.go`` (its warning after 12 days).
"""

from __future__ import annotations

from dataclasses import replace

from tandem.model.message import DecodedMessage, DecodedReceipt
from tandem.model.phone import Presence, Proof
from tandem.model.reason import OPEN_WHATSAPP, OPEN_WHATSAPP_TODAY

DAY = 86_400.0
LIMIT_DAYS = 14
WARN_DAYS = 10
CRITICAL_DAYS = 12
SAVED_EVERY = 3_600.0
"""Seconds: how coarsely it is written down. Against days that is nothing, and a chatty phone costs no disk."""

_RECEIPTS = frozenset({
    "delivered", "sender", "retry", "read", "read-self", "played", "played-self", "inactive", "peer",
})  # fmt: skip


def sighting(decoded: object, now: float) -> Presence | None:
    """Return when what came in shows the phone to have been there, None if it shows nothing.

    What was offline for long comes with its own time: the phone was there then, not now.
    """
    if isinstance(decoded, DecodedMessage) and decoded.from_me and decoded.sender.device == 0:
        at, proof = decoded.timestamp / 1000, Proof.MESSAGE
    elif isinstance(decoded, DecodedReceipt) and _of_own_phone(decoded):
        at, proof = float(decoded.timestamp), Proof.RECEIPT
    else:
        return None
    return Presence(min(at, now), proof) if at > 0 else None


def later(known: Presence | None, new: Presence) -> Presence:
    """Return what is known after a sighting. An older one changes nothing; a newer one ends what was warned of."""
    if known is None or known.proof is Proof.NONE or new.at > known.at:
        return new
    return known


def unseen_days(presence: Presence | None, now: float) -> int:
    """Return for how many whole days the phone was not seen; 0 if nothing is known."""
    return 0 if presence is None else max(0, int((now - presence.at) // DAY))


def warned(presence: Presence, now: float) -> Presence:
    """Return the presence as it is when people know what there is to know: its ``told`` grows when they must be."""
    days = unseen_days(presence, now)
    due = next((mark for mark in (CRITICAL_DAYS, WARN_DAYS) if days >= mark), 0)
    return replace(presence, told=max(presence.told, due))


def words(days: int) -> str:
    return f"the phone has not been seen for {days} of the {LIMIT_DAYS} days after which WhatsApp unlinks every device"


def next_step(days: int) -> str:
    return OPEN_WHATSAPP_TODAY if days >= CRITICAL_DAYS else OPEN_WHATSAPP


def worth_saving(saved: Presence | None, now: Presence) -> bool:
    """Whether a presence differs enough from what is on the disk."""
    if saved is None or saved.told != now.told or (saved.proof is Proof.NONE and now.proof is not Proof.NONE):
        return True
    return now.at - saved.at >= SAVED_EVERY


def _of_own_phone(receipt: DecodedReceipt) -> bool:
    return receipt.from_me and receipt.sender.device == 0 and receipt.kind in _RECEIPTS
