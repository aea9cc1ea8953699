"""Works off what waits for one endpoint: its lanes beside each other, each in order, until it has everything.

A failed delivery holds its lane until its next attempt. An endpoint that fails again and again is asked with one
delivery at a time, more and more seldom; the first that it takes sets it free. Knows nothing of what it delivers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from tandem.clock import Clock, Random
from tandem.errors import Transient
from tandem.model.event import EventType, Publish
from tandem.policy.delivery import DeliveryLimits, next_wait, pause
from tandem.queue.deliveries import Deliveries
from tandem.queue.delivery_rows import Delivery, Parcel

_log = structlog.get_logger(__name__)
_TIDY_INTERVAL = 1.0
_DISK_RETRY = 1.0
_DEGRADED_AFTER = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """``asked``: seconds that the endpoint wants to be left alone, 0 if it said nothing."""

    taken: bool
    reason: str
    asked: float = 0.0


Send = Callable[[Parcel], Awaitable[Outcome]]


class Runner:
    """``run`` as a task. At most ``lanes`` deliveries are under way and ``most_waiting`` wait on the disk."""

    def __init__(
        self,
        endpoint: str,
        deliveries: Deliveries,
        send: Send,
        *,
        lanes: int,
        most_waiting: int,
        limits: DeliveryLimits,
        clock: Clock,
        random: Random,
        publish: Publish,
    ) -> None:
        self.endpoint = endpoint
        self._deliveries = deliveries
        self._send = send
        self._lanes = lanes
        self._most_waiting = most_waiting
        self._limits = limits
        self._clock = clock
        self._random = random
        self._publish = publish
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._failures = 0
        self._failing: set[str] = set()  # lanes that have failed since anything was taken
        self._degraded = False
        self._paused_until = float("-inf")
        self._tidied_at = float("-inf")
        self._news = asyncio.Event()
        deliveries.subscribe(self._news.set)

    async def run(self) -> None:
        """Deliver what comes, for ever."""
        try:
            while True:
                self._news.clear()
                try:
                    await self._tidy()
                    wait = await self._start()
                except Transient as error:
                    _log.warning("deliveries_wait", endpoint=self.endpoint, reason=str(error))
                    wait = _DISK_RETRY
                await self._rest(wait)
        finally:
            tasks = list(self._under_way.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _rest(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _start(self) -> float | None:
        """Start what is due as far as there is room. Returns how long to wait for more, None for news alone."""
        left = self._paused_until - self._clock.monotonic()
        if left > 0:
            return left
        room = (1 if self._failures else self._lanes) - len(self._under_way)
        if room <= 0:
            return None
        for delivery in await self._deliveries.due(self.endpoint, 2 * self._lanes):
            if room and delivery.sequence not in self._under_way:
                room -= 1
                self._under_way[delivery.sequence] = asyncio.create_task(self._deliver(delivery))
        following = await self._deliveries.next_time(self.endpoint)
        return None if following is None else max(0.0, following - self._clock.now())

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            outcome = await self._send(delivery.parcel)
            while not await self._settled(delivery, outcome):
                await self._clock.sleep(_DISK_RETRY)
        except Exception:  # noqa: BLE001 - said aloud; without a rest it would be tried again at once, for ever
            _log.exception("delivery_not_settled", endpoint=self.endpoint)
            self._paused_until = self._clock.monotonic() + self._limits.pause
        finally:
            self._under_way.pop(delivery.sequence, None)
            self._news.set()

    async def _settled(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Write down what came of it; False if the disk refuses for now."""
        try:
            await (self._taken(delivery) if outcome.taken else self._failed(delivery, outcome))
        except Transient:
            return False
        return True

    async def _taken(self, delivery: Delivery) -> None:
        await self._deliveries.delivered(delivery)
        self._failures, self._paused_until = 0, float("-inf")
        self._failing.clear()
        if self._degraded:
            self._degraded = False
            self._publish(
                EventType.DELIVERY_RESTORED, f"{self.endpoint} takes deliveries again", endpoint=self.endpoint
            )

    async def _failed(self, delivery: Delivery, outcome: Outcome) -> None:
        now, failures = self._clock.now(), self._failures + 1
        age, attempts = now - delivery.created_at, delivery.attempts + 1
        wait = next_wait(attempts, age, outcome.asked, self._random.uniform(0.0, 1.0), self._limits)
        if wait is None:
            await self._give_up(delivery, outcome, now)
        else:
            await self._deliveries.postpone(delivery, now + wait)
        self._failures = failures
        self._failing.add(delivery.parcel.lane)
        rest = pause(failures, self._random.uniform(0.0, 1.0), self._limits)
        self._paused_until = self._clock.monotonic() + max(rest, min(outcome.asked, self._limits.pause))
        if failures == _DEGRADED_AFTER and not self._degraded:
            self._degraded = True
            words = f"deliveries wait for {self.endpoint}: {outcome.reason}"
            self._publish(EventType.DELIVERY_DEGRADED, words, reason=outcome.reason, endpoint=self.endpoint)

    async def _give_up(self, delivery: Delivery, outcome: Outcome, now: float) -> None:
        """If the endpoint takes nothing at all, not of other lanes either, what is as old goes with it."""
        all_before = now - self._limits.max_age if self._failing - {delivery.parcel.lane} else 0.0
        buried = await self._deliveries.give_up(delivery, f"{self.endpoint}: {outcome.reason}", all_before=all_before)
        self._buried(buried, f"not taken for {self._limits.max_age:g} s: {outcome.reason}")

    async def _tidy(self) -> None:
        """Keep the figures fresh and the table within its bound."""
        now = self._clock.monotonic()
        if now - self._tidied_at < _TIDY_INTERVAL:
            return
        self._tidied_at = now
        await self._deliveries.refresh()
        if self._deliveries.figures[self.endpoint].waiting > self._most_waiting:
            buried = await self._deliveries.trim(self.endpoint, self._most_waiting)
            self._buried(buried, f"more than {self._most_waiting} wait")

    def _buried(self, count: int, reason: str) -> None:
        words = f"{count} deliveries to {self.endpoint} became dead letters: {reason}"
        self._publish(EventType.DELIVERY_FAILED, words, reason=reason, endpoint=self.endpoint, count=count)
