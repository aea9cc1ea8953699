from __future__ import annotations

import asyncio
import threading
import time

from tandem.monitoring.watchdog import Watchdog, stacks

ROUND = 0.05


class Verdict:
    def __init__(self) -> None:
        self.rounds: list[int] = []

    def __call__(self, rounds: int) -> None:
        self.rounds.append(rounds)


async def test_a_loop_that_is_stuck_is_noticed_once() -> None:
    verdict = Verdict()
    with Watchdog(asyncio.get_running_loop(), 0.5, verdict, ROUND):
        time.sleep(1.2)  # noqa: ASYNC251 - the loop is stuck for real
        assert verdict.rounds == [10]
        await asyncio.sleep(0.7)
    assert verdict.rounds == [10]


async def test_an_idle_loop_is_healthy() -> None:
    verdict = Verdict()
    with Watchdog(asyncio.get_running_loop(), 0.2, verdict, ROUND):
        await asyncio.sleep(1.0)
    assert verdict.rounds == []


async def test_a_loop_that_is_slow_but_moves_is_left_alone() -> None:
    verdict = Verdict()
    with Watchdog(asyncio.get_running_loop(), 0.5, verdict, ROUND):
        for _ in range(6):
            time.sleep(0.3)  # noqa: ASYNC251 - most of the patience each time
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert verdict.rounds == []


async def test_its_thread_ends_with_it() -> None:
    with Watchdog(asyncio.get_running_loop(), 1.0, Verdict(), ROUND):
        assert any(thread.name == "watchdog" for thread in threading.enumerate())
    await asyncio.sleep(3 * ROUND)
    assert not any(thread.name == "watchdog" for thread in threading.enumerate())


def test_a_loop_that_is_closed_is_watched_no_more() -> None:
    verdict = Verdict()
    loop = asyncio.new_event_loop()
    loop.close()
    with Watchdog(loop, 0.1, verdict, ROUND):
        time.sleep(0.5)
    assert verdict.rounds == []


def test_stacks_name_places_and_no_values() -> None:
    canary = "canary-+12025550123"
    found = stacks()
    [mine] = [calls for name, calls in found.items() if name.startswith("MainThread")]
    assert mine[1].startswith("test_watchdog.py:")
    assert mine[1].endswith(" test_stacks_name_places_and_no_values")
    assert canary not in str(found)
