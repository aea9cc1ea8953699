"""Drives ``library_client.py``: a real linked device in a child process."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "src"
PATIENCE = 40.0  # a first login makes 812 prekeys: seconds of work where others want the cores, too


class Library:
    """The real library, one linked device. Use ``async with``; the child is killed at the end."""

    def __init__(self, database: Path, port: int, root_key: bytes, timings: str = "") -> None:
        self.events: list[dict[str, Any]] = []
        self.ended = False
        self._arguments = [str(database), str(port), root_key.hex(), *([timings] if timings else [])]
        self._news = asyncio.Condition()
        self._calls = itertools.count(1)

    async def __aenter__(self) -> Self:
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "library_client.py"),
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
            env=os.environ | {"PYTHONPATH": str(SOURCES)},
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        if self._child.returncode is None:
            self._child.kill()
        await self._child.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._child.stdout is not None
        async for line in self._child.stdout:
            await self._tell(json.loads(line))
        await self._tell({"kind": "exit", "code": await self._child.wait()})

    async def _tell(self, news: dict[str, Any]) -> None:
        async with self._news:
            self.events.append(news)
            self._news.notify_all()

    async def wait(self, wanted: Callable[[dict[str, Any]], bool], patience: float = PATIENCE, since: int = 0) -> Any:
        """Return the first event that is wanted, already arrived or not. Raises TimeoutError."""
        try:
            async with asyncio.timeout(patience), self._news:
                while True:
                    found = next((event for event in self.events[since:] if wanted(event)), None)
                    if found is not None:
                        return found
                    await self._news.wait()
        except TimeoutError:
            raise TimeoutError(f"waited in vain; events so far: {self.events[since:][-20:]}") from None

    async def wait_for(self, name: str, count: int = 1, patience: float = PATIENCE, since: int = 0) -> Any:
        """Return the ``count``-th event of a name."""
        await self.wait(lambda _event: len(self.named(name, since)) >= count, patience, since)
        return self.named(name, since)[count - 1]

    def named(self, name: str, since: int = 0) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events[since:] if event.get("name") == name]

    def names(self, since: int = 0) -> list[str]:
        return [event.get("name", event["kind"]) for event in self.events[since:]]

    def texts(self) -> list[str]:
        return [text_of(message) for message in self.named("Message")]

    async def call(self, do: str, patience: float = PATIENCE, **values: Any) -> Any:
        number = next(self._calls)
        assert self._child.stdin is not None
        self._child.stdin.write((json.dumps({"do": do, "number_of_call": number, **values}) + "\n").encode())
        answer = await self.wait(lambda event: event["kind"] == "answer" and event["number"] == number, patience)
        return answer["result"]

    async def pair(self, scan: Callable[[str], Any]) -> None:
        """Show a QR, have it scanned, and wait until it is connected."""
        qr = await self.wait(lambda event: event["kind"] == "qr")
        await scan(qr["text"])
        await self.wait_for("Connected")


def text_of(message: dict[str, Any]) -> str:
    body = message["Message"]
    if "deviceSentMessage" in body:
        body = body["deviceSentMessage"]["message"]
    return str(body.get("conversation") or body.get("extendedTextMessage", {}).get("text", ""))
