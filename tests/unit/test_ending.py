from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from support.virtual_time import VirtualClock, run_virtually
from tandem.ending import Ending, Step


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def wrapper() -> None:
        run_virtually(test())

    wrapper.__name__ = test.__name__
    return wrapper


@virtual
async def test_before_the_end_has_begun_every_step_has_the_most_it_could_get() -> None:
    ending = Ending(10.0, VirtualClock())
    await asyncio.sleep(100)
    assert not ending.begun
    assert [ending.left(step) for step in Step] == [2.5, 6.0, 7.5, 9.0, 10.0]


@virtual
async def test_what_a_step_does_not_need_is_left_to_the_next_and_nothing_beyond() -> None:
    ending = Ending(10.0, VirtualClock())
    ending.begin()
    await asyncio.sleep(1)
    assert ending.left(Step.SENDS) == pytest.approx(5)
    await asyncio.sleep(8.5)
    assert ending.left(Step.COMMITS) == 0.0
    assert ending.left(Step.WRITES) == pytest.approx(0.5)
    await asyncio.sleep(5)
    assert ending.left(Step.WRITES) == 0.0


@virtual
async def test_the_time_of_the_hosts_is_their_own() -> None:
    ending = Ending(2.0, VirtualClock())
    ending.begin()
    await asyncio.sleep(0.5)
    with ending.aside():
        await asyncio.sleep(30)
    assert ending.left(Step.WRITES) == pytest.approx(1.5)


@virtual
async def test_a_second_beginning_wins_no_time() -> None:
    ending = Ending(2.0, VirtualClock())
    ending.begin()
    await asyncio.sleep(1)
    ending.begin()
    assert ending.left(Step.WRITES) == pytest.approx(1)


@virtual
async def test_nothing_is_waited_for_with_no_seconds() -> None:
    ending = Ending(0.0, VirtualClock())
    assert {ending.left(step) for step in Step} == {0.0}
    ending.begin()
    await asyncio.sleep(1)
    assert {ending.left(step) for step in Step} == {0.0}
