"""A daemon's API in a thread, for commands that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from unit.api.world import World

Value = TypeVar("Value")


class Running:
    def __init__(self, world: World, loop: asyncio.AbstractEventLoop) -> None:
        self.world = world
        self.loop = loop

    @property
    def url(self) -> str:
        return self.world.server.url

    def do(self, work: Coroutine[Any, Any, Value]) -> Value:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(5)

    def call(self, work: Callable[..., object], *arguments: object) -> None:
        async def run() -> None:
            work(*arguments)

        self.do(run())


@contextmanager
def running(world: World) -> Iterator[Running]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    daemon = Running(world, loop)
    try:
        daemon.do(world.server.start())
        yield daemon
    finally:
        daemon.do(world.server.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
