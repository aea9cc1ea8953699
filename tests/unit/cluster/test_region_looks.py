"""Looks at another region's /health, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from tandem.cluster.regions import Regions
from tandem.model.cluster_view import RegionState, RegionView
from tandem.model.event import Event, EventType
from tandem.monitoring.events import EventStream
from tandem.policy.regions import Place
from unit.api.twins import CountingRandom, FakeClock

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
_TIMEOUT = 0.3


@dataclass
class Steps(FakeClock):
    """Each look is let through by the test."""

    go: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        await self.go.acquire()


class Region:
    """A server whose ``/health`` answers as told; without an answer it does not listen."""

    def __init__(self) -> None:
        self.answer: Answer = _healthy
        self.asked: list[str] = []
        self._runner: web.AppRunner | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    async def listen(self) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.asked.append(request.path)
            return await self.answer(request)

        app = web.Application()
        app.router.add_get("/{tail:.*}", handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def hide(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


class Watch:
    """Regions that look when they are told to."""

    def __init__(self, *places: Place) -> None:
        self.clock = Steps()
        self.events = EventStream(self.clock, CountingRandom())
        self.looks = 0
        self.regions = Regions(
            places, every=30.0, patience=3, look=self._look, clock=self.clock, publish=self.events, timeout=_TIMEOUT
        )

    def _look(self) -> None:
        self.looks += 1

    async def look(self) -> RegionView:
        done = len(self.clock.slept)
        if done:
            self.clock.go.release()
        async with asyncio.timeout(10):
            while len(self.clock.slept) == done:
                await asyncio.sleep(0.005)
        return self.regions.views()[0]

    def told(self) -> list[Event]:
        kinds = {EventType.REGION_HEALTHY, EventType.REGION_UNHEALTHY}
        return [event for event in reversed(self.events.recent(100)) if event.type in kinds]


@asynccontextmanager
async def _watched() -> AsyncIterator[tuple[Region, Watch]]:
    region = Region()
    await region.listen()
    watch = Watch(Place("backup", f"http://127.0.0.1:{region.port}"))
    task = asyncio.create_task(watch.regions.run())
    try:
        yield region, watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await region.hide()


async def _healthy(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"status": "healthy"})


async def test_three_failed_looks_are_told_once_and_the_first_answer_after_them_too() -> None:
    async with _watched() as (region, watch):
        view = await watch.look()
        assert (view.state, view.failures, view.last_checked > 0) == (RegionState.HEALTHY, 0, True)
        assert view.latency_ms is not None
        assert view.detail == "it says that it is healthy"
        await region.hide()
        for failures in (1, 2):
            view = await watch.look()
            assert (view.state, view.failures, view.latency_ms) == (RegionState.HEALTHY, failures, None)
        assert watch.told() == []
        for _ in range(3):
            assert (await watch.look()).state is RegionState.UNHEALTHY
        (event,) = watch.told()
        assert (event.type, event.data["region"], event.data["failures"]) == (EventType.REGION_UNHEALTHY, "backup", 3)
        assert event.reason == "nothing listens there, or it cannot be reached"
        await region.listen()
        assert (await watch.look()).state is RegionState.HEALTHY
        assert [each.type for each in watch.told()] == [EventType.REGION_UNHEALTHY, EventType.REGION_HEALTHY]
        assert watch.told()[1].message == "Region backup answers again after 5 failed looks"
        assert watch.looks == 5  # at the heartbeats, once after each failure
        assert set(watch.clock.slept) == {30.0}
        assert set(region.asked) == {"/health"}


async def test_a_region_never_heard_of_is_not_told_to_be_well() -> None:
    async with _watched() as (_, watch):
        assert watch.regions.views()[0].state is RegionState.UNKNOWN
        await watch.look()
        await watch.look()
        assert watch.told() == []


async def _hang(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(20)
    return web.Response()


async def _trickle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * 4096)
    return response


async def _broken(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def _moved(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})


async def _in_pieces(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in (b'{"sta', b'tus": "de', b'graded"}'):
        await response.write(piece)
        await asyncio.sleep(0.02)
    return response


def _says(body: object, status: int = 200) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        text = {"body": body} if isinstance(body, bytes) else {}
        return web.Response(status=status, **text) if text else web.json_response(body, status=status)  # type: ignore[arg-type]

    return answer


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (_hang, "it did not answer within 0.3 s"),
        (_trickle, "it did not answer within 0.3 s"),
        (_endless, "what answers there is not Tandem"),
        (_broken, "it broke the connection off"),
        (_moved, "it answered 302"),
        (_says({"status": "healthy"}, 502), "it answered 502"),
        (_says(b"<html>"), "what answers there is not Tandem"),
        (_says(b"\xff\xfe"), "what answers there is not Tandem"),
        (_says([1]), "what answers there is not Tandem"),
        (_says({"status": ["healthy"]}), "what answers there is not Tandem"),
        (_says({"status": "online"}), "what answers there is not Tandem"),
    ],
)
async def test_whatever_is_no_answer_of_tandem_is_a_failure_with_its_reason(answer: Answer, why: str) -> None:
    async with _watched() as (region, watch):
        region.answer = answer
        view = await watch.look()
        assert (view.failures, view.detail) == (1, why)
        assert watch.looks == 1


@pytest.mark.parametrize(
    ("answer", "detail"),
    [(_says({"status": "down"}), "it says that it is down"), (_in_pieces, "it says that it is degraded")],
)
async def test_a_region_that_answers_is_there_however_it_is(answer: Answer, detail: str) -> None:
    async with _watched() as (region, watch):
        region.answer = answer
        view = await watch.look()
        assert (view.state, view.detail) == (RegionState.HEALTHY, detail)


async def test_one_region_that_hangs_does_not_hold_up_the_other() -> None:
    quick, slow = Region(), Region()
    slow.answer = _hang
    for region in (quick, slow):
        await region.listen()
    places = [Place(name, f"http://127.0.0.1:{each.port}") for name, each in (("primary", slow), ("backup", quick))]
    watch = Watch(*places)
    task = asyncio.create_task(watch.regions.run())
    await watch.look()
    assert [view.failures for view in watch.regions.views()] == [1, 0]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for region in (quick, slow):
        await region.hide()


async def test_without_other_regions_nothing_is_asked() -> None:
    watch = Watch()
    task = asyncio.create_task(watch.regions.run())
    await asyncio.sleep(0.02)
    assert not task.done()
    assert (watch.regions.views(), watch.clock.slept) == ((), [])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
