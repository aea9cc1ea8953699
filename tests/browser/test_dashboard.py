"""The dashboard as people meet it: a real browser, a real server, twins behind it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from browser.conftest import Browse
from tandem.clock import SystemRandom
from tandem.model.event import EventType
from tandem.model.ids import AccountId
from tandem.model.states import Role, SessionState, Slot
from unit.api.twins import QR, RealClock
from unit.api.world import ADMIN, PHONE, World, settings
from unit.cli.daemon import Running, running

_PATIENCE = 8.0  # seconds; what happens is on the page within half of one


@pytest.fixture
def daemon() -> Iterator[Running]:
    with _running(api_token=None, read_token=None) as daemon:
        yield daemon


def _running(**changes: object) -> Any:
    return running(World(settings(emulator="127.0.0.1:7700", **changes), clock=RealClock(), random=SystemRandom()))


class Page:
    def __init__(self, chrome: webdriver.Chrome, daemon: Running) -> None:
        self.chrome = chrome
        self.daemon = daemon
        chrome.get(daemon.url)
        chrome.execute_script("window.notReloaded = true")

    def find(self, selector: str) -> WebElement:
        return self.chrome.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "body") -> str:
        return self.find(selector).text

    def until(self, condition: Callable[[], object]) -> None:
        ignored = (NoSuchElementException, StaleElementReferenceException)
        WebDriverWait(self.chrome, _PATIENCE, 0.1, ignored_exceptions=ignored).until(lambda _: condition())

    def says(self, text: str, selector: str = "body") -> None:
        self.until(lambda: text in self.text(selector))

    def untroubled(self) -> None:
        """Nothing in the console, no horizontal scrolling, and never reloaded."""
        lines = self.chrome.get_log("browser")  # type: ignore[no-untyped-call]
        told = [line for line in lines if line["level"] in {"SEVERE", "WARNING"}]
        assert told == []
        overflow = "return document.documentElement.scrollWidth > window.innerWidth"
        assert self.chrome.execute_script(overflow) is False
        assert self.chrome.execute_script("return window.notReloaded") is True

    def keep(self, name: str) -> None:
        """Leave a screenshot where SCREENSHOTS says, for people."""
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            self.chrome.save_screenshot(str(Path(folder) / f"{name}.png"))


def _account(daemon: Running) -> AccountId:
    (account,) = daemon.world.accounts.views
    return account


def test_an_account_comes_online_without_a_reload(browse: Browse, daemon: Running) -> None:
    page = Page(browse(), daemon)
    accounts = daemon.world.accounts
    assert "nothing here reaches WhatsApp" in page.text("#emulator-banner")
    page.says("live", "#link")
    page.find("[data-action=add]").click()
    page.find("#add-phone").send_keys("+1 202 555 0123")
    page.find("#add-name").send_keys("Front desk")
    page.find("#add-submit").click()
    page.says("Asking WhatsApp for a code")
    account = _account(daemon)
    daemon.call(accounts.show_code, account, Slot.PRIMARY, QR)
    page.until(lambda: page.find("img.qr").get_property("naturalWidth"))
    assert 1 <= int(page.text(".countdown span").split()[0]) <= 20
    first = page.find("img.qr").get_attribute("src")
    before = page.text(".countdown")
    page.until(lambda: page.text(".countdown") != before)
    page.keep("pairing")
    daemon.call(accounts.show_code, account, Slot.PRIMARY, QR + "2")
    page.until(lambda: page.find("img.qr").get_attribute("src") != first)
    daemon.call(accounts.go_online, account, Slot.PRIMARY)
    page.says("One more scan protects this account")
    page.find("[data-action=pair][data-slot=backup]").click()
    page.says("SCAN 2 OF 2")
    daemon.call(accounts.show_code, account, Slot.BACKUP, QR)
    daemon.call(accounts.go_online, account, Slot.BACKUP)
    page.says("Online, on both devices", "#headline")
    page.says("The backup is online", "#events")
    page.untroubled()


def test_the_role_moves_before_your_eyes(browse: Browse, daemon: Running) -> None:
    account = daemon.do(daemon.world.add())
    for slot in Slot:
        daemon.call(daemon.world.accounts.go_online, account, slot)
    page = Page(browse(390, 844, "dark"), daemon)
    primary, backup = "[data-slot=primary].slot", "[data-slot=backup].slot"
    assert "sends" in page.text(primary)
    page.find("[data-action=switch]").click()
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


def test_removing_asks_first(browse: Browse, daemon: Running) -> None:
    daemon.do(daemon.world.add())
    page = Page(browse(), daemon)
    page.find("[data-action=remove]").click()
    page.says("Remove Front desk?", "#remove-dialog")
    page.find("#remove-dialog [data-close]").click()
    assert daemon.world.accounts.views
    page.find("[data-action=remove]").click()
    page.find("#remove-dialog .danger").click()
    page.says("Keep your first account online")
    assert not daemon.world.accounts.views
    page.untroubled()


def test_mistakes_are_told_where_they_are_made(browse: Browse, daemon: Running) -> None:
    page = Page(browse(), daemon)
    page.find("#add-open").click()
    page.find("#add-phone").send_keys("12\n")
    page.says("country code", "#add-wrong")
    page.find("#add-phone").clear()
    page.find("#add-phone").send_keys(f"{PHONE}\n")
    page.says("Scan 1 of 2".upper())


def test_the_stream_comes_back_with_the_daemon(browse: Browse) -> None:
    with _running(api_token=None, read_token=None) as daemon:
        page = Page(browse(), daemon)
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
        finally:
            daemon.do(again.server.stop())


def test_with_a_token_one_logs_in_and_out(browse: Browse) -> None:
    with _running() as daemon:
        page = Page(browse(), daemon)
        page.find("#token").send_keys("wrong\n")
        page.says("not known here")
        page.find("#token").send_keys(f"{ADMIN}\n")
        page.says("No accounts yet")
        page.says("live", "#link")
        page.find("form[action='/logout'] button").click()
        page.until(lambda: page.find("#token"))


def test_a_flood_of_events_does_not_hold_the_page_up(browse: Browse, daemon: Running) -> None:
    account = daemon.do(daemon.world.add())
    page = Page(browse(), daemon)
    page.says("live", "#link")
    daemon.call(daemon.world.accounts.go_online, account, Slot.PRIMARY)

    def flooded() -> bool:
        for _ in range(50):
            daemon.call(daemon.world.events, EventType.MESSAGE_SENT, "Message sent")
        return "Online" in page.text("[data-slot=primary].slot")

    page.until(flooded)
    assert "Message sent" not in page.text("#events")
    page.untroubled()
