from __future__ import annotations

import asyncio

import pytest

from tandem.api.auth import loopback
from tandem.api.context import Access
from tandem.api.server import ENDPOINTS
from tandem.errors import Misconfigured
from unit.api.world import ADMIN, READER, Api, World, serving, settings

ABSENT = "0123456789abcdef"
ALLOWED = {Access.NONE: (None, READER, ADMIN), Access.READ: (READER, ADMIN), Access.ADMIN: (ADMIN,)}


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if not each.page], ids=lambda each: each.path)
async def test_every_endpoint_lets_in_whom_it_says(api: Api, endpoint: object) -> None:
    path = endpoint.path.format(account=ABSENT, chat="+12025550188", outbox="x", letter="1")  # type: ignore[attr-defined]
    if path == "/api/events/stream":
        return  # does not end; see test_api_events
    for token in (None, READER, ADMIN):
        headers = {"Accept": "application/json"} if path != "/" else {}
        response = await api(endpoint.method, path, token=token, headers=headers)  # type: ignore[attr-defined]
        refused = response.status in {401, 403}
        assert refused == (token not in ALLOWED[endpoint.access]), (token, response.status)  # type: ignore[attr-defined]


async def test_the_seeds_status_needs_a_token(api: Api) -> None:
    response = await api("GET", "/", token=None, headers={"Accept": "application/json"})
    assert response.status == 401


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer  ", "bearer wrong", "Token x", ADMIN, ""])
async def test_other_authorization_is_401(api: Api, header: str) -> None:
    response = await api("GET", "/api/whatsapp/accounts", token=None, headers={"Authorization": header})
    assert response.status == 401
    assert ADMIN not in await response.text()


async def test_a_token_in_the_query_is_no_token(api: Api) -> None:
    assert (await api("GET", f"/api/whatsapp/accounts?token={ADMIN}", token=None)).status == 401


class TestWithoutToken:
    async def test_this_machine_is_the_admin(self, open_api: Api) -> None:
        response = await open_api("POST", "/api/whatsapp/add-account", json={"phone": "+12025550123"})
        assert (await response.json())["account"]["phone"] == "+12025550123"

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:5002", "127.0.0.1.evil.example", "10.0.0.1", ""])
    async def test_under_another_name_nobody_is_served(self, open_api: Api, host: str) -> None:
        for path in ("/api/whatsapp/accounts", "/", "/health"):
            response = await open_api("GET", path, headers={"Host": host})
            assert response.status == 403

    @pytest.mark.parametrize("host", ["localhost", "localhost:5002", "127.0.0.1:80", "[::1]:5002", "[::1]"])
    async def test_names_of_this_machine_are_served(self, open_api: Api, host: str) -> None:
        assert (await open_api("GET", "/api/whatsapp/accounts", headers={"Host": host})).status == 200

    @pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
    async def test_through_a_proxy_nobody_is_served(self, open_api: Api, name: str) -> None:
        response = await open_api("GET", "/api/whatsapp/accounts", headers={name: "203.0.113.9"})
        assert response.status == 403
        assert "TANDEM_API_TOKEN" in (await response.json())["detail"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    async def test_other_sites_cannot_change_anything(self, open_api: Api, headers: dict[str, str]) -> None:
        response = await open_api("POST", "/api/whatsapp/add-account", json={"phone": "+12025550123"}, headers=headers)
        assert response.status == 403
        assert not open_api.world.accounts.views

    async def test_a_wrong_token_is_still_wrong(self, open_api: Api) -> None:
        assert (await open_api("GET", "/api/whatsapp/accounts", token="wrong")).status == 401


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "::ffff:127.0.0.1")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "", "a.b")),
    ],
)
def test_what_is_this_machine(host: str, local: bool) -> None:  # noqa: FBT001 - a table
    assert loopback(host) is local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3"])
async def test_without_a_token_it_refuses_to_listen_elsewhere(host: str) -> None:
    with pytest.raises(Misconfigured, match="TANDEM_API_TOKEN"):
        await World(settings(api_token=None, api={"host": host})).server.start()


async def test_an_empty_token_is_refused() -> None:
    with pytest.raises(Misconfigured, match="empty"):
        await World(settings(api_token=" ")).server.start()


async def test_without_a_host_it_listens_on_loopback_alone_or_with_a_token_everywhere() -> None:
    alone = World(settings(api_token=None, api={}))
    assert alone.server.host == "127.0.0.1"
    async with serving(settings(api={})) as everywhere:
        assert everywhere.world.server.host in {"::", "0.0.0.0"}
        assert (await everywhere("GET", "/api/whatsapp/accounts")).status == 200


async def test_a_port_in_use_says_what_to_do() -> None:
    async with serving(settings()) as api:
        second = World(settings(port=api.world.server.port))
        with pytest.raises(Misconfigured, match=r"in use.*PORT"):
            await second.server.start()


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
async def test_a_host_that_is_not_ours_says_what_to_do(host: str) -> None:
    with pytest.raises(Misconfigured, match="TANDEM_API__HOST"):
        await World(settings(api={"host": host})).server.start()


async def test_stop_may_be_called_at_any_time() -> None:
    world = World(settings())
    await world.server.stop()
    await world.server.start()
    await asyncio.gather(world.server.stop(), world.server.stop())
