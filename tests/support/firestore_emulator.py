"""Google's own Firestore emulator as a child process, on a port of its own.

It keeps everything in memory, so an outage is cut with a proxy in front of it, never by a restart. A project id for
each test keeps tests apart. It has no composite indexes, no quotas, no TTL, and takes requests of 4 MiB only.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tandem.demo.firestore import PACKAGE, command, find_jar
from tandem.demo.processes import free_port


@dataclass(frozen=True, slots=True)
class FirestoreEmulator:
    host: str
    port: int
    pid: int

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @staticmethod
    def fresh_project() -> str:
        return f"demo-{uuid.uuid4().hex[:12]}"


def require() -> Path:
    """The jar. Without it or without Java the test is skipped, in CI it fails: there nobody would notice a skip."""
    jar = find_jar()
    if jar is not None and shutil.which("java"):
        return jar
    missing = "java is not on PATH" if jar is not None else "there is no jar of the emulator"
    reason = f"Firestore emulator: {missing}; install {PACKAGE} and a Java runtime, or set FIRESTORE_EMULATOR_JAR"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def running(memory: str = "1g") -> Iterator[FirestoreEmulator]:
    """Start an emulator, ready in a second or two, and end it by its process id."""
    jar, port = require(), free_port()
    process = subprocess.Popen(command(jar, port, memory), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, port)
        yield FirestoreEmulator("127.0.0.1", port, process.pid)
    finally:
        process.kill()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the Firestore emulator ended at once with code {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"the Firestore emulator did not listen within {seconds:g} s")
