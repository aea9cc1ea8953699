from __future__ import annotations

import re
from dataclasses import replace

from aiohttp import ClientResponse

from tandem.api.sessions import LIFETIME, Sessions
from tandem.model.event import EventType
from tandem.model.states import Role, SessionState, Slot
from tandem.model.views import PairMethod
from unit.api.twins import CODE, QR, CountingRandom, FakeClock
from unit.api.world import ADMIN, READER, Api, serving, settings


def _cookies(response: ClientResponse) -> dict[str, str]:
    return {name: morsel.value for name, morsel in response.cookies.items() if morsel.value}


def _csrf(page: str) -> str:
    found = re.search(r'name="csrf" (?:content|value)="(\w+)"', page)
    assert found
    return found[1]


def _cookie_header(cookies: dict[str, str]) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


async def _log_in(api: Api, token: str) -> tuple[ClientResponse, dict[str, str]]:
    page = await api("GET", "/login", token=None)
    form = {"csrf": _csrf(await page.text()), "token": token}
    response = await api("POST", "/login", token=None, data=form, headers=_cookie_header(_cookies(page)))
    return response, _cookies(response)


async def test_strangers_are_sent_to_the_login(api: Api) -> None:
    response = await api("GET", "/", token=None)
    assert (response.status, response.headers["Location"]) == (303, "/login")
    assert (await api("GET", "/dashboard/live", token=None)).status == 401


async def test_logging_in_and_out(api: Api) -> None:
    response, cookies = await _log_in(api, ADMIN)
    assert (response.status, response.headers["Location"]) == (303, "/")
    morsel = response.cookies["tandem_session"]
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Strict", "/")
    assert ADMIN not in str(response.headers)
    home = await api("GET", "/", token=None, headers=_cookie_header(cookies))
    assert home.status == 200
    assert (await api("GET", "/login", token=None, headers=_cookie_header(cookies))).status == 303
    form = {"csrf": _csrf(await home.text())}
    forged = await api("POST", "/logout", token=None, data={"csrf": "x"}, headers=_cookie_header(cookies))
    assert forged.status == 403
    out = await api("POST", "/logout", token=None, data=form, headers=_cookie_header(cookies))
    assert out.headers["Location"] == "/login"
    assert (await api("GET", "/dashboard/live", token=None, headers=_cookie_header(cookies))).status == 401


async def test_a_wrong_token_stays_outside(api: Api) -> None:
    response, cookies = await _log_in(api, "wrong-token-canary")
    assert response.status == 401
    assert "tandem_session" not in cookies
    text = await response.text()
    assert "not known" in text
    assert "wrong-token-canary" not in text


async def test_another_site_cannot_log_anyone_in(api: Api) -> None:
    page = await api("GET", "/login", token=None)
    form = {"csrf": _csrf(await page.text()), "token": ADMIN}
    assert (await api("POST", "/login", token=None, data=form)).status == 403
    assert (await api("POST", "/login", token=None, data={"token": ADMIN, "csrf": ""})).status == 403
    headers = {**_cookie_header(_cookies(page)), "Origin": "https://evil.example"}
    assert (await api("POST", "/login", token=None, data=form, headers=headers)).status == 403


async def test_a_session_needs_its_csrf_token_to_change_anything(api: Api) -> None:
    _, cookies = await _log_in(api, ADMIN)
    home = await api("GET", "/", token=None, headers=_cookie_header(cookies))
    body = {"phone": "+12025550123"}
    for wrong in ({}, {"X-CSRF-Token": "x"}):
        headers = {**_cookie_header(cookies), **wrong}
        refused = await api("POST", "/api/whatsapp/add-account", token=None, json=body, headers=headers)
        assert (refused.status, (await refused.json())["error"]) == (403, "csrf")
    headers = {**_cookie_header(cookies), "X-CSRF-Token": _csrf(await home.text())}
    done = await api("POST", "/api/whatsapp/add-account", token=None, json=body, headers=headers)
    assert done.status == 200


async def test_the_read_token_looks_only(api: Api) -> None:
    account = await api.world.add()
    api.world.accounts.show_code(account, Slot.PRIMARY)
    _, cookies = await _log_in(api, READER)
    text = ""
    for page in ("/", f"/accounts/{account}", f"/events?account={account}", "/report"):
        text += await (await api("GET", page, token=None, headers=_cookie_header(cookies))).text()
    assert "555" not in text
    assert re.findall(r'method="post" action="([^"]+)"', text) == ["/logout"] * 4
    assert "/qr" not in text
    headers = {**_cookie_header(cookies), "X-CSRF-Token": _csrf(text)}
    assert (await api("POST", f"/api/whatsapp/account/{account}/switch", token=None, headers=headers)).status == 403
    form = {"csrf": _csrf(text)}
    by_form = await api("POST", f"/accounts/{account}/switch", token=None, data=form, headers=_cookie_header(cookies))
    assert by_form.status == 403


async def test_without_a_token_the_page_opens_a_session_of_its_own(open_api: Api) -> None:
    home = await open_api("GET", "/")
    assert home.status == 200
    assert "tandem_session" in home.cookies
    assert "/logout" not in await home.text()


async def test_behind_https_the_cookie_is_secure(api: Api) -> None:
    response = await api("GET", "/login", token=None, headers={"X-Forwarded-Proto": "https"})
    assert response.cookies["tandem_login"]["secure"] is True


async def test_the_page_has_nothing_inline_and_asks_nobody_else(open_api: Api) -> None:
    account = await open_api.world.add()
    open_api.world.accounts.show_code(account, Slot.PRIMARY)
    text = ""
    for page in ("/", f"/accounts/{account}", "/events", "/report"):
        text += await (await open_api("GET", page)).text()
    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", text)
    assert not re.search(r'\s(?:src|href|action)="(?![/#?])', text)
    for path in set(re.findall(r'(?:src|href)="(/dashboard/[\w.]+)"', text)):
        first = await open_api("GET", path)
        assert first.status == 200
        again = await open_api("GET", path, headers={"If-None-Match": first.headers["ETag"]})
        assert again.status == 304
    script = await (await open_api("GET", "/dashboard/app.js")).text()
    assert "http" not in re.sub(r"^\s*//.*$", "", script, flags=re.MULTILINE)


async def test_what_people_type_is_escaped(open_api: Api) -> None:
    await open_api.world.add(name='<script>alert(1)</script>"')
    open_api.world.events(EventType.ALERT, "<b>bold</b>")
    text = await (await open_api("GET", "/")).text()
    assert "<script>alert" not in text
    assert "<b>bold" not in text


async def test_the_page_tells_of_the_emulator() -> None:
    async with serving(settings(api_token=None, emulator="127.0.0.1:7700")) as api:
        assert "emulator-banner" in await (await api("GET", "/")).text()


async def test_the_page_shows_every_state(open_api: Api) -> None:
    account = await open_api.world.add()
    accounts = open_api.world.accounts
    accounts.go_online(account, Slot.PRIMARY)
    accounts.go_online(account, Slot.BACKUP)
    for state in SessionState:
        slot = replace(accounts.get(account).slot(Slot.BACKUP), state=state, reason="because", role=Role.STANDBY)
        accounts.put(account, slot)
        text = await (await open_api("GET", "/dashboard/live")).text()
        assert "because" in text
        assert ("Link again" in text) == (state is SessionState.LOGGED_OUT)
        assert ("Try again" in text) == (state.value in {"conflict", "parked"})


async def test_pairing_goes_from_waiting_to_qr_to_the_second_device(open_api: Api) -> None:
    account = await open_api.world.add()

    async def page() -> str:
        return await (await open_api("GET", f"/dashboard/live/accounts/{account}")).text()

    accounts = open_api.world.accounts
    assert "Asking WhatsApp" in await page()
    accounts.show_code(account, Slot.PRIMARY)
    shown = await page()
    assert f"/api/whatsapp/account/{account}/qr?slot=primary" in shown
    assert 'data-until="1750000020000"' in shown
    assert QR not in shown
    accounts.go_online(account, Slot.PRIMARY)
    assert "One more scan" in await page()
    await accounts.pair(account, Slot.BACKUP, PairMethod.CODE)
    accounts.show_code(account, Slot.BACKUP, CODE)
    assert CODE in await page()
    accounts.go_online(account, Slot.BACKUP)
    assert "data-pairing" not in await page()
    assert "Online, on both devices" in await (await open_api("GET", "/dashboard/live")).text()


def test_sessions_end_and_are_bounded() -> None:
    clock = FakeClock()
    sessions = Sessions(clock, CountingRandom())
    first = sessions.open(admin=True)
    clock.advance(LIFETIME - 1)
    assert sessions.get(first)
    clock.advance(LIFETIME + 1)
    assert sessions.get(first) is None
    kept = [sessions.open(admin=False) for _ in range(1001)]
    assert sessions.get(kept[0]) is None
    assert sessions.get(kept[-1])
    sessions.close(kept[-1])
    assert sessions.get(kept[-1]) is None
