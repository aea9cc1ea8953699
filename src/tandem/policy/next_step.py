"""What an operator has to do about a slot, by the state it is in. A pairing that failed says it by its own reason."""

from __future__ import annotations

from tandem.model import reason as steps
from tandem.model.states import SessionState as S

_STEPS = {
    S.UNPAIRED: steps.LINK,
    S.PAIRING: steps.LINK,
    S.CONNECTING: steps.NOTHING,
    S.SYNCING: steps.NOTHING,
    S.DEGRADED: steps.NOTHING,
    S.RECONNECTING: steps.NOTHING,
    S.WAITING: steps.NOTHING,
    S.CONFLICT: steps.END_THE_OTHER,
    S.LOGGED_OUT: steps.LINK_AGAIN,
    S.BANNED: steps.WAIT_FOR_BAN,
    S.OUTDATED: steps.UPGRADE,
    S.PARKED: steps.RESTART,
}


def next_step(state: S) -> str:
    """Return it in words; empty when all is well."""
    return _STEPS.get(state, "")
