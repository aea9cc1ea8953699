from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import ClientResponse

from tandem.model.event import EventType
from tandem.model.states import Slot
from unit.api.world import ADMIN, READER, Api

KEYS = {"id", "type", "account", "slot", "reason", "data", "timestamp"}


async def test_events_are_newest_first_with_exactly_their_keys(api: Api) -> None:
    account = await api.world.add()
    api.world.events(
        EventType.SESSION_OFFLINE,
        "Primary went offline",
        account=account,
        slot=Slot.PRIMARY,
        generation=4,
        reason="503",
    )
    body = await (await api("GET", "/api/events")).json()
    assert [each["type"] for each in body["events"]] == ["session_offline", "pairing_started", "account_added"]
    assert set(body["events"][0]) == KEYS
    newest = body["events"][0]
    assert newest["data"] == {"message": "Primary went offline", "generation": 4, "version": 1}
    assert (newest["account"], newest["slot"], newest["reason"]) == (account, "primary", "503")
    assert newest["timestamp"] == 1_750_000_000_000


async def test_events_are_filtered_and_limited(api: Api) -> None:
    one, two = await api.world.add("+12025550101"), await api.world.add("+12025550102")

    async def listed(query: str) -> list[tuple[str, str]]:
        body = await (await api("GET", f"/api/events?{query}")).json()
        return [(each["type"], each["account"]) for each in body["events"]]

    assert await listed(f"account={one}") == [("pairing_started", one), ("account_added", one)]
    assert await listed("type=account_added") == [("account_added", two), ("account_added", one)]
    assert await listed(f"type=account_added&account={one}&limit=5") == [("account_added", one)]
    assert len(await listed("limit=1")) == 1
    assert len(await listed("limit=999999999999")) == 4


@asynccontextmanager
async def _stream(api: Api, query: str = "", **headers: str) -> AsyncIterator[ClientResponse]:
    url = f"{api.world.server.url}api/events/stream{query}"
    headers.setdefault("Authorization", f"Bearer {ADMIN}")
    async with api.session.get(url, headers=headers) as response:
        if response.status == 200:
            assert await response.content.readline() == b"retry: 2000\n"
        yield response


async def _next(response: ClientResponse) -> dict[str, str]:
    """Return the next event's fields."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(3):
        while line := (await response.content.readline()).decode():
            if line == "\n" and fields:
                break
            name, _, value = line.rstrip("\n").partition(": ")
            if name:
                fields[name] = value
    return fields


async def test_the_stream_tells_as_it_happens(api: Api) -> None:
    async with _stream(api) as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        account = await api.world.add()
        event = await _next(response)
        told = json.loads(event["data"])
        assert set(told) == KEYS
        assert (told["type"], told["account"], told["id"]) == ("account_added", account, event["id"])


async def test_the_stream_filters(api: Api) -> None:
    async with _stream(api, "?type=pairing_started") as response:
        await api.world.add()
        assert json.loads((await _next(response))["data"])["type"] == "pairing_started"


async def test_a_client_that_comes_back_gets_what_it_missed(api: Api) -> None:
    await api.world.add()
    first = api.world.events.recent(10)[-1]
    async with _stream(api, **{"Last-Event-ID": first.id}) as response:
        assert json.loads((await _next(response))["data"])["type"] == "pairing_started"


async def test_a_reader_may_listen_and_a_stranger_may_not(api: Api) -> None:
    async with _stream(api, Authorization=f"Bearer {READER}") as response:
        assert response.status == 200
    async with _stream(api, Authorization="Bearer wrong") as response:
        assert response.status == 401


async def test_streams_are_bounded(api: Api) -> None:
    async with AsyncExitStack() as open_streams:
        for _ in range(64):
            await open_streams.enter_async_context(_stream(api))
        async with _stream(api) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "5"


async def test_stopping_ends_the_streams_at_once(api: Api) -> None:
    async with _stream(api) as response:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await api.world.server.stop()
        assert loop.time() - before < 1
        assert response.status == 200


async def test_a_reader_that_lags_is_told(api: Api) -> None:
    async with _stream(api) as response:
        for _ in range(300):
            api.world.events(EventType.BATCH_SAVED, "Batch saved", count=1)
        assert await _next(response) == {"event": "lag", "data": "44"}
        assert json.loads((await _next(response))["data"])["type"] == "batch_saved"


async def test_logging_out_ends_the_stream(open_api: Api) -> None:
    home = await open_api("GET", "/")
    cookie = f"tandem_session={home.cookies['tandem_session'].value}"
    url = f"{open_api.world.server.url}api/events/stream"
    async with open_api.session.get(url, headers={"Cookie": cookie}) as response:
        open_api.world.server._context.sessions.close(cookie.partition("=")[2])
        open_api.world.events(EventType.BATCH_SAVED, "Batch saved")
        async with asyncio.timeout(3):
            assert b"batch_saved" in await response.content.read()
