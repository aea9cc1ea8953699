"""Accounts and what is remembered of their slots across restarts."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.model.ids import AccountId, Number
from tandem.model.states import SessionState, Slot


@dataclass(frozen=True, slots=True)
class Account:
    """One phone number. ``created_at`` is in Unix seconds."""

    id: AccountId
    number: Number
    name: str
    created_at: float


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What is durable of a slot: its linked device, and a terminal state if it is in one.

    ``device`` is the linked device's JID (``number:n@s.whatsapp.net``), empty when unpaired; ``until`` is the end of a
    ban in Unix seconds, 0 otherwise; ``since`` is in Unix seconds; ``release`` is that of the library that wrote it;
    ``linked_since`` in Unix seconds, 0 if it was before anybody noted it.
    """

    account: AccountId
    slot: Slot
    device: str = ""
    state: SessionState = SessionState.UNPAIRED
    reason: str = ""
    since: float = 0.0
    until: float = 0.0
    release: str = ""
    linked_since: float = 0.0
