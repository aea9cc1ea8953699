"""What stops the daemon from starting: an exit code, one clear line, and nothing lost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def _run(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tandem.cli", "run", *arguments],
        env={"PATH": os.environ["PATH"], "TANDEM_DATA_DIR": str(data), "PORT": "0", **environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = _run(tmp_path, PORT=str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = _run(tmp_path / "file" / "data")
    assert done.returncode == 3
    assert "cannot be written" in done.stderr
    assert "TANDEM_DATA_DIR" in done.stderr


def test_a_data_directory_off_the_volume_on_railway(tmp_path: Path) -> None:
    done = _run(tmp_path, RAILWAY_ENVIRONMENT_NAME="production", TANDEM_API_TOKEN="x" * 32)
    assert done.returncode == 3
    assert "volume" in done.stderr


def test_a_corrupt_queue_is_set_aside_and_the_next_start_works(tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_bytes(b"not a database" * 1000)
    done = _run(tmp_path)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    (aside,) = tmp_path.glob("queue.db.corrupt-*")
    assert aside.read_bytes() == b"not a database" * 1000
    assert aside.name in done.stderr


def test_no_emulator_where_one_was_named(tmp_path: Path) -> None:
    done = _run(tmp_path, "--emulator", "127.0.0.1:9")
    assert done.returncode == 2
    assert "wa-emulator --port 9" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("TANDEM_EMULATOR", "192.0.2.1:5005", "127.0.0.1:PORT"),
        ("TANDEM_STOER", "sqlite", "did you mean TANDEM_STORE?"),
        ("PORT", "abc", "PORT"),
        ("TANDEM_SESSION__BACKOFF_MAX", "-1", "backoff_max"),
        ("TANDEM_CONFIG", "/nonexistent.toml", "not a file"),
        ("TANDEM_API__HOST", "0.0.0.0", "TANDEM_API_TOKEN"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, name: str, value: str, hint: str) -> None:
    done = _run(tmp_path, **{name: value})
    assert done.returncode == 2
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_no_secret_stands_in_an_error(tmp_path: Path) -> None:
    done = _run(tmp_path, TANDEM_API_TOKEN="canary-token-0123456789", PORT="abc")
    assert "canary-token" not in done.stdout + done.stderr
