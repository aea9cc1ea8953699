"""The pages' buttons as plain forms."""

from __future__ import annotations

import re

from aiohttp import ClientResponse

from tandem.model.states import Role, Slot
from unit.api.world import Api


async def _session(api: Api) -> tuple[str, dict[str, str]]:
    """Return a page's form token and the cookie that belongs to it."""
    page = await api("GET", "/")
    found = re.search(r'name="csrf" value="(\w+)"', await page.text())
    assert found
    return found[1], {"Cookie": f"tandem_session={page.cookies['tandem_session'].value}"}


async def _press(api: Api, path: str, *, script: bool = False, **fields: str) -> ClientResponse:
    csrf, headers = await _session(api)
    accept = "application/json" if script else "text/html"
    return await api("POST", path, data={"csrf": csrf, **fields}, headers={**headers, "Accept": accept})


async def test_adding_leads_to_the_accounts_page(open_api: Api) -> None:
    response = await _press(open_api, "/accounts", phone="+1 202 555 0123", name="Front desk")
    (account,) = open_api.world.accounts.views
    assert (response.status, response.headers["Location"]) == (303, f"/accounts/{account}")
    again = await (await _press(open_api, "/accounts", script=True, phone="+12025550123")).json()
    assert again["words"] == "That number is here already: Front desk."
    assert again["where"] == f"/accounts/{account}"


async def test_mistakes_come_as_a_page_or_for_the_script(open_api: Api) -> None:
    page = await _press(open_api, "/accounts", phone="12")
    assert (page.status, page.content_type) == (400, "text/html")
    assert "country code" in await page.text()
    problem = await _press(open_api, "/accounts", script=True, phone="12")
    assert (problem.status, (await problem.json())["error"]) == (400, "invalid_request")
    assert (await _press(open_api, "/accounts", phone="+12025550123", name="x" * 101)).status == 400
    assert not open_api.world.accounts.views


async def test_a_form_without_its_sessions_token_changes_nothing(open_api: Api) -> None:
    account = await open_api.world.add()
    csrf, headers = await _session(open_api)
    other, _ = await _session(open_api)
    tries: list[tuple[str, dict[str, str]]] = [
        ("", headers),
        (other, headers),
        (csrf, {}),
        ("", {}),
        (csrf, {**headers, "Origin": "https://evil.example"}),
    ]
    for token, sent in tries:
        form = {"csrf": token, "name": "Front desk"}
        assert (await open_api("POST", f"/accounts/{account}/remove", data=form, headers=sent)).status == 403
    assert account in open_api.world.accounts.views


async def test_a_bearer_token_is_no_session_for_a_form(api: Api) -> None:
    account = await api.world.add()
    assert (await api("POST", f"/accounts/{account}/remove", data={"csrf": "", "name": "Front desk"})).status == 403


async def test_each_button_does_what_it_says(open_api: Api) -> None:
    account = await open_api.world.add()
    accounts = open_api.world.accounts
    assert (await _press(open_api, f"/accounts/{account}/cancel", slot="primary")).status == 303
    assert accounts.get(account).slot(Slot.PRIMARY).pairing is None
    assert (await _press(open_api, f"/accounts/{account}/pair", slot="primary", method="code")).status == 303
    assert accounts.get(account).slot(Slot.PRIMARY).pairing is not None
    assert (await _press(open_api, f"/accounts/{account}/pair", slot="third")).status == 400
    for slot in Slot:
        accounts.go_online(account, slot)
    assert (await _press(open_api, f"/accounts/{account}/pair", slot="primary")).status == 409
    assert (await _press(open_api, f"/accounts/{account}/switch")).status == 303
    assert accounts.get(account).slot(Slot.BACKUP).role is Role.ACTIVE
    done = await (await _press(open_api, f"/accounts/{account}/restart", script=True, slot="backup")).json()
    assert done["words"] == "The backup is started afresh."


async def test_removing_takes_the_accounts_name(open_api: Api) -> None:
    account = await open_api.world.add()
    assert (await _press(open_api, f"/accounts/{account}/remove", name="front")).status == 400
    assert account in open_api.world.accounts.views
    done = await _press(open_api, f"/accounts/{account}/remove", name=" Front desk ")
    assert (done.status, done.headers["Location"]) == (303, "/")
    assert account not in open_api.world.accounts.views
