from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tandem.api import openapi
from tandem.api.server import ENDPOINTS, application
from tandem.model.states import SessionState, Slot
from unit.api.world import Api, serving, settings


async def test_health_has_exactly_its_keys(api: Api) -> None:
    body = await (await api("GET", "/health", token=None)).json()
    assert body == {
        "status": "healthy",
        "version": "1.2.3",
        "commit": "abcdef0",
        "instance": "test-1",
        "role": "active",
        "accounts": {"total": 0, "online": 0, "degraded": 0, "offline": 0},
    }


async def test_health_says_when_it_is_an_emulator() -> None:
    async with serving(settings(emulator="127.0.0.1:7700")) as api:
        assert (await (await api("GET", "/health")).json())["emulator"] is True


async def test_health_follows_the_accounts(api: Api) -> None:
    async def status() -> tuple[str, dict[str, int]]:
        body = await (await api("GET", "/health", token=None)).json()
        return body["status"], body["accounts"]

    accounts = api.world.accounts
    account = await api.world.add()
    assert await status() == ("degraded", {"total": 1, "online": 0, "degraded": 0, "offline": 1})
    accounts.go_online(account, Slot.PRIMARY)
    assert await status() == ("degraded", {"total": 1, "online": 0, "degraded": 1, "offline": 0})
    accounts.go_online(account, Slot.BACKUP)
    assert await status() == ("healthy", {"total": 1, "online": 1, "degraded": 0, "offline": 0})
    for slot in Slot:
        accounts.put(account, replace(accounts.get(account).slot(slot), state=SessionState.WAITING))
    assert await status() == ("down", {"total": 1, "online": 0, "degraded": 0, "offline": 1})


async def test_liveness_and_readiness(api: Api) -> None:
    assert await (await api("GET", "/livez", token=None)).json() == {"status": "alive"}
    assert await (await api("GET", "/readyz", token=None)).json() == {"ready": True, "reason": None}
    api.world.not_ready = "the queue is being restored"
    response = await api("GET", "/readyz", token=None)
    assert (response.status, await response.json()) == (503, {"ready": False, "reason": "the queue is being restored"})
    assert (await (await api("GET", "/health")).json())["status"] == "degraded"
    assert (await api("GET", "/livez")).status == 200


async def test_metrics_are_prometheus_text(api: Api) -> None:
    await api.world.add()
    response = await api("GET", "/metrics")
    text = await response.text()
    assert response.headers["Content-Type"].startswith("text/plain")
    assert 'tandem_build_info{commit="abc",instance="test-1",version="1.2.3"} 1.0' in text
    assert 'tandem_events_total{type="account_added"} 1.0' in text
    assert "12025550123" not in text


async def test_metrics_keep_the_seeds_keys(api: Api) -> None:
    body = await (await api("GET", "/api/metrics")).json()
    hourly = ["disconnects", "reconnects", "reconnectFails", "messageLoss", "rateLimits", "messagesProcessed"]
    total = ["disconnects", "reconnects", "messageLoss", "rateLimits", "messagesProcessed"]
    rest = ["accounts", "activeConnections", "backupConnections", "queueSize", "batchSize"]
    assert body["success"] is True
    assert list(body) == ["success", "metrics", "deadLetters"]
    assert list(body["metrics"]) == ["hourly", "total", *rest]
    assert list(body["metrics"]["hourly"]) == hourly
    assert list(body["metrics"]["total"]) == total


async def test_the_front_door_gives_the_seeds_status(api: Api) -> None:
    account = await api.world.add()
    api.world.accounts.go_online(account, Slot.PRIMARY)
    body = await (await api("GET", "/", headers={"Accept": "application/json"})).json()
    assert set(body) == {"status", "service", "version", "accounts", "connected", "metrics", "region", "timestamp"}
    assert (body["status"], body["accounts"], body["connected"]) == ("online", 1, 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", body["timestamp"])


async def test_openapi_tells_of_every_route_and_no_other(api: Api) -> None:
    document = await (await api("GET", "/openapi.json", token=None)).json()
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    context = api.world.server._context
    routes = {
        (route.method, route.resource.canonical)
        for route in application(context).router.routes()
        if route.resource and route.method != "HEAD"
    }
    pages = {(each.method, each.path) for each in ENDPOINTS if each.page}
    assert told == routes - pages
    assert document["openapi"] == "3.1.0"


def test_openapi_refers_only_to_what_it_defines() -> None:
    document = openapi.document(ENDPOINTS, "1")
    names = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert names <= set(document["components"]["schemas"])
    assert {"Problem", "AccountJson", "EventJson", "MessageJson"} <= names
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    assert all(each["description"] for operation in operations for each in operation["responses"].values())
    assert len({each["operationId"] for each in operations}) == len(operations)
    for operation in operations:
        named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert all(each["required"] for each in operation["parameters"] if each["in"] == "path")
        assert named <= {"account", "chat", "outbox", "letter"}


@pytest.mark.parametrize("path", ["/health", "/", "/api/whatsapp/nothing", "/dashboard/app.js", "/login"])
async def test_every_answer_is_hardened(api: Api, path: str) -> None:
    response = await api("GET", path)
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert "Server" not in response.headers
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_head_is_answered_where_get_is(api: Api) -> None:
    assert (await api("HEAD", "/health")).status == 200
    assert (await api("HEAD", "/api/whatsapp/accounts", token=None)).status == 401
