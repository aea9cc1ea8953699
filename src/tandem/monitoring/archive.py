"""Keeps events in the store, so that they outlive the daemon and their readers need not ask it.

A reader of the stream like any other: it has a bounded queue of its own, so a store that is slow or away delays nobody.
What does not fit is counted; frequent kinds are sampled (``policy.sampling``), since every event is a write that costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from tandem.clock import Clock, Random
from tandem.errors import PoisonMessage, TandemError, Transient
from tandem.model.event import Event, EventType
from tandem.monitoring.events import EventStream
from tandem.policy.backoff import full_jitter
from tandem.policy.sampling import Rate, Sampler

_log = structlog.get_logger(__name__)
_QUEUE = 2000
_RECALLED = 200  # each is a read that costs
_LOOK = 3600.0
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0

_USUAL = Rate(burst=20, per_hour=20)
_RATES: Mapping[EventType, Rate] = {
    EventType.MESSAGE_SENT: Rate(0, 0),  # the message itself is in the store
    EventType.BATCH_SAVED: Rate(1, 1),
    EventType.SESSION_STATE: Rate(10, 10),
}


class EventKeeper(Protocol):
    """The store, as far as it is needed here."""

    async def events(self, limit: int) -> Sequence[Event]:
        """Newest first."""
        ...

    async def save_event(self, event: Event) -> None:
        """Raise StoreUnavailable when it does not answer, PoisonMessage for what it can never hold."""


class Archive:
    """``run`` is its task. ``kept``, ``sampled_out``, ``lost`` count since the start."""

    def __init__(self, events: EventStream, store: EventKeeper, clock: Clock, random: Random) -> None:
        self.kept = 0
        self.sampled_out = 0
        self.lost = 0
        self._events = events
        self._store = store
        self._clock = clock
        self._random = random
        self._sampler = Sampler()

    async def run(self) -> None:
        """Show what was kept before this start, then keep what comes, until cancelled."""
        with self._events.subscribe(_QUEUE) as subscription:
            await self._recall()
            while not subscription.closed:
                for event in await subscription.next(_LOOK):
                    await self._keep(event)
                if dropped := subscription.take_dropped():
                    self.lost += dropped
                    _log.warning(
                        "events_not_kept", message=f"{dropped} events were not kept in the store", count=dropped
                    )

    async def _recall(self) -> None:
        try:
            self._events.restore(await self._store.events(_RECALLED))
        except TandemError as error:
            _log.warning("earlier_events_not_shown", message="The store's events could not be read", reason=str(error))

    async def _keep(self, event: Event) -> None:
        rate = _RATES.get(event.type, _USUAL)
        omitted = self._sampler.admit((event.type, event.account), rate, self._clock.monotonic())
        if omitted is None:
            self.sampled_out += 1
            return
        if omitted:
            event = replace(event, data={**event.data, "omitted_before": omitted})
        failures = 0
        while True:
            try:
                await self._store.save_event(event)
            except Transient:
                failures += 1
                chance = self._random.uniform(0.0, 1.0)
                await self._clock.sleep(full_jitter(failures, chance, _FIRST_WAIT, _LONGEST_WAIT))
            except PoisonMessage as error:
                self.lost += 1
                _log.warning("event_refused_by_store", reason=str(error), type=str(event.type))
                return
            else:
                self.kept += 1
                return
