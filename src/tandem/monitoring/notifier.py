"""Delivers alerts to people through Apprise, to whatever ``ALERT_URLS`` names, from the queue until they arrived.

An Apprise URL holds secrets, so endpoints have aliases: the service's name and a digest. Nothing else of a URL is told.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import structlog

from tandem.clock import Clock, Random
from tandem.errors import Misconfigured, Transient
from tandem.policy.backoff import full_jitter
from tandem.queue.alert_memory import KIND
from tandem.queue.deliveries import Deliveries
from tandem.queue.delivery_rows import Delivery

_log = structlog.get_logger(__name__)
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 600.0
_LONGEST_AGE = 86_400.0  # a notice that could not be delivered for a day tells nobody anything new
_LOOK = 60.0
_AT_ONCE = 10
_TIMEOUT = 30.0
_TYPES = {"critical": "failure", "warning": "warning"}


@dataclass(frozen=True, slots=True)
class Channel:
    """Where alerts go. ``url`` is a secret; ``alias`` stands for it everywhere."""

    alias: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Letter:
    """What people read. ``severity``: critical, warning, or empty for what is no trouble; ``todo``: the next step."""

    title: str
    body: str
    severity: str = ""
    todo: str = ""

    def encode(self) -> bytes:
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Letter:
        return cls(**json.loads(payload))


def channels(urls: str) -> list[Channel]:
    """Return the channels of a list of Apprise URLs. Raises Misconfigured, naming a wrong one's place, not itself."""
    written = [url for url in re.split(r"[\s,]+", urls) if url]
    found = []
    for place, url in enumerate(written, 1):
        if _messenger(url) is None:
            raise Misconfigured(
                f"ALERT_URLS: entry {place} of {len(written)} is no Apprise URL "
                "(they look like slack://…, tgram://…, mailto://…; see Apprise's documentation)"
            )
        service = url.partition("://")[0].lower()
        found.append(Channel(f"{service}-{sha256(url.encode()).hexdigest()[:6]}", url))
    return list({channel.alias: channel for channel in found}.values())


def _messenger(url: str) -> Any:
    """Return what sends to a URL, None if it is none."""
    import apprise  # noqa: PLC0415 - 20 MB that only those pay who want alerts

    messenger = apprise.Apprise()
    return messenger if messenger.add(url) else None


async def send(channel: Channel, letter: Letter) -> bool:
    """Deliver one letter and return whether the service took it. Never raises for what the network does."""
    messenger = _messenger(channel.url)
    assert messenger is not None  # noqa: S101 - the channel was made of it
    body = f"{letter.body}\n\nWhat to do: {letter.todo}" if letter.todo else letter.body
    kind = _TYPES.get(letter.severity, "info")
    title = f"Tandem: {letter.title}"
    try:
        async with asyncio.timeout(_TIMEOUT):
            taken = await asyncio.to_thread(messenger.notify, body=body, title=title, notify_type=kind)
    except TimeoutError:
        return False
    return bool(taken)


class Notifier:
    """``run`` is its task: one loop a channel, so that one that is away delays no other."""

    def __init__(self, deliveries: Deliveries, channels: Sequence[Channel], clock: Clock, random: Random) -> None:
        self._deliveries = deliveries
        self._channels = channels
        self._clock = clock
        self._random = random
        self._news = {channel.alias: asyncio.Event() for channel in channels}

    async def run(self) -> None:
        """Deliver what waits and what comes, until cancelled."""
        await self._configure()
        self._deliveries.subscribe(self._wake)
        async with asyncio.TaskGroup() as tasks:
            for channel in self._channels:
                tasks.create_task(self._serve(channel), name=f"alerts to {channel.alias}")

    def _wake(self) -> None:
        for news in self._news.values():
            news.set()

    async def _configure(self) -> None:
        while True:
            try:
                await self._deliveries.configure(KIND, [channel.alias for channel in self._channels])
            except Transient as error:
                _log.warning("alert_channels_wait", message="Alert channels cannot be set up yet", reason=str(error))
                await self._clock.sleep(_FIRST_WAIT)
            else:
                return

    async def _serve(self, channel: Channel) -> None:
        news = self._news[channel.alias]
        while True:
            news.clear()
            wait = _LOOK
            try:
                for delivery in await self._deliveries.due(channel.alias, _AT_ONCE):
                    await self._deliver(channel, delivery)
                next_time = await self._deliveries.next_time(channel.alias)
                if next_time is not None:
                    wait = min(_LOOK, max(0.0, next_time - self._clock.now()))
            except Transient as error:
                _log.warning("alerts_not_delivered", message="Alerts wait in the queue", reason=str(error))
            await self._pause(news, wait)

    async def _pause(self, news: asyncio.Event, seconds: float) -> None:
        timer, woken = asyncio.create_task(self._clock.sleep(seconds)), asyncio.create_task(news.wait())
        try:
            await asyncio.wait({timer, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            woken.cancel()

    async def _deliver(self, channel: Channel, delivery: Delivery) -> None:
        if await send(channel, Letter.decode(delivery.parcel.payload)):
            await self._deliveries.delivered(delivery)
            return
        now = self._clock.now()
        if now - delivery.created_at > _LONGEST_AGE:
            await self._deliveries.give_up(delivery, f"the alert channel {channel.alias} did not take it for a day")
            return
        chance = self._random.uniform(0.5, 1.0)  # never at once: services that refuse are asked less often
        wait = full_jitter(delivery.attempts + 1, chance, _FIRST_WAIT, _LONGEST_WAIT)
        _log.warning(
            "alert_delivery_failed",
            message=f"An alert was not taken by {channel.alias}; trying again in {wait:.0f} s",
            channel=channel.alias,
            attempts=delivery.attempts + 1,
        )
        await self._deliveries.postpone(delivery, now + wait)
