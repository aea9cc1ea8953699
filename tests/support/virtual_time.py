"""An event loop whose clock jumps to the next timer instead of waiting: days in milliseconds, the same every time."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any


class Deadlock(RuntimeError):  # noqa: N818
    """Everything waits and no timer is set: in real time this would hang for ever."""


class _JumpingSelector(selectors.BaseSelector):
    """Never blocks: an idle wait moves the clock on by the time that would have been slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if not ready:
            if timeout is None:
                raise Deadlock("all tasks wait and no timer is set")
            self.now += max(0.0, timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Use with ``asyncio.Runner(loop_factory=VirtualLoop)``. Executor calls run inline: threads live in real time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-6  # after virtual years a float's steps exceed the real clock's resolution

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(  # type: ignore[override]  # the same, without its type variables
        self,
        executor: Any,  # noqa: ARG002 - the signature is asyncio's
        func: Callable[..., Any],
        *args: Any,
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits, as an executor does
            future.set_exception(error)
        return future


def run_virtually(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)


class VirtualClock:
    """A Clock whose wall time starts at an arbitrary instant and follows the loop."""

    def now(self) -> float:
        return 1_700_000_000.0 + asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SeededRandom:
    """A Random that repeats itself."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def token(self) -> str:
        return f"{self._random.getrandbits(104):026x}"
