"""Notices when the event loop is stuck, says where every thread stands, and ends the process.

A thread asks the loop, once a second, to answer. It counts its own rounds without an answer, never the time on a clock:
a process that was suspended, or a machine that slept, costs the thread a single round, however long it took. A loop
that is slow but moves answers and is left alone. What is durable is durable, and the hosts end with the daemon, so
ending is safe; the platform starts it again.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import structlog

_log = structlog.get_logger(__name__)
EXIT_STUCK = 70
"""The exit code of a process whose loop was stuck (EX_SOFTWARE)."""
_ROUND = 1.0
_LAST_WORDS = 2.0  # seconds the log may take: what holds the loop up may hold it up, too


def stacks() -> dict[str, list[str]]:
    """Where every thread stands, innermost call first, as ``file:line function``: no values, so no secrets."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {f"{names.get(ident, '?')}-{ident}": _calls(frame) for ident, frame in sys._current_frames().items()}  # noqa: SLF001 - the only way, documented


def end_process(rounds: int) -> None:
    """Log all stacks and exit, whatever the other threads do."""
    teller = threading.Thread(target=_tell, args=(rounds, stacks()), daemon=True)
    teller.start()
    teller.join(_LAST_WORDS)
    os._exit(EXIT_STUCK)


class Watchdog:
    """Use as a context manager around the loop's work. ``patience`` is in seconds, ``round_length`` too."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        patience: float,
        stuck: Callable[[int], None] = end_process,
        round_length: float = _ROUND,
    ) -> None:
        self._loop = loop
        self._most = max(2, round(patience / round_length))
        self._stuck = stuck
        self._round = round_length
        self._over = threading.Event()
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        silent = 0
        self._ask()
        while not self._over.wait(self._round):
            if self._answered.is_set():
                silent = 0
                self._ask()
                continue
            silent += 1
            if silent >= self._most:
                self._stuck(silent)
                return

    def _ask(self) -> None:
        self._answered.clear()
        try:
            self._loop.call_soon_threadsafe(self._answered.set)
        except RuntimeError:  # the loop is closed: there is nothing left to watch
            self._over.set()


def _tell(rounds: int, where: dict[str, list[str]]) -> None:
    _log.critical(
        "loop_stuck",
        message=f"The event loop has not moved for {rounds} rounds of the watchdog; ending, to be started again",
        rounds=rounds,
        stacks=where,
    )


def _calls(frame: FrameType | None) -> list[str]:
    calls = []
    while frame is not None:
        code = frame.f_code
        calls.append(f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return calls
