"""What the server makes of clients that do not behave. (Those that do are the integration tests' business.)"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wa_emulator.server import Emulator

HEADER = b"WA\x06\x03"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as running:
        yield running


@pytest.fixture
async def http(emulator: Emulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{emulator.port}") as session:
        yield session


async def close_code(http: aiohttp.ClientSession, data: bytes | str, path: str = "/") -> int | None:
    """Send bytes (or a text) and return the code that the server closes with."""
    async with http.ws_connect(path) as socket, asyncio.timeout(5):
        await (socket.send_str(data) if isinstance(data, str) else socket.send_bytes(data))
        async for _message in socket:
            pass
        return socket.close_code


async def all_gone(emulator: Emulator) -> None:
    async with asyncio.timeout(5):
        while list(emulator.clients):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        HEADER + b"\xff\xff\xff",
        HEADER + b"\0\0\x02\xff\xff",
        HEADER + b"\0\0\0",
        "text",
    ],
    ids=["header", "huge", "garbage", "empty", "text"],
)
@pytest.mark.parametrize("path", ["/", "/ws/chat", "/control/health"])
async def test_bad_bytes_close_the_connection_and_are_counted(
    emulator: Emulator, http: aiohttp.ClientSession, data: bytes | str, path: str
) -> None:
    assert await close_code(http, data, path) == 1002
    assert emulator.clients.counters["violations"] == 1
    assert emulator.clients.counters["errors"] == 0
    await all_gone(emulator)


async def test_a_client_that_leaves_in_the_handshake_hurts_nobody(
    emulator: Emulator, http: aiohttp.ClientSession
) -> None:
    async with http.ws_connect("/") as socket:
        await socket.send_bytes(HEADER)
    await all_gone(emulator)
    assert emulator.clients.counters["errors"] == 0


@given(st.binary(min_size=1, max_size=200))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_after_the_header_is_never_an_error(garbage: bytes) -> None:
    async def attempt() -> None:
        async with Emulator() as emulator, aiohttp.ClientSession(f"http://127.0.0.1:{emulator.port}") as http:
            async with http.ws_connect("/") as socket:
                await socket.send_bytes(HEADER + len(garbage).to_bytes(3, "big") + garbage)
            await asyncio.sleep(0)
            assert emulator.clients.counters["errors"] == 0

    asyncio.run(attempt())


async def test_refused_upgrades(emulator: Emulator, http: aiohttp.ClientSession) -> None:
    emulator.clients.begin_fault({"kind": "refuse", "status": 429, "count": 1})
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await http.ws_connect("/")
    assert refusal.value.status == 429
    async with http.ws_connect("/"):
        pass


async def test_a_hanging_upgrade_ends_with_the_fault(emulator: Emulator, http: aiohttp.ClientSession) -> None:
    fault = emulator.clients.begin_fault({"kind": "hang_upgrade", "seconds": 0.2})
    begun = time.monotonic()
    async with http.ws_connect("/"):  # aiohttp dials again by itself when the first connection breaks
        assert time.monotonic() - begun >= 0.2
    assert fault.acted == 1


async def test_a_global_stall_answers_not_even_the_handshake(emulator: Emulator, http: aiohttp.ClientSession) -> None:
    emulator.clients.begin_fault({"kind": "stall", "seconds": 0.2})
    async with http.ws_connect("/") as socket, asyncio.timeout(5):
        await socket.send_bytes(b"anything")
        assert [message async for message in socket] == []


async def test_two_emulators_cannot_share_a_port(emulator: Emulator) -> None:
    with pytest.raises(OSError, match="address already in use"):
        await Emulator(emulator.port).start()
