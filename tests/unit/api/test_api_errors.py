from __future__ import annotations

import asyncio
import contextlib
import gzip

import pytest
from structlog.testing import capture_logs

from tandem.errors import NotOnline, PoisonMessage
from unit.api.world import ADMIN, READER, Api

PROBLEM_KEYS = {"type", "title", "status", "detail", "success", "error", "request_id"}
ABSENT = "0123456789abcdef"


async def _problem(api: Api, status: int, code: str, method: str, path: str, **rest: object) -> dict[str, object]:
    response = await api(method, path, **rest)  # type: ignore[arg-type]
    body: dict[str, object] = await response.json()
    assert response.status == status, body
    assert response.content_type == "application/problem+json"
    assert set(body) == PROBLEM_KEYS
    assert body["status"] == status
    assert body["success"] is False
    assert body["error"] == code
    assert body["type"] == f"urn:tandem:problem:{code}"
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert len(str(body["detail"])) >= 12
    return body


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[1]", "JSON object"),
        (b'"text"', "JSON object"),
        (b"{}", "phone: field required"),
        (b'{"phone": 12025550123}', "phone: input should be a valid string"),
        (b'{"phone": ""}', "phone:"),
        (b'{"phone": null}', "phone:"),
        (b'{"phone": "call me"}', "country code"),
        (b'{"phone": "+1202"}', "country code"),
        (b'{"phone": "+12025550123 ext 4"}', "write digits"),
        (b'{"phone": "1-800-FLOWERS"}', "write digits"),
        (b'{"phone": "+12025550123", "name": 7}', "name:"),
        (b'{"phone": "+12025550123", "name": "' + b"x" * 101 + b'"}', "name:"),
        (b'{"phone": "+12025550123", "name": "\\ud800"}', "not valid JSON"),
        (b"[" * 3000, "not valid JSON"),
    ],
)
async def test_a_wrong_body_is_400_and_says_what_is_wrong(api: Api, sent: bytes, told: str) -> None:
    body = await _problem(api, 400, "invalid_request", "POST", "/api/whatsapp/add-account", data=sent)
    assert told in str(body["detail"])
    assert "12025550123" not in str(body["detail"]).replace("such as +12025550123", "")
    assert not api.world.accounts.views


@pytest.mark.parametrize("text", [{}, {"message": ""}, {"message": 5}, {"message": ["x"]}, {"body": "hello"}])
async def test_a_wrong_message_is_400(api: Api, text: object) -> None:
    account = await api.world.add()
    path = f"/api/whatsapp/send/{account}/+12025550188"
    await _problem(api, 400, "invalid_request", "POST", path, json=text)
    assert not api.world.outgoing.rows


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "account/{id}"),
        ("DELETE", "account/{id}"),
        ("POST", "account/{id}/pair"),
        ("POST", "account/{id}/switch"),
        ("GET", "account/{id}/qr"),
        ("GET", "chats/{id}"),
        ("GET", "messages/{id}/+12025550188"),
        ("POST", "send/{id}/+12025550188"),
        ("GET", "outbox/{id}"),
    ],
)
@pytest.mark.parametrize("unknown", [ABSENT, "nonsense", "x" * 300])
async def test_what_is_not_there_is_404(api: Api, method: str, path: str, unknown: str) -> None:
    body = {"json": {"message": "hello"}} if method == "POST" and path.startswith("send") else {}
    await _problem(api, 404, "not_found", method, f"/api/whatsapp/{path.format(id=unknown)}", **body)


@pytest.mark.parametrize(
    "query",
    [
        "events?limit=0",
        "events?limit=-1",
        "events?limit=many",
        "events?limit=²",
        "events?type=nothing",
        "events?account=+12025550123",
        "events/stream?type=nothing",
        "whatsapp/messages/{id}/+12025550188?before=yesterday",
        "whatsapp/chats/{id}?limit=1e3",
        "whatsapp/account/{id}/qr?slot=third",
    ],
)
async def test_a_wrong_query_is_400(api: Api, query: str) -> None:
    account = await api.world.add()
    await _problem(api, 400, "invalid_request", "GET", f"/api/{query.format(id=account)}")


async def test_a_wrong_slot_or_method_is_400(api: Api) -> None:
    account = await api.world.add()
    for body in ({"slot": "third"}, {"slot": 1}, {"method": "pigeon"}):
        told = await _problem(api, 400, "invalid_request", "POST", f"/api/whatsapp/account/{account}/pair", json=body)
        assert "'" in str(told["detail"])


async def test_a_wrong_idempotency_key_is_400(api: Api) -> None:
    account = await api.world.add()
    for key in ("", "with space", "x" * 201):
        path = f"/api/whatsapp/send/{account}/+12025550188"
        headers = {"Idempotency-Key": key}
        await _problem(api, 400, "invalid_request", "POST", path, json={"message": "hello"}, headers=headers)


async def test_too_large_a_body_is_413(api: Api) -> None:
    body = await _problem(api, 413, "too_large", "POST", "/api/whatsapp/add-account", data=b"x" * 5000)
    assert "4096" in str(body["detail"])

    async def drip() -> object:
        for _ in range(10):
            yield b"x" * 1000
            await asyncio.sleep(0)

    await _problem(api, 413, "too_large", "POST", "/api/whatsapp/add-account", data=drip())


async def test_a_compressed_bomb_is_413(api: Api) -> None:
    bomb = gzip.compress(b" " * 1_000_000)
    assert len(bomb) < 4096
    headers = {"Content-Encoding": "gzip"}
    await _problem(api, 413, "too_large", "POST", "/api/whatsapp/add-account", data=bomb, headers=headers)


async def test_an_unknown_path_is_404_and_names_the_list(api: Api) -> None:
    body = await _problem(api, 404, "unknown_path", "GET", "/api/whatsapp/nothing")
    assert "/openapi.json" in str(body["detail"])


async def test_a_wrong_method_is_405_with_allow(api: Api) -> None:
    response = await api("PUT", "/api/whatsapp/accounts")
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"
    await _problem(api, 405, "method_not_allowed", "DELETE", "/api/whatsapp/add-account")


async def test_trouble_that_may_pass_is_503_with_retry_after(api: Api) -> None:
    api.world.accounts.broken = NotOnline("no session is online", 2.0)
    response = await api("POST", "/api/whatsapp/add-account", json={"phone": "+12025550123"})
    assert (response.status, response.headers["Retry-After"]) == (503, "2")


@pytest.mark.parametrize("error", [RuntimeError("canary 12025550123"), PoisonMessage("canary"), ValueError()])
async def test_the_unexpected_is_500_and_tells_nothing_but_the_request(api: Api, error: Exception) -> None:
    api.world.accounts.broken = error
    request_id = {"X-Request-ID": "my-request-0001"}
    body = await _problem(
        api, 500, "internal", "POST", "/api/whatsapp/add-account", json={"phone": "+12025550123"}, headers=request_id
    )
    assert body["request_id"] == "my-request-0001"
    assert "canary" not in str(body)


async def test_a_made_up_request_id_that_is_no_id_is_replaced(api: Api) -> None:
    response = await api("GET", "/livez", headers={"X-Request-ID": "<script>"})
    assert response.headers["X-Request-ID"].isalnum()


async def test_wrong_tokens_are_401(api: Api) -> None:
    for token in (None, "wrong"):
        response = await api("GET", "/api/whatsapp/accounts", token=token)
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    await _problem(api, 401, "unauthorized", "GET", "/api/whatsapp/accounts", token="wrong")


async def test_the_read_token_may_not_change(api: Api) -> None:
    await _problem(api, 403, "forbidden", "POST", "/api/whatsapp/add-account", token=READER, json={"phone": "x"})


async def _raw(api: Api, request: bytes) -> bytes:
    """Send bytes as they are, wait a quarter of a second for the first line that comes back, and hang up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.world.server.port)
    writer.write(request)
    answer = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(0.25):
            answer = await reader.readline()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    "request_line",
    [b"GET /x HTTQ/1.1\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"1" * 9000 + b"\r\n\r\n"],
)
async def test_what_is_no_http_is_400_and_no_error_in_the_log(
    api: Api, request_line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert b" 400 " in await _raw(api, request_line)
    assert not [record for record in caplog.records if record.name == "aiohttp.server"]


async def test_a_body_that_breaks_off_or_lies_about_its_encoding_is_the_clients_fault(api: Api) -> None:
    head = f"POST /api/whatsapp/add-account HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n".encode()
    lie = await _raw(api, head + b"Content-Length: 5\r\nContent-Encoding: gzip\r\n\r\nxxxxx")
    assert b" 400 " in lie
    with capture_logs() as logs:
        await _raw(api, head + b'Content-Length: 50\r\n\r\n{"phone":')
        await asyncio.sleep(0.05)
    assert {line["status"] for line in logs} == {400}
