"""The command as an operator meets it: a process with an exit code."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[3] / "src"


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from wa_emulator.cli import main; main()",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
    )


async def outcome(*arguments: str) -> tuple[int | None, str]:
    child = await start(*arguments)
    async with asyncio.timeout(20):
        _, complaint = await child.communicate()
    return child.returncode, complaint.decode()


def root_key(line: str) -> str:
    port = line.partition("ws://127.0.0.1:")[2].partition("/")[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/control/root-key", timeout=5) as answer:
        return str(json.load(answer)["hex"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_that_it_serves_and_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    keys = []
    for _ in range(2):
        child = await start("--port", "0", "--state", str(tmp_path / "state.db"))
        assert child.stdout is not None
        async with asyncio.timeout(20):
            line = (await child.stdout.readline()).decode()
            assert line.startswith("wa-emulator: serving on ws://127.0.0.1:")
            keys.append(await asyncio.to_thread(root_key, line))
            child.send_signal(number)
            await child.communicate()
            assert child.returncode == 0
    assert keys[0] == keys[1]


async def test_a_taken_port_has_an_exit_code_and_advice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, complaint = await outcome("--port", str(taken.getsockname()[1]))
    assert code == 3
    assert "choose another --port" in complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "--port"),
        (("--port", "99999"), "--port"),
        (("--port", "0", "--host", "0.0.0.0"), "loopback only"),
        (("--port", "0", "--state", "/nonexistent/state.db"), "state"),
    ],
)
async def test_bad_arguments(arguments: tuple[str, ...], complaint: str) -> None:
    code, told = await outcome(*arguments)
    assert code == 2
    assert complaint in told
    assert "Traceback" not in told
