"""Keeps account of when each number's own phone was last seen, and warns before WhatsApp unlinks its devices.

``noted`` and ``linked`` only remember; ``run`` looks now and then, tells what ``policy.phone`` says is to be told, and
writes down what has changed enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from tandem.clock import Clock
from tandem.errors import Transient
from tandem.model.event import EventType, Publish
from tandem.model.ids import AccountId
from tandem.model.phone import Presence, Proof
from tandem.model.views import AccountView
from tandem.policy import phone as policy
from tandem.queue.phones import Phones

_log = structlog.get_logger(__name__)
_LOOK_EVERY = 600.0  # seconds: the marks are days apart


class PhoneKeeper:
    """``prepare`` before anything comes in, ``run`` as a task. ``accounts`` are those there are, from memory."""

    def __init__(
        self, table: Phones, accounts: Callable[[], Sequence[AccountView]], *, clock: Clock, publish: Publish
    ) -> None:
        self._table = table
        self._accounts = accounts
        self._clock = clock
        self._publish = publish
        self._known: dict[AccountId, Presence] = {}
        self._saved: dict[AccountId, Presence] = {}
        self._wake = asyncio.Event()

    async def prepare(self) -> None:
        """Learn what the last run of the daemon knew. Raises StoreUnavailable."""
        self._saved = await self._table.load()
        self._known = dict(self._saved)

    def of(self, account: AccountId) -> Presence | None:
        return self._known.get(account)

    def noted(self, account: AccountId, decoded: object) -> None:
        """Hear of something that came in for an account. Returns at once."""
        sighting = policy.sighting(decoded, self._clock.now())
        if sighting is not None:
            self._see(account, sighting)

    def linked(self, account: AccountId) -> None:
        """The account's phone has just linked a device: it was there."""
        self._see(account, Presence(self._clock.now(), Proof.LINKED))
        self._wake.set()

    def removed(self, account: AccountId) -> None:
        """Forget an account."""
        self._known.pop(account, None)
        self._saved.pop(account, None)

    async def run(self) -> None:
        """Warn in time and write down what has changed, until cancelled."""
        while True:
            self._look()
            try:
                await self._save()
            except Transient as error:
                _log.warning("phones_not_saved", reason=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._wake.wait()
            self._wake.clear()

    def _see(self, account: AccountId, sighting: Presence) -> None:
        before = self._known.get(account)
        known = self._known[account] = policy.later(before, sighting)
        if before is None or (before.proof is Proof.NONE and known.proof is not Proof.NONE):
            self._wake.set()
        if before is not None and before.told and not known.told:
            days = policy.unseen_days(before, sighting.at)
            sentence = f"the phone is there again after {days} days"
            self._publish(EventType.PHONE_SEEN, sentence, account=account, reason=known.proof, days=days)
            self._wake.set()

    def _look(self) -> None:
        now = self._clock.now()
        for view in self._accounts():
            if view.linked:
                self._warn(view.account.id, self._known.get(view.account.id) or Presence(now), now)

    def _warn(self, account: AccountId, before: Presence, now: float) -> None:
        known = self._known[account] = policy.warned(before, now)
        if known.told == before.told:
            return
        days = policy.unseen_days(known, now)
        step = policy.next_step(days)
        self._publish(
            EventType.PHONE_UNSEEN,
            f"{policy.words(days)}: {step}",
            account=account,
            days=days,
            next_step=step,
            severity="critical" if known.told >= policy.CRITICAL_DAYS else "warning",
        )

    async def _save(self) -> None:
        due = {name: each for name, each in self._known.items() if policy.worth_saving(self._saved.get(name), each)}
        if due:
            await self._table.save(due)
            self._saved.update({name: each for name, each in due.items() if name in self._known})
