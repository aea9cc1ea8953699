"""Messages that no slot could decrypt: looked for, told of once, kept as dead letters.

That one slot cannot decrypt a message is ordinary and nobody's business as long as its partner can, or WhatsApp gets it
a readable copy from the sender. Only when neither has happened within a patience is the message missing. While a linked
slot is away, its copy may still come: then it has longer.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from tandem.clock import Clock
from tandem.errors import Transient
from tandem.model.event import EventType, Publish
from tandem.model.ids import AccountId
from tandem.queue.unread import Unread

_log = structlog.get_logger(__name__)
_LONGEST = 6 * 3600.0  # seconds that a slot that is away is waited for


class Unreadable:
    """``run`` is its task. ``away`` says whether a linked slot of an account is not online; ``patience`` in seconds."""

    def __init__(
        self, unread: Unread, patience: float, away: Callable[[AccountId], bool], *, clock: Clock, publish: Publish
    ) -> None:
        self._unread = unread
        self._patience = patience
        self._away = away
        self._clock = clock
        self._publish = publish

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._clock.sleep(min(30.0, self._patience / 4))
            try:
                await self._look(self._patience, self._away)
                await self._look(max(self._patience, _LONGEST), lambda _account: False)
            except Transient as error:
                _log.warning("unreadable_not_looked_for", reason=str(error))

    async def _look(self, age: float, spared: Callable[[AccountId], bool]) -> None:
        reason = f"no slot could decrypt it within {age:g} s, and no readable copy came"
        for given_up in await self._unread.give_up(self._clock.now() - age, reason, spared):
            self._publish(
                EventType.MESSAGE_UNDECRYPTABLE,
                f"a message is missing: {reason}",
                account=given_up.account,
                slot=given_up.slot,
                reason=reason,
                letter=given_up.letter,
            )
