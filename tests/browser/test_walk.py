"""The whole of it in a real browser: a real daemon, real device hosts, the emulator's phones. Nobody reloads."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from browser.conftest import Browse
from browser.page import Page
from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(180)
ADMIN, READER = "walk-admin-token-0123456789", "walk-reader-token-0123456789"
PATIENCE = 30.0
PHONE = "+12025550123"
_QR_TEXT = """
const [path, done] = arguments;
fetch(path, { headers: { Accept: "text/plain" } }).then((answer) => answer.text()).then(done);
"""
_STRAY = "return [...document.querySelectorAll('form[method=post]')].map((form) => form.getAttribute('action'))"


@dataclass
class Stage:
    scene: Scene
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.scene.daemon.port}"

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def kill(self, slot: str) -> None:
        for host in self.scene.daemon.hosts():
            if host.slot == slot:
                os.kill(host.pid, signal.SIGKILL)


@contextmanager
def _stage() -> Iterator[Stage]:
    """A daemon and an emulator, waited for by another thread's loop, since a browser's driver blocks."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    tokens = {"TANDEM_API_TOKEN": ADMIN, "TANDEM_READ_TOKEN": READER}

    async def made() -> Scene:
        return Scene(DemoOptions(accounts=1), lambda _sentence: None, tokens)

    stage = Stage(asyncio.run_coroutine_threadsafe(made(), loop).result(60), loop)
    try:
        stage.do(stage.scene.__aenter__())
        yield stage
    finally:
        stage.do(stage.scene.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with _stage() as stage:
        yield stage


def _log_in(page: Page, token: str) -> None:
    page.find("#token").send_keys(f"{token}\n")
    page.arrives("/")
    page.until(lambda: page.find("#link[data-state=live]"))


def _scan(page: Page, stage: Stage, slot: str) -> None:
    """Show the phone what the page shows."""
    page.until(lambda: page.find(f"[data-pairing={slot}] img.qr").get_property("naturalWidth"))
    shown = page.find("img.qr").get_attribute("src")
    text = page.chrome.execute_async_script(_QR_TEXT, shown)
    stage.do(stage.scene.emulator.scan(PHONE, text))


def _link(page: Page, stage: Stage) -> str:
    """Add an account and link both its devices; return its page's path."""
    stage.do(stage.scene.emulator.add_phone(PHONE, "Shop"))
    page.click("#add summary")
    page.find("#add-phone").send_keys("+1 202 555 0123")
    page.find("#add-name").send_keys("Front desk")
    page.click("#add-submit")
    page.arrives("/accounts/")
    _scan(page, stage, "primary")
    page.says("SCAN 2 OF 2")  # nobody asked for it
    page.keep("walk-second-qr")
    _scan(page, stage, "backup")
    page.until(lambda: page.text("[data-slot=primary] [data-state]") == "Online")
    page.until(lambda: page.text("[data-slot=backup] [data-state]") == "Online")
    page.untroubled()
    return page.chrome.current_url.removeprefix(page.url)


def _role_moves(page: Page, stage: Stage) -> None:
    assert "sends" in page.text("[data-slot=primary] .role")
    stage.kill("primary")
    page.until(lambda: page.text("[data-slot=backup] .role") == "sends")
    page.until(lambda: page.text("[data-slot=primary] [data-state]") == "Online")
    page.says("switched to backup", "#events")
    page.until(lambda: page.count(".timeline rect.switch"))
    page.untroubled()
    page.keep("walk-after-the-kill")


def _events_are_filtered(page: Page, stage: Stage) -> None:
    page.go("/events")
    page.says("killed by SIGKILL", "#events")
    Select(page.find("#type")).select_by_visible_text("switched to backup")
    page.arrives("type=switched_to_backup")
    page.until(lambda: page.find("#link[data-state=live]"))
    assert {row.text for row in page.chrome.find_elements(By.CSS_SELECTOR, "#events .type")} == {"switched to backup"}
    before = page.count("#events li")
    page.until(lambda: len(stage.scene.daemon.hosts()) == 2)
    page.untroubled()
    assert before >= 1


def _looks_only(page: Page, account: str) -> None:
    for path in ("/", account, "/events", "/report"):
        page.go(path)
        assert "read only" in page.text(".top")
        assert page.chrome.execute_script(_STRAY) == ["/logout"]
        assert not re.search(r"202\W?555\W?0123", page.chrome.page_source)
        page.untroubled()
    page.go("/")
    assert "+120****23" in page.text(".account .phone")


def test_a_walk_through_the_dashboard(browse: Browse, stage: Stage) -> None:
    page = Page(browse(), stage.url, PATIENCE)
    _log_in(page, ADMIN)
    account = _link(page, stage)
    _role_moves(page, stage)
    _events_are_filtered(page, stage)
    page.go("/report")
    page.says("Front desk", ".stack")
    page.untroubled()
    page.click("form[action='/logout'] button")
    page.until(lambda: page.find("#token"))
    _log_in(page, READER)
    _looks_only(page, account)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (820, "light")])
def test_no_page_is_wider_than_its_screen(browse: Browse, stage: Stage, width: int, scheme: str) -> None:
    page = Page(browse(width, 844, scheme), stage.url, PATIENCE)
    _log_in(page, ADMIN)
    account = _link(page, stage)
    for path in ("/", account, f"{account}?hours=24", "/events", "/report", "/report?date=2020-01-01"):
        page.go(path)
        page.until(lambda: page.find("#link[data-state=live]"))
        page.keep(f"{width}-{scheme}-{path.strip('/').partition('/')[0].partition('?')[0] or 'overview'}")
        page.untroubled()
