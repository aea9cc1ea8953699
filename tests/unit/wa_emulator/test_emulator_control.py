"""The control API over real HTTP, without linked devices."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from wa_emulator.server import Emulator

PHONE, CONTACT = "15550100100", "15550100101"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as running:
        yield running


@pytest.fixture
async def http(emulator: Emulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{emulator.port}") as session:
        yield session


async def post(http: aiohttp.ClientSession, path: str, body: Any, status: int = 200) -> Any:
    async with http.post(f"/control/{path}", json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def get(http: aiohttp.ClientSession, path: str, status: int = 200) -> Any:
    async with http.get(f"/control/{path}") as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_root_key_and_health(emulator: Emulator, http: aiohttp.ClientSession) -> None:
    assert await get(http, "root-key") == {"hex": emulator.root_key.hex()}
    health = await get(http, "health")
    assert (health["status"], health["devices"], health["connected"]) == ("ok", 0, 0)


async def test_phones(http: aiohttp.ClientSession) -> None:
    assert await post(http, "phones", {"number": "+" + PHONE, "name": "Alice"}, 201) == {"number": PHONE}
    await post(http, "phones", {"number": PHONE, "name": "Alicia"}, 201)
    (phone,) = (await get(http, "phones"))["phones"]
    assert (phone["number"], phone["name"], phone["devices"]) == (PHONE, "Alicia", [])


async def test_messages_between_scripted_phones(http: aiohttp.ClientSession) -> None:
    sent = await post(http, "messages", {"from": "+" + CONTACT, "to": PHONE, "text": "hello", "count": 2})
    bulk = [{"from": CONTACT, "to": PHONE, "text": text} for text in ("one", "two")]
    sent_in_bulk = await post(http, "messages", {"messages": bulk})
    shown = (await get(http, f"messages?to={PHONE}"))["messages"]
    assert [message["id"] for message in shown] == sent["ids"] + sent_in_bulk["ids"]
    assert [message["text"] for message in shown] == ["hello", "hello", "one", "two"]
    assert {message["times"] for message in shown} == {1}
    assert {message["from"] for message in shown} == {CONTACT}
    ledger = await get(http, "ledger")
    assert len(ledger["messages"]) == 4
    assert ledger["clock"]["offset"] > 0


async def test_a_phone_reads_only_what_it_got(http: aiohttp.ClientSession) -> None:
    (sent,) = (await post(http, "messages", {"from": CONTACT, "to": PHONE, "text": "hello"}))["ids"]
    assert await post(http, "reads", {"number": PHONE, "from": CONTACT, "id": sent}) == {"id": sent}
    await post(http, "reads", {"number": CONTACT, "from": CONTACT, "id": sent}, 400)
    await post(http, "reads", {"number": PHONE, "from": CONTACT, "id": "unknown"}, 400)


async def test_faults_come_and_go(http: aiohttp.ClientSession) -> None:
    fault = await post(http, "faults", {"kind": "no_pings", "number": PHONE, "count": 3}, 201)
    assert (fault["kind"], fault["remaining"], fault["acted"]) == ("no_pings", 3, 0)
    assert [fault["id"] for fault in (await get(http, "faults"))["faults"]] == [fault["id"]]
    async with http.delete(f"/control/faults?id={fault['id']}") as answer:
        assert await answer.json() == {"cleared": 1}
    assert (await get(http, "faults"))["faults"] == []


async def test_contacts(http: aiohttp.ClientSession) -> None:
    settings = {"name": "Bob", "reply": "later", "reads": True, "on_whatsapp": False}
    assert await post(http, "contacts", {"number": CONTACT, **settings}) == {"number": CONTACT, **settings}


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("phones", [], 400, "JSON object"),
        ("phones", {}, 400, "number must be a string"),
        ("phones", {"number": "12"}, 400, "7 to 15 digits"),
        ("phones", {"number": PHONE, "name": 7}, 400, "name must be a string"),
        ("scan", {"number": PHONE, "qr": "x"}, 404, "POST /control/phones"),
        ("messages", {"from": CONTACT, "to": PHONE}, 400, "text must be"),
        ("messages", {"from": CONTACT, "to": PHONE, "text": "x", "count": 0}, 400, "count must be"),
        ("messages", {"from": CONTACT, "to": PHONE, "text": "x", "count": True}, 400, "count must be"),
        ("messages", {"messages": "x"}, 400, "must be a list"),
        ("messages", {"messages": [1]}, 400, "JSON object"),
        ("contacts", {"number": CONTACT, "reads": "yes"}, 400, "true or false"),
        ("faults", {"kind": "nonsense"}, 400, "kind must be one of"),
        ("nowhere", {}, 404, "Not Found"),
        ("health", {}, 405, "Method Not Allowed"),
    ],
)
async def test_errors_are_json_with_a_reason(
    http: aiohttp.ClientSession, path: str, body: Any, status: int, detail: str
) -> None:
    problem = await post(http, path, body, status)
    assert set(problem) == {"error", "detail"}
    assert detail in problem["detail"]


@pytest.mark.parametrize("qr", ["x", "1,2,3,4", "https://wa.me/settings/linked_devices#ref,AAAA,AAAA,AAAA,1"])
async def test_a_qr_that_nobody_shows(http: aiohttp.ClientSession, qr: str) -> None:
    await post(http, "phones", {"number": PHONE}, 201)
    async with http.post("/control/scan", json={"number": PHONE, "qr": qr}) as answer:
        assert answer.status in (400, 404)


async def test_an_overlong_text_is_refused(http: aiohttp.ClientSession) -> None:
    body = json.dumps({"from": CONTACT, "to": PHONE, "text": "x" * 2_000_001}).encode()
    async with http.post("/control/messages", data=io.BytesIO(body)) as answer:
        assert answer.status == 400
        assert "longer than" in (await answer.json())["detail"]


async def test_what_is_not_json_or_too_large(http: aiohttp.ClientSession) -> None:
    async with http.post("/control/phones", data=b"{") as answer:
        assert (answer.status, (await answer.json())["detail"]) == (400, "the body is not JSON")
    async with http.post("/control/phones", data=io.BytesIO(bytes(9 * 1024 * 1024))) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"] == "request_entity_too_large"


@pytest.mark.parametrize("path", ["messages", "messages?to=x", "transcript?limit=x", "transcript?limit=-1"])
async def test_bad_queries(http: aiohttp.ClientSession, path: str) -> None:
    assert "detail" in await get(http, path, 400)
