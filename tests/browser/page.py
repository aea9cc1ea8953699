"""What tests do with a page in a real browser."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait


class Page:
    """A browser at an address of the dashboard; ``patience`` in seconds."""

    def __init__(self, chrome: webdriver.Chrome, url: str, patience: float = 8.0) -> None:
        self.chrome = chrome
        self.url = url.rstrip("/")
        self._patience = patience
        self.go("/")

    def go(self, path: str) -> None:
        self.chrome.get(self.url + path)
        self._mark()

    def arrives(self, path: str) -> None:
        """Wait until the page itself has gone somewhere."""
        self.until(lambda: path in self.chrome.current_url and self.find("#live"))
        self._mark()

    def find(self, selector: str) -> WebElement:
        return self.chrome.find_element(By.CSS_SELECTOR, selector)

    def count(self, selector: str) -> int:
        return len(self.chrome.find_elements(By.CSS_SELECTOR, selector))

    def click(self, selector: str) -> None:
        """Click, and again if the page has put something new in its place at that very moment."""

        def clicked() -> bool:
            self.find(selector).click()
            return True

        self.until(clicked)

    def text(self, selector: str = "body") -> str:
        return self.find(selector).text

    def until(self, condition: Callable[[], object]) -> None:
        ignored = (NoSuchElementException, StaleElementReferenceException)
        WebDriverWait(self.chrome, self._patience, 0.1, ignored_exceptions=ignored).until(lambda _: condition())

    def says(self, text: str, selector: str = "body") -> None:
        self.until(lambda: text in self.text(selector))

    def untroubled(self) -> None:
        """Nothing in the console, no horizontal scrolling, and not reloaded since it was opened."""
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

    def _mark(self) -> None:
        self.chrome.execute_script("window.notReloaded = true")
