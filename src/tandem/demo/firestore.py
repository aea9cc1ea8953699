"""Google's own Firestore emulator, for a demo that writes to Firestore. It keeps everything in memory."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tandem.demo.clients import DemoFailed
from tandem.demo.processes import free_port
from tandem.errors import Misconfigured

PACKAGE = "google-cloud-cli-firestore-emulator"
PROJECT = "tandem-demo"
_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_JAR = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
_UP = 30.0
_POLL = 0.1


def find_jar() -> Path | None:
    """Return the jar that FIRESTORE_EMULATOR_JAR names, else the Debian package's, else the one in gcloud's folder."""
    named = os.environ.get("FIRESTORE_EMULATOR_JAR")
    if named:
        return Path(named) if Path(named).is_file() else None
    return next((path for path in (*_of_package(), *_of_gcloud()) if path.is_file()), None)


def command(jar: Path, port: int, memory: str = "1g") -> list[str]:
    """Return the command line that serves on loopback; the jar has no main class of its own."""
    java = ["java", f"-Xmx{memory}", "-Duser.language=en", "-cp", str(jar), _MAIN]
    return [*java, "--host=127.0.0.1", f"--port={port}"]


@asynccontextmanager
async def running() -> AsyncIterator[str]:
    """Serve until the block ends; gives ``host:port``. Raises Misconfigured, saying what to install."""
    jar = find_jar()
    if jar is None or shutil.which("java") is None:
        missing = "its jar" if jar is None else "Java"
        raise Misconfigured(f"no Firestore emulator: {missing} is missing; install {PACKAGE} and a Java runtime")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *command(jar, port), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _listening(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def _listening(port: int) -> None:
    try:
        async with asyncio.timeout(_UP):
            while not await _answers(port):  # noqa: ASYNC110 - another process cannot set an Event
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise DemoFailed(f"the Firestore emulator did not listen within {_UP:g} s") from None


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _of_package() -> list[Path]:
    if shutil.which("dpkg") is None:
        return []
    listed = subprocess.run(
        ["dpkg", "-L", PACKAGE],  # noqa: S607 - where it is, is the system's choice
        capture_output=True,
        text=True,
        check=False,
    )
    return [Path(line) for line in listed.stdout.splitlines() if line.endswith(".jar")]


def _of_gcloud() -> list[Path]:
    gcloud = shutil.which("gcloud")
    return [Path(gcloud).resolve().parents[1] / _JAR] if gcloud else []
