"""How things stand, for the alert rules: gathered from whoever knows it, counted nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tandem.errors import Transient
from tandem.model.ids import AccountId
from tandem.model.outage import Outage
from tandem.model.views import AccountView, SlotView
from tandem.monitoring.sources import Sources, messages_processed
from tandem.monitoring.tally import Tally
from tandem.policy.alert_rules import AccountFacts, Facts, SlotFacts, Thresholds
from tandem.policy.burn_rate import burning
from tandem.policy.survival import phone_unseen_days
from tandem.settings import AlertSettings


async def _none() -> int:
    return 0


def thresholds(wanted: AlertSettings) -> Thresholds:
    """Return the rules' thresholds as they are set."""
    return Thresholds(
        disconnects_per_hour=wanted.disconnects_per_hour,
        loss_ratio=wanted.loss_ratio,
        rate_limits_per_hour=wanted.rate_limits_per_hour,
        reconnect_failure_ratio=wanted.reconnect_failure_ratio,
        queue_age=wanted.queue_age,
        disk_free=wanted.disk_free,
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """Call it for the facts. ``outages`` are an account's last ones; ``now`` in Unix seconds.

    ``dead_letters`` may read the disk; the others answer from memory. ``objective`` is the availability that each
    account is to have, a ratio below 1.
    """

    sources: Sources
    tally: Tally
    thresholds: Thresholds
    now: Callable[[], float]
    dead_letters: Callable[[], Awaitable[int]] = _none
    outages: Callable[[AccountId], Sequence[Outage]] = lambda _: ()
    store_trouble: Callable[[], str] = str
    disk_free: Callable[[], float] = lambda: 1.0
    fleet_held: Callable[[], str] = str
    lease_trouble: Callable[[], str] = str
    objective: float = 0.999

    async def __call__(self) -> Facts:
        hour = self.tally.last_hour()
        processed = messages_processed(self.sources.traffic())
        return Facts(
            accounts=tuple(self._account(view) for view in self.sources.accounts()),
            disconnects=hour.get("disconnects", 0),
            reconnects=hour.get("reconnects", 0),
            reconnect_failures=hour.get("reconnectFails", 0),
            rate_limits=hour.get("rateLimits", 0),
            lost=hour.get("messageLoss", 0),
            processed=self.tally.processed_last_hour(processed),
            inbox_age=self.sources.inbox().oldest_age,
            outbox_age=self.sources.outbox().oldest_age,
            dead_letters=await self._dead_letters(),
            store_trouble=self.store_trouble(),
            disk_free=self.disk_free(),
            fleet_held=self.fleet_held(),
            lease_trouble=self.lease_trouble(),
            thresholds=self.thresholds,
        )

    async def _dead_letters(self) -> int:
        try:
            return await self.dead_letters()
        except Transient:
            return 0  # the disk's trouble has alerts of its own

    def _account(self, view: AccountView) -> AccountFacts:
        now = self.now()
        known = self.outages(view.account.id)
        spans = [(each.began, now if each.ended is None else each.ended) for each in known]
        window = burning(spans, now, self.objective)
        words = "" if window is None else f"downtime at {window.rate:g} times the budget over {window.long / 3600:g} h"
        return AccountFacts(
            view.account.id,
            view.status,
            tuple(self._slot(view.account.id, each) for each in view.slots),
            phone_unseen_days=phone_unseen_days(view, now),
            burning=words,
            burning_urgent=window is not None and window.urgent,
        )

    def _slot(self, account: AccountId, view: SlotView) -> SlotFacts:
        deaf = self.tally.deaf_lately(account, view.slot)
        return SlotFacts(view.slot, view.state, view.reason, paired=bool(view.device), deaf=deaf)
