"""How things stand, for the alert rules: gathered from whoever knows it, counted nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tandem.errors import Transient
from tandem.model.ids import AccountId
from tandem.model.views import AccountView
from tandem.monitoring.sources import Sources, messages_processed
from tandem.monitoring.tally import Tally
from tandem.policy.alert_rules import AccountFacts, Facts, SlotFacts, Thresholds
from tandem.policy.burn_rate import Interval, burning


async def _none() -> int:
    return 0


async def _no_outages() -> Mapping[AccountId, list[Interval]]:
    return {}


@dataclass(frozen=True, slots=True)
class Standing:
    """Call it for the facts. ``outages`` gives the last three days' intervals per account, in the time of ``now``.

    ``dead_letters`` and ``outages`` may read the disk; the others answer from memory. ``objective`` is the availability
    that each account is to have, a ratio below 1.
    """

    sources: Sources
    tally: Tally
    thresholds: Thresholds
    now: Callable[[], float]
    dead_letters: Callable[[], Awaitable[int]] = _none
    outages: Callable[[], Awaitable[Mapping[AccountId, list[Interval]]]] = _no_outages
    store_trouble: Callable[[], str] = str
    disk_free: Callable[[], float] = lambda: 1.0
    fleet_held: Callable[[], str] = str
    objective: float = 0.999

    async def __call__(self) -> Facts:
        hour = self.tally.last_hour()
        processed = messages_processed(self.sources.traffic())
        outages = await self.outages()
        return Facts(
            accounts=tuple(self._account(view, outages) for view in self.sources.accounts()),
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
            thresholds=self.thresholds,
        )

    async def _dead_letters(self) -> int:
        try:
            return await self.dead_letters()
        except Transient:
            return 0  # the disk's trouble has alerts of its own

    def _account(self, view: AccountView, outages: Mapping[AccountId, list[Interval]]) -> AccountFacts:
        window = burning(outages.get(view.account.id, []), self.now(), self.objective)
        words = "" if window is None else f"downtime at {window.rate:g} times the budget over {window.long / 3600:g} h"
        return AccountFacts(
            view.account.id,
            view.status,
            tuple(SlotFacts(each.slot, each.state, each.reason, paired=bool(each.device)) for each in view.slots),
            burning=words,
            burning_urgent=window is not None and window.urgent,
        )
