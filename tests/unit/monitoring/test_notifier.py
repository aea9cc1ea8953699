from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from support.virtual_time import SeededRandom
from tandem.clock import SystemClock
from tandem.errors import Misconfigured
from tandem.monitoring.events import EventStream
from tandem.monitoring.notifier import Channel, Letter, Notifier, channels, send
from tandem.queue.alert_memory import KIND
from tandem.queue.delivery_rows import Parcel
from tandem.queue.queue import Queue
from tandem.settings import QueueSettings

LETTER = Letter("account_offline", "no session is online", "critical", "look at both slots")


@dataclass
class Service:
    """A real HTTP service that takes Apprise's JSON notices, or refuses them."""

    port: int = 0
    refuse: bool = False
    got: list[dict[str, Any]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        if self.refuse:
            return web.Response(status=503)
        self.got.append(await request.json())
        return web.Response()

    def url(self, path: str = "hook") -> str:
        return f"json://127.0.0.1:{self.port}/{path}"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    app = web.Application()
    app.router.add_post("/{path}", service.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.port = runner.addresses[0][1]
    yield service
    await runner.cleanup()


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    clock = SystemClock()
    queue = Queue(tmp_path, QueueSettings(), clock, SeededRandom(), EventStream(clock, SeededRandom()))
    await queue.open()
    yield queue
    await queue.close()


def notifier_of(queue: Queue, wanted: list[Channel]) -> Notifier:
    clock = SystemClock()
    publish = EventStream(clock, SeededRandom())
    return Notifier(queue.deliveries, wanted, clock=clock, random=SeededRandom(), publish=publish)


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_letter_arrives_with_what_to_do(service: Service) -> None:
    (channel,) = channels(service.url())
    assert (await send(channel, LETTER)).taken
    (got,) = service.got
    assert got["title"] == "Tandem: account_offline"
    assert "What to do: look at both slots" in got["message"]
    assert got["type"] == "failure"


async def test_what_a_service_refuses_is_tried_again_until_it_arrives_and_delays_no_other(
    service: Service, queue: Queue
) -> None:
    away = "json://127.0.0.1:9/away"  # the discard port: nothing listens
    both = channels(f"{service.url()}, {away}")
    service.refuse = True
    notifier = notifier_of(queue, both)
    await notifier.configure()
    task = asyncio.create_task(notifier.run())
    await queue.deliveries.put(KIND, [Parcel("one", "lane", "", LETTER.encode())])
    await until(lambda: queue.deliveries.figures[both[0].alias].failed)
    service.refuse = False
    await until(lambda: queue.deliveries.figures[both[0].alias].delivered)
    await queue.deliveries.refresh()
    assert queue.deliveries.figures[both[0].alias].waiting == 0
    assert queue.deliveries.figures[both[1].alias].waiting == 1
    task.cancel()


async def test_a_letter_that_waits_is_delivered_by_the_next_run(service: Service, queue: Queue) -> None:
    both = channels(service.url())
    await queue.deliveries.configure(KIND, [channel.alias for channel in both])
    await queue.deliveries.put(KIND, [Parcel("one", "lane", "", LETTER.encode())])
    task = asyncio.create_task(notifier_of(queue, both).run())
    await until(lambda: service.got)
    task.cancel()


def test_aliases_hold_nothing_of_the_url() -> None:
    first, second = channels("json://user:canarypassword@127.0.0.1/canarypath xml://127.0.0.1/canarypath")
    assert first.alias.startswith("json-")
    assert second.alias.startswith("xml-")
    assert "canary" not in json.dumps([first.alias, second.alias, repr(first), repr(second)])


def test_the_same_url_twice_is_one_channel() -> None:
    assert len(channels("json://127.0.0.1/a,json://127.0.0.1/a")) == 1


@pytest.mark.parametrize("urls", ["nonsense", "json://127.0.0.1/a, canarysecret://x"])
def test_a_wrong_url_is_refused_by_its_place(urls: str) -> None:
    with pytest.raises(Misconfigured, match="ALERT_URLS: entry") as refused:
        channels(urls)
    assert "canary" not in str(refused.value)


def test_letters_survive_the_queue() -> None:
    assert Letter.decode(LETTER.encode()) == LETTER
