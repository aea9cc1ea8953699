"""This instance's part among several, as supervision sees it."""

from __future__ import annotations

from math import inf
from typing import Protocol

from tandem.model.account import Account
from tandem.model.cluster import SlotStanding
from tandem.model.cluster_view import LeaseView
from tandem.model.ids import AccountId
from tandem.model.states import Slot


class Part(Protocol):
    """All but the two acts answer at once, from memory."""

    @property
    def alone(self) -> bool:
        """Whether there is no other instance, so that every account runs here."""
        ...

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots that this instance runs, the one to link first first."""
        ...

    def keys_are_ours(self) -> bool:
        """Whether nobody else can have a right to the keys in this data directory."""
        ...

    def may_send_until(self, account: AccountId) -> float:
        """Return the end of the right to run an account (monotonic seconds), long past if there is none."""
        ...

    def lease(self, account: AccountId) -> LeaseView | None: ...

    def elsewhere(self, account: AccountId, slot: Slot) -> tuple[str, SlotStanding] | None:
        """Return which instance runs a slot that does not run here, and how it stands there; None if none is known."""
        ...

    async def add(self, account: Account) -> None:
        """Make an account known to all and take its lease. Raises InstancePassive, StoreUnavailable."""

    async def remove(self, account: AccountId) -> None:
        """Let all instances forget an account. Raises InstancePassive, StoreUnavailable."""


class Alone:
    """There is one instance."""

    alone = True
    slots = (Slot.PRIMARY, Slot.BACKUP)

    def keys_are_ours(self) -> bool:
        return True

    def may_send_until(self, account: AccountId) -> float:  # noqa: ARG002 - the port's
        return inf

    def lease(self, account: AccountId) -> LeaseView | None:  # noqa: ARG002 - the port's
        return None

    def elsewhere(self, account: AccountId, slot: Slot) -> tuple[str, SlotStanding] | None:  # noqa: ARG002 - the port's
        return None

    async def add(self, account: Account) -> None:
        pass

    async def remove(self, account: AccountId) -> None:
        pass
