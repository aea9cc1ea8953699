"""The watchdog in a real daemon: a loop that is really blocked, a process that is really suspended, real load."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tandem.demo.processes import Child, free_port

PATIENCE = 3
BLOCKABLE = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(30))
from tandem.cli import main
sys.exit(main())
"""


class Blockable(Child):
    """A daemon whose loop stops turning at SIGUSR1: the handler runs on the loop's thread and sleeps."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        environment = {"PORT": str(self.port), "TANDEM_DATA_DIR": str(folder), "TANDEM_LOG__FORMAT": "json"}
        super().__init__(BLOCKABLE, ["run"], environment | {"TANDEM_STUCK_AFTER": str(PATIENCE)})
        self.lines: list[str] = []

    async def alive(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session,
                session.get(f"http://127.0.0.1:{self.port}/livez") as answer,
            ):
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


@asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[Blockable]:
    child = Blockable(folder)
    await child.start(child.lines.append)
    try:
        async with asyncio.timeout(20):
            while not await child.alive():
                await asyncio.sleep(0.1)
        yield child
    finally:
        await child.end(signal.SIGKILL)


async def test_a_stuck_loop_ends_the_process_with_all_stacks_in_the_log(tmp_path: Path) -> None:
    async with daemon(tmp_path) as child:
        os.kill(child.pid, signal.SIGUSR1)
        async with asyncio.timeout(PATIENCE + 10):
            while Path(f"/proc/{child.pid}").exists():
                await asyncio.sleep(0.1)
        assert await child.end() == 70
        [line] = [json.loads(line) for line in child.lines if "loop_stuck" in line]
        assert line["level"] == "error"
        places = str(line["stacks"])
        assert "<string>:3 <lambda>" in places
        assert "base_events.py" in places
        assert "_watch" in places


async def test_a_process_that_was_suspended_goes_on(tmp_path: Path) -> None:
    async with daemon(tmp_path) as child:
        for _ in range(2):
            os.kill(child.pid, signal.SIGSTOP)
            await asyncio.sleep(PATIENCE + 2)
            os.kill(child.pid, signal.SIGCONT)
            await asyncio.sleep(1)
        assert await child.alive()
        assert await child.end() == 0
        assert not [line for line in child.lines if "loop_stuck" in line]


async def test_heavy_load_that_moves_is_not_a_fault(tmp_path: Path) -> None:
    async with daemon(tmp_path) as child:
        burners = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", "import time; end = time.time() + 6\nwhile time.time() < end: pass"
            )
            for _ in range(4)
        ]

        async def ask() -> int:
            answers = 0
            async with aiohttp.ClientSession() as session:
                while any(burner.returncode is None for burner in burners):
                    async with session.get(f"http://127.0.0.1:{child.port}/health") as answer:
                        answers += answer.status == 200
            return answers

        answered = await asyncio.gather(*(ask() for _ in range(20)), *(burner.wait() for burner in burners))
        assert min(answered[:20]) > 0
        assert await child.end() == 0
        assert not [line for line in child.lines if "loop_stuck" in line]
