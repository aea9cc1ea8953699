"""The webhooks as one part: told of messages and receipts by the queue, of accounts by the events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from tandem.clock import Clock, Random
from tandem.delivery.runner import Runner
from tandem.errors import Transient
from tandem.model.event import Event, EventType, Publish
from tandem.model.ids import AccountId
from tandem.model.states import SessionState
from tandem.model.views import AccountView
from tandem.policy.delivery import DeliveryLimits
from tandem.queue.announcements import ACCOUNT_STATUS, WEBHOOK, parcel
from tandem.queue.deliveries import Deliveries
from tandem.settings import WebhookSettings
from tandem.webhook.endpoint import endpoints_of
from tandem.webhook.sender import Sender

_log = structlog.get_logger(__name__)
_LANES = 8
_SETTLE = 1.0
"""Seconds that an account may change before it is looked at: a restart's moves are one piece of news."""


class Webhooks:
    """``configure`` before anything comes in, ``run`` as a task; ``heard`` listens to the events."""

    def __init__(
        self,
        settings: WebhookSettings,
        deliveries: Deliveries,
        *,
        clock: Clock,
        random: Random,
        publish: Publish,
    ) -> None:
        """Raises Misconfigured."""
        self.accounts: Callable[[], Sequence[AccountView]] = tuple
        self._settings = settings
        self._endpoints = endpoints_of(settings)
        self._deliveries = deliveries
        self._clock = clock
        self._random = random
        self._publish = publish
        self._news = asyncio.Event()
        self._told: dict[AccountId, dict[str, object]] = {}

    async def configure(self) -> None:
        """Let the endpoints of the settings be those that are told. Raises StoreUnavailable."""
        buried = await self._deliveries.configure(WEBHOOK, [endpoint.name for endpoint in self._endpoints])
        if buried:
            reason = "their endpoint is not configured any more"
            words = f"{buried} deliveries became dead letters: {reason}"
            self._publish(EventType.DELIVERY_FAILED, words, reason=reason, count=buried)

    def heard(self, event: Event) -> None:
        """Take notice that something has happened to an account."""
        if event.account is not None and self._endpoints:
            self._news.set()

    async def run(self) -> None:
        """Deliver to every endpoint, for ever; one knows nothing of the others."""
        settings = self._settings
        if not self._endpoints:
            return
        sender = Sender(self._clock, timeout=settings.timeout, allow_private=settings.allow_private, most=_LANES)
        async with sender, asyncio.TaskGroup() as tasks:
            for endpoint in self._endpoints:
                runner = Runner(
                    endpoint.name,
                    self._deliveries,
                    partial(sender.send, endpoint),
                    lanes=_LANES,
                    most_waiting=settings.max_waiting,
                    limits=DeliveryLimits(max_age=settings.max_age),
                    clock=self._clock,
                    random=self._random,
                    publish=self._publish,
                )
                tasks.create_task(runner.run(), name=f"webhook {endpoint.name}")
            tasks.create_task(self._tell_of_accounts(), name="webhook accounts")

    async def _tell_of_accounts(self) -> None:
        while True:
            await self._news.wait()
            await self._clock.sleep(_SETTLE)
            self._news.clear()
            try:
                await self._compare()
            except Transient as error:
                _log.warning("deliveries_wait", reason=str(error))
                self._news.set()

    async def _compare(self) -> None:
        """Put what has changed about the accounts since the last look."""
        now = self._clock.now()
        seen = {view.account.id: _said(view) for view in self.accounts()}
        for account in self._told.keys() - seen.keys():
            seen[account] = {"account": account, "status": "removed", "pairingNeeded": False, "slots": []}
        changed = {account: said for account, said in seen.items() if self._told.get(account) != said}
        parcels = [parcel(f"msg_{self._random.token()}", ACCOUNT_STATUS, said, now) for said in changed.values()]
        await self._deliveries.put(WEBHOOK, parcels)
        self._told.update(changed)


def _said(view: AccountView) -> dict[str, object]:
    unlinked = {SessionState.UNPAIRED, SessionState.LOGGED_OUT}
    return {
        "account": view.account.id,
        "status": str(view.status),
        "pairingNeeded": any(slot.state in unlinked for slot in view.slots),
        "slots": [
            {"slot": str(slot.slot), "role": str(slot.role), "state": str(slot.state), "terminal": slot.state.terminal}
            for slot in view.slots
        ],
    }
