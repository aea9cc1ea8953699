"""Delivers alerts to people through Apprise, to whatever ``ALERT_URLS`` names, from the queue until they arrived.

An Apprise URL holds secrets, so endpoints have aliases: the service's name and a digest. Nothing else of a URL is told.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

from tandem.clock import Clock, Random
from tandem.delivery.runner import Outcome, Runner
from tandem.errors import Misconfigured
from tandem.model.event import Publish
from tandem.policy.delivery import DeliveryLimits
from tandem.queue.alert_memory import KIND
from tandem.queue.deliveries import Deliveries
from tandem.queue.delivery_rows import Parcel

_MOST_WAITING = 1000
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


async def send(channel: Channel, letter: Letter) -> Outcome:
    """Make one attempt to deliver a letter. Never raises for what the network does."""
    messenger = _messenger(channel.url)
    assert messenger is not None  # noqa: S101 - the channel was made of it
    body = f"{letter.body}\n\nWhat to do: {letter.todo}" if letter.todo else letter.body
    kind = _TYPES.get(letter.severity, "info")
    title = f"Tandem: {letter.title}"
    try:
        async with asyncio.timeout(_TIMEOUT):
            taken = await asyncio.to_thread(messenger.notify, body=body, title=title, notify_type=kind)
    except TimeoutError:
        return Outcome(taken=False, reason=f"it did not answer within {_TIMEOUT:g} s")
    return Outcome(taken=bool(taken), reason="" if taken else "it refused, or could not be reached")


class Notifier:
    """``configure`` before anything is told, then ``run`` as a task: a channel that is away delays no other."""

    def __init__(
        self, deliveries: Deliveries, channels: Sequence[Channel], *, clock: Clock, random: Random, publish: Publish
    ) -> None:
        self._deliveries = deliveries
        self._runners = [
            Runner(
                channel.alias,
                deliveries,
                partial(_deliver, channel),
                lanes=1,
                most_waiting=_MOST_WAITING,
                limits=DeliveryLimits(),
                clock=clock,
                random=random,
                publish=publish,
            )
            for channel in channels
        ]

    async def configure(self) -> None:
        """Let these be the channels from now on. Raises StoreUnavailable."""
        await self._deliveries.configure(KIND, [runner.endpoint for runner in self._runners])

    async def run(self) -> None:
        """Deliver what waits and what comes, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for runner in self._runners:
                tasks.create_task(runner.run(), name=f"alerts to {runner.endpoint}")


async def _deliver(channel: Channel, parcel: Parcel) -> Outcome:
    return await send(channel, Letter.decode(parcel.payload))
