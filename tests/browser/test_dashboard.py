"""The dashboard as people meet it: a real browser, a real server, twins behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from browser.conftest import Browse
from browser.page import Page
from tandem.clock import SystemRandom
from tandem.model.event import EventType
from tandem.model.ids import AccountId
from tandem.model.states import Role, SessionState, Slot
from unit.api.twins import QR, RealClock
from unit.api.world import ADMIN, PHONE, World, settings
from unit.cli.daemon import Running, running


@pytest.fixture
def daemon() -> Iterator[Running]:
    with _running(api_token=None, read_token=None) as daemon:
        yield daemon


def _running(**changes: object) -> Any:
    return running(World(settings(emulator="127.0.0.1:7700", **changes), clock=RealClock(), random=SystemRandom()))


def _account(daemon: Running) -> AccountId:
    (account,) = daemon.world.accounts.views
    return account


def test_an_account_comes_online_without_a_reload(browse: Browse, daemon: Running) -> None:
    page = Page(browse(), daemon.url)
    accounts = daemon.world.accounts
    assert "nothing here reaches WhatsApp" in page.text("#emulator-banner")
    page.says("live", "#link")
    page.click("#add summary")
    page.find("#add-phone").send_keys("+1 202 555 0123")
    page.find("#add-name").send_keys("Front desk")
    page.click("#add-submit")
    page.arrives("/accounts/")
    page.says("Asking WhatsApp for a code")
    account = _account(daemon)
    daemon.call(accounts.show_code, account, Slot.PRIMARY, QR)
    page.until(lambda: page.find("img.qr").get_property("naturalWidth"))
    assert page.find("img.qr").size["width"] >= 300
    assert 1 <= int(page.text(".countdown span").split()[0]) <= 20
    first = page.find("img.qr").get_attribute("src")
    before = page.text(".countdown")
    page.until(lambda: page.text(".countdown") != before)
    page.keep("pairing")
    daemon.call(accounts.show_code, account, Slot.PRIMARY, QR + "2")
    page.until(lambda: page.find("img.qr").get_attribute("src") != first)
    daemon.call(accounts.go_online, account, Slot.PRIMARY)
    page.says("One more scan protects this account")
    page.click("form[action$='/pair'] .main")
    page.says("SCAN 2 OF 2")
    daemon.call(accounts.show_code, account, Slot.BACKUP, QR)
    daemon.call(accounts.go_online, account, Slot.BACKUP)
    page.says("Online", "[data-slot=backup] [data-state]")
    page.says("The backup is online", "#events")
    page.untroubled()


def test_the_role_moves_before_your_eyes(browse: Browse, daemon: Running) -> None:
    account = daemon.do(daemon.world.add())
    for slot in Slot:
        daemon.call(daemon.world.accounts.go_online, account, slot)
    page = Page(browse(390, 844, "dark"), daemon.url)
    primary, backup = "[data-slot=primary].slot", "[data-slot=backup].slot"
    assert "sends" in page.text(primary)
    page.click("form[action$='/switch'] button")
    page.says("sends", backup)
    page.says("the backup device sends now", "#notice")
    view = daemon.world.accounts.get(account).slot(Slot.BACKUP)
    lost = replace(view, state=SessionState.WAITING, role=Role.STANDBY, reason="the host died, next start in 3 s")
    daemon.call(daemon.world.accounts.put, account, lost)
    daemon.call(daemon.world.events, EventType.SESSION_OFFLINE, "The backup went offline")
    page.says("Waiting to retry", backup)
    page.says("the host died", backup)
    page.says("1 account without a healthy backup", "#headline")
    page.keep("phone")
    page.untroubled()


def test_removing_asks_for_the_name(browse: Browse, daemon: Running) -> None:
    account = daemon.do(daemon.world.add())
    page = Page(browse(), daemon.url)
    page.go(f"/accounts/{account}")
    page.click(".remove summary")
    page.find("#remove-name").send_keys("Front\n")
    page.says("Type the account's name", "#remove-wrong")
    assert daemon.world.accounts.views
    page.find("#remove-name").send_keys(" desk\n")
    page.says("Keep your first account online")
    assert not daemon.world.accounts.views


def test_mistakes_are_told_where_they_are_made(browse: Browse, daemon: Running) -> None:
    page = Page(browse(), daemon.url)
    page.click("#add summary")
    page.find("#add-phone").send_keys("12\n")
    page.says("country code", "#add-wrong")
    page.find("#add-phone").clear()
    page.find("#add-phone").send_keys(f"{PHONE}\n")
    page.says("Scan 1 of 2".upper())


def test_what_is_being_typed_survives_what_happens_meanwhile(browse: Browse, daemon: Running) -> None:
    page = Page(browse(), daemon.url)
    page.says("live", "#link")
    page.click("#add summary")
    page.find("#add-phone").send_keys("+1 202")
    daemon.call(daemon.world.events, EventType.ALERT, "Something else happened")
    page.says("Something else happened", "#events")
    page.find("#add-phone").send_keys(" 555 0123")
    assert page.find("#add-phone").get_property("value") == "+1 202 555 0123"
    page.untroubled()


def test_without_javascript_every_button_works(browse: Browse, daemon: Running) -> None:
    page = Page(browse(), daemon.url)
    page.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.chrome.get(daemon.url)
    page.click("#add summary")
    page.find("#add-phone").send_keys("12\n")
    page.says("country code")
    page.chrome.get(daemon.url)
    page.click("#add summary")
    page.find("#add-phone").send_keys(f"{PHONE}\n")
    page.says("Asking WhatsApp for a code")
    account = _account(daemon)
    assert page.chrome.current_url.endswith(f"/accounts/{account}")
    daemon.call(daemon.world.accounts.show_code, account, Slot.PRIMARY, QR)
    page.chrome.get(page.chrome.current_url)
    page.until(lambda: page.find("img.qr").get_property("naturalWidth"))
    page.click("form[action$='/cancel'] button")
    page.says("the pairing was cancelled")


def test_the_reader_chooses_the_theme_and_it_stays(browse: Browse, daemon: Running) -> None:
    page = Page(browse(), daemon.url)
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = page.chrome.execute_script(ground)
    page.click("#theme")
    dark = page.chrome.execute_script(ground)
    assert dark != light
    page.go("/events")
    assert page.chrome.execute_script(ground) == dark
    page.untroubled()


def test_the_stream_comes_back_with_the_daemon(browse: Browse) -> None:
    with _running(api_token=None, read_token=None) as daemon:
        page = Page(browse(), daemon.url)
        page.says("live", "#link")
        port = daemon.world.server.port
        daemon.do(daemon.world.server.stop())
        page.says("reconnecting", "#link")
        again = World(settings(port=port, api_token=None), clock=RealClock(), random=SystemRandom())
        daemon.do(again.server.start())
        try:
            account = daemon.do(again.add())
            page.says("live", "#link")
            page.until(lambda: page.find(f"[data-account='{account}']"))
            page.says("+1 202-555-0123")
            page.go(f"/accounts/{account}")
            page.click("form[action$='/cancel'] button")
            page.says("Pairing cancelled.", "#notice")
        finally:
            daemon.do(again.server.stop())


def test_with_a_token_one_logs_in_and_out(browse: Browse) -> None:
    with _running() as daemon:
        page = Page(browse(), daemon.url)
        page.find("#token").send_keys("wrong\n")
        page.says("not known here")
        page.find("#token").send_keys(f"{ADMIN}\n")
        page.says("No accounts yet")
        page.says("live", "#link")
        page.find("form[action='/logout'] button").click()
        page.until(lambda: page.find("#token"))


def test_a_flood_of_events_does_not_hold_the_page_up(browse: Browse, daemon: Running) -> None:
    account = daemon.do(daemon.world.add())
    page = Page(browse(), daemon.url)
    page.says("live", "#link")
    daemon.call(daemon.world.accounts.go_online, account, Slot.PRIMARY)

    def flooded() -> bool:
        for _ in range(50):
            daemon.call(daemon.world.events, EventType.MESSAGE_SENT, "Message sent")
        return "Online" in page.text("[data-slot=primary].slot")

    page.until(flooded)
    assert "Message sent" not in page.text("#events")
    page.untroubled()
