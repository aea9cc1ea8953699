"""``tandem accounts`` as an operator uses it: command, daemon and library are real, the phone is the emulator's."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene

pytestmark = pytest.mark.timeout(120)
_TANDEM = "import sys; from tandem.cli import main; sys.exit(main())"


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """A daemon without accounts, and a phone."""
    async with Scene(DemoOptions(accounts=1), lambda _sentence: None) as stage:
        await stage.emulator.add_phone(stage.actors[0].number, "Shop")
        yield stage


async def _start(scene: Scene, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", _TANDEM, *arguments, "--url", f"http://127.0.0.1:{scene.daemon.port}",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def _run(scene: Scene, *arguments: str) -> tuple[int, str, str]:
    command = await _start(scene, *arguments)
    out, err = await asyncio.wait_for(command.communicate(), 60)
    return command.returncode or 0, out.decode(), err.decode()


async def _pair(scene: Scene, account: str, slot: str) -> tuple[int, str]:
    """Pair a slot by the QR that the command prints. Returns the exit code and the QR's text."""
    command = await _start(scene, "accounts", "pair", account, "--slot", slot, "--json")
    assert command.stdout is not None
    shown = json.loads(await asyncio.wait_for(command.stdout.readline(), 60))
    assert shown["slot"] == slot
    await scene.emulator.scan(scene.actors[0].number, shown["text"])
    await asyncio.wait_for(command.communicate(), 60)
    return command.returncode or 0, shown["text"]


async def _phone(scene: Scene) -> list[str]:
    (phone,) = [
        each
        for each in (await scene.emulator.call("GET", "/control/phones"))["phones"]
        if each["number"] == scene.actors[0].number.removeprefix("+")
    ]
    return [device["name"] for device in phone["devices"]]


def _secrets(texts: list[str]) -> list[str]:
    """The parts of QR texts, each of which is a key."""
    return [part for text in texts for part in text.split(",") if len(part) > 20]


async def test_an_account_is_added_paired_shown_and_removed_from_a_terminal(scene: Scene) -> None:
    number = scene.actors[0].number
    code, out, err = await _run(scene, "accounts", "add", number, "--name", "Desk")
    assert (code, err) == (0, "")
    account = out.split(" is account ")[1][:16]
    assert f"tandem accounts pair {account}" in out
    assert (await _run(scene, "accounts", "add", number))[1].startswith(f"Desk is account {account}")

    qrs = []
    for slot in ("primary", "backup"):
        code, text = await _pair(scene, account, slot)
        assert code == 0
        qrs.append(text)
    await scene.everybody_online()
    assert await _phone(scene) == ["Tandem primary", "Tandem backup"]

    code, out, _ = await _run(scene, "accounts", "show", number)
    assert (code, "Desk" in out, "online" in out, "last seen" in out) == (0, True, True, True)
    shown: dict[str, Any] = json.loads((await _run(scene, "accounts", "show", account, "--json"))[1])
    assert [slot["state"] for slot in shown["slots"]] == ["online", "online"]
    assert account in (await _run(scene, "accounts", "list"))[1]

    code, out, err = await _run(scene, "accounts", "pair", account)
    assert (code, out) == (1, "")
    assert "linked already" in err
    assert (await _run(scene, "accounts", "show", "0" * 16))[0] == 1
    assert (await _run(scene, "accounts", "add", "12"))[0] == 1

    assert (await _run(scene, "accounts", "remove", account))[0] != 0, "it asks, and nobody answers"
    code, out, _ = await _run(scene, "accounts", "remove", account, "--yes")
    assert (code, out) == (0, "Desk is removed.\n")
    assert await _phone(scene) == []
    assert "No accounts yet" in (await _run(scene, "accounts", "list"))[1]

    log = "\n".join(scene.daemon.lines)
    assert "account_removed" in log
    assert "link it again" not in log
    assert "logged out: the account was removed" in log
    assert not [secret for secret in _secrets(qrs) if secret in log]
    assert number.removeprefix("+") not in log


async def test_without_a_daemon_it_says_so(scene: Scene) -> None:
    await scene.daemon.child.end()
    code, out, err = await _run(scene, "accounts", "list")
    assert (code, out) == (1, "")
    assert "is the daemon running?" in err
