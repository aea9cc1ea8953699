"""What endangers an account as a whole, in words, with the next step. Pure: from what is shown of it and the time."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.model.reason import FIND_WHAT_ENDS, UPGRADE_IN_TIME, WRITE_TO_KNOWN, Reason
from tandem.model.states import SessionState as S
from tandem.model.views import AccountView, SlotView
from tandem.policy import phone

DAY = phone.DAY
HOUR = 3_600.0
MANY_LOGINS = 20
"""Of both devices within an hour. A quiet account logs in a few times a day."""

OLD_LIBRARY = 90 * DAY
"""WhatsApp retired releases in September and December 2025 and in June 2026: three months are borrowed time."""

_IN_NEED = frozenset({S.UNPAIRED, S.LOGGED_OUT, S.BANNED, S.OUTDATED, S.PARKED, S.CONFLICT})


@dataclass(frozen=True, slots=True)
class Problem:
    """``since`` in Unix seconds; ``until`` its known end, 0 if there is none."""

    reason: Reason
    since: float
    until: float = 0.0


def problems(account: AccountView, released: float, now: float) -> tuple[Problem, ...]:
    """Return what a person has to look after; ``released``: the day of the library's protocol code, in Unix seconds."""
    of_slots = [_of_slot(slot) for slot in account.slots if slot.state in _IN_NEED]
    of_account = (
        _of_phone(account, now),
        _restriction(account, now),
        _logins(account, now),
        old_library(released, now),
    )
    return (*of_slots, *(problem for problem in of_account if problem))


def old_library(released: float, now: float) -> Problem | None:
    """Return the problem that the library has become too old, if it has."""
    if now - released <= OLD_LIBRARY:
        return None
    words = f"the library's knowledge of WhatsApp is {(now - released) / DAY:.0f} days old"
    return Problem(Reason("library_old", words, UPGRADE_IN_TIME), released + OLD_LIBRARY)


def phone_unseen_days(account: AccountView, now: float) -> int:
    """Return for how many whole days the phone was not seen; 0 while no device hangs on it."""
    return phone.unseen_days(account.phone, now) if account.linked else 0


def restricted_until(account: AccountView) -> float | None:
    """Return the end of the number's ban in Unix seconds, None if there is none."""
    return max((slot.banned_until for slot in account.slots if slot.banned_until), default=None)


def _of_phone(account: AccountView, now: float) -> Problem | None:
    days = phone_unseen_days(account, now)
    if account.phone is None or days < phone.WARN_DAYS:
        return None
    reason = Reason("phone_unseen", phone.words(days), phone.next_step(days))
    return Problem(reason, account.phone.at + phone.WARN_DAYS * DAY)


def _restriction(account: AccountView, now: float) -> Problem | None:
    """A second device does not lift it: it is the number's."""
    sending = account.sending
    if sending.strangers_until <= now:
        return None
    words = "WhatsApp restricts messages to people that this number has no conversation with (463)"
    return Problem(Reason("restricted", words, WRITE_TO_KNOWN), sending.strangers_since, sending.strangers_until)


def _logins(account: AccountView, now: float) -> Problem | None:
    count = sum(slot.logins for slot in account.slots)
    if count <= MANY_LOGINS:
        return None
    words = (
        f"its devices logged in, or tried to, {count} times within the last hour; more than {MANY_LOGINS} is unusual"
    )
    return Problem(Reason("logins_many", words, FIND_WHAT_ENDS), now - HOUR)


def _of_slot(slot: SlotView) -> Problem:
    words = f"{slot.slot}: {slot.reason or slot.state}"
    return Problem(Reason(str(slot.state), words, slot.next_step), slot.since)
