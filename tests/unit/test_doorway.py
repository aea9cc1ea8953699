"""Waiting for the data directory: on the virtual clock with a twin of the lock, and once with real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest
from structlog.testing import capture_logs

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.api.doorway import Doorway
from tandem.api.listener import Listener, PortTaken
from tandem.api.ports import About
from tandem.clock import SystemClock, SystemRandom
from tandem.doorway import Door
from tandem.queue.lock import DirectoryLock, DirectoryTaken
from tandem.settings import Settings

ABOUT = About("1.2.3", "abcdef0", "new-one")


class TwinLock(DirectoryLock):
    """Belongs to another daemon until ``free_at`` on the loop's clock."""

    def __init__(self, free_at: float) -> None:
        super().__init__(Path("nowhere"))
        self.free_at = free_at

    def take(self) -> None:
        if asyncio.get_running_loop().time() < self.free_at:
            raise DirectoryTaken("used by another tandem (pid 4711)", "4711")


class UnseenDoor(Door):
    """Its port is another's: there is no network on a virtual loop."""

    async def _answer(self) -> None:
        return


def settings(**changes: object) -> Settings:
    return Settings(**{"port": 0, "api": {"host": "127.0.0.1"}, **changes})  # type: ignore[arg-type]


def door(seconds: float) -> Door:
    return UnseenDoor(settings(wait_for_directory=seconds), ABOUT, VirtualClock(), SeededRandom())


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def wrapper() -> None:
        run_virtually(test())

    wrapper.__name__ = test.__name__
    return wrapper


@virtual
async def test_a_free_directory_is_entered_at_once() -> None:
    for seconds in (0.0, 60.0):
        assert await door(seconds).enter(TwinLock(0.0), asyncio.Event())
    assert asyncio.get_running_loop().time() == 0.0


@virtual
async def test_without_waiting_a_taken_directory_is_refused_at_once() -> None:
    with capture_logs() as logs, pytest.raises(DirectoryTaken, match="4711"):
        await door(0.0).enter(TwinLock(1.0), asyncio.Event())
    assert asyncio.get_running_loop().time() == 0.0
    assert logs == []


@virtual
async def test_it_goes_in_the_moment_the_other_has_left_and_says_so_every_ten_seconds() -> None:
    with capture_logs() as logs:
        assert await door(60.0).enter(TwinLock(34.0), asyncio.Event())
    assert asyncio.get_running_loop().time() == pytest.approx(34, abs=0.1)
    assert [(line["event"], line["pid"]) for line in logs] == [("directory_taken", "4711")] * 4
    assert [line["waited"] for line in logs] == pytest.approx([0, 10, 20, 30], abs=0.3)


@virtual
async def test_when_the_time_is_over_it_is_refused() -> None:
    with pytest.raises(DirectoryTaken, match="4711") as refused:
        await door(5.0).enter(TwinLock(1e9), asyncio.Event())
    assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1)
    assert refused.value.exit_code == 3


@virtual
async def test_told_to_stop_it_goes_away_without_a_word() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(3.0, stop.set)
    assert not await door(60.0).enter(TwinLock(1e9), stop)
    assert asyncio.get_running_loop().time() == pytest.approx(3)


async def ask(
    session: aiohttp.ClientSession, method: str, path: str, **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    async with session.request(method, path, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None), dict(answer.headers)


@pytest.mark.parametrize("token", [None, "a-token-of-this-test"])
async def test_everything_but_health_is_sent_away_alike(token: str | None) -> None:
    entered = False
    given = settings(api_token=token)
    listener = Listener(given, 0.1)
    await listener.serve(Doorway(given, ABOUT, lambda: entered).application(SystemClock(), SystemRandom()))
    try:
        async with aiohttp.ClientSession(listener.url.rstrip("/")) as session:
            answers = [
                await ask(session, method, path, **headers)
                for method, path in (("GET", "/api/whatsapp/accounts"), ("POST", "/login"), ("PUT", "/"), ("GET", "/x"))
                for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {token}"})
            ]
            for status, problem, headers in answers:
                assert (status, problem["error"], headers["Retry-After"]) == (503, "instance_passive", "2")
                assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert len({problem["detail"] for _, problem, _ in answers}) == 1
            status, health, _ = await ask(session, "GET", "/health")
            assert (status, health["role"], health["status"]) == (200, "passive", "healthy")
            assert (health["instance"], health["accounts"]["total"]) == ("new-one", 0)
            status, ready, _ = await ask(session, "GET", "/readyz")
            assert (status, ready) == (200, {"ready": True, "reason": None, "role": "passive"})
            entered = True
            status, ready, _ = await ask(session, "GET", "/readyz")
            assert (status, ready) == (503, {"ready": False, "reason": "starting"})
            assert (await ask(session, "GET", "/livez"))[0] == 200
    finally:
        await listener.stop()


async def test_without_a_token_only_this_machine_is_answered() -> None:
    listener = Listener(settings(), 0.1)
    await listener.serve(Doorway(settings(), ABOUT, lambda: False).application(SystemClock(), SystemRandom()))
    try:
        async with aiohttp.ClientSession(listener.url.rstrip("/")) as session:
            assert (await ask(session, "GET", "/health", Host="elsewhere.example"))[0] == 403
            assert (await ask(session, "GET", "/health"))[0] == 200
    finally:
        await listener.stop()


async def test_it_waits_unseen_behind_the_others_port(tmp_path: Path) -> None:
    other, lock = Listener(settings(), 0.1), DirectoryLock(tmp_path)
    await other.serve(aiohttp.web.Application())
    lock.take()
    given = settings(port=other.port, wait_for_directory=30)
    with pytest.raises(PortTaken):
        await Listener(given, 0.1).serve(aiohttp.web.Application())
    waiting = Door(given, ABOUT, SystemClock(), SystemRandom())
    mine = DirectoryLock(tmp_path)
    entering = asyncio.create_task(waiting.enter(mine, asyncio.Event()))
    await asyncio.sleep(0.2)
    assert not entering.done()
    await other.stop()
    lock.release()
    assert await asyncio.wait_for(entering, 5)
    await waiting.close()
    mine.release()


def test_a_lock_that_is_held_is_taken_once_and_names_its_owner(tmp_path: Path) -> None:
    first, second = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    first.take()
    first.take()
    with pytest.raises(DirectoryTaken) as refused:
        second.take()
    assert refused.value.owner.isdigit()
    first.release()
    second.take()
    second.release()
