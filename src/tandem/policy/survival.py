"""What endangers an account as a whole, in words, with the next step. Pure: from what is shown of it and the time."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.model.reason import UPGRADE_IN_TIME, Reason
from tandem.model.states import SessionState as S
from tandem.model.views import AccountView, SlotView
from tandem.policy import phone

DAY = phone.DAY
OLD_LIBRARY = 90 * DAY
"""WhatsApp retired releases in September and December 2025 and in June 2026: three months are borrowed time."""

_IN_NEED = frozenset({S.UNPAIRED, S.LOGGED_OUT, S.BANNED, S.OUTDATED, S.PARKED, S.CONFLICT})


@dataclass(frozen=True, slots=True)
class Problem:
    """``since`` in Unix seconds."""

    reason: Reason
    since: float


def problems(account: AccountView, released: float, now: float) -> tuple[Problem, ...]:
    """Return what a person has to look after; ``released``: the day of the library's protocol code, in Unix seconds."""
    found = [_of_slot(slot) for slot in account.slots if slot.state in _IN_NEED]
    if (days := phone_unseen_days(account, now)) >= phone.WARN_DAYS and account.phone is not None:
        since = account.phone.at + phone.WARN_DAYS * DAY
        found.append(Problem(Reason("phone_unseen", phone.words(days), phone.next_step(days)), since))
    if now - released > OLD_LIBRARY:
        words = f"the library's knowledge of WhatsApp is {(now - released) / DAY:.0f} days old"
        found.append(Problem(Reason("library_old", words, UPGRADE_IN_TIME), released + OLD_LIBRARY))
    return tuple(found)


def phone_unseen_days(account: AccountView, now: float) -> int:
    """Return for how many whole days the phone was not seen; 0 while no device hangs on it."""
    return phone.unseen_days(account.phone, now) if account.linked else 0


def restricted_until(account: AccountView) -> float | None:
    """Return the end of the number's ban in Unix seconds, None if there is none."""
    return max((slot.banned_until for slot in account.slots if slot.banned_until), default=None)


def _of_slot(slot: SlotView) -> Problem:
    words = f"{slot.slot}: {slot.reason or slot.state}"
    return Problem(Reason(str(slot.state), words, slot.next_step), slot.since)
