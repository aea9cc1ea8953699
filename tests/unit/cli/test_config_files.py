"""What is shipped beside the code says what the code says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tandem import daemon
from tandem.cli import settings_table
from tandem.settings import environment_names, load
from tandem.store.firestore import client
from tandem.whatsapp import link

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config" / "tandem.example.toml"
_TS_KEY = re.compile(r"(\w+): (\"[^\"]*\"|\[[^\]]*\]|\d+)")


def test_the_example_is_what_the_settings_make() -> None:
    assert EXAMPLE.read_text() == settings_table.toml(), (
        "run: tandem check --settings --toml > config/tandem.example.toml"
    )


def test_the_example_loads_as_it_is_and_with_everything_uncommented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    assert everything.count("\n# ") > 20
    path = tmp_path / "tandem.toml"
    monkeypatch.setenv("TANDEM_CONFIG", str(path))
    path.write_text(EXAMPLE.read_text())
    assert load() == load()
    path.write_text(everything)
    settings = load()
    assert settings.emulator == "127.0.0.1:7700"
    assert settings.port == 5002
    named = {(row.group, row.name) for row in settings_table.rows()}
    parsed = tomllib.loads(everything)
    assert named == {
        (group, name)
        for group, value in parsed.items()
        for group, name in ([(group, inner) for inner in value] if isinstance(value, dict) else [("", group)])
    }


def test_the_table_names_every_variable_once() -> None:
    table = settings_table.markdown()
    named = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(environment_names()) - set(named) <= {"RAILWAY_ENVIRONMENT"}  # the older name of the same
    assert all(line.count("|") == 4 for line in table.splitlines())


def _from_typescript() -> dict[str, object]:
    """Return the build and deploy settings of the TypeScript file."""
    source = re.sub(r"//.*", "", (ROOT / ".railway" / "railway.ts").read_text())
    blocks = re.findall(r"(?:build|deploy): \{(.*?)\n    \}", source, flags=re.DOTALL)
    assert len(blocks) == 2
    return {key: json.loads(value) for block in blocks for key, value in _TS_KEY.findall(block)}


def test_both_railway_files_say_the_same() -> None:
    toml = tomllib.loads((ROOT / "railway.toml").read_text())
    flat = {**toml["build"], **toml["deploy"]}
    flat = {key: int(value) if str(value).isdigit() else value for key, value in flat.items()}
    assert flat == _from_typescript()
    assert flat["healthcheckPath"] == "/readyz"
    assert flat["restartPolicyType"] == "ALWAYS"


def test_railway_waits_longer_than_the_end_takes_at_worst() -> None:
    """The configured seconds, and on top of them what has a bound of its own: see ``Daemon``."""
    settings = load()
    hosts = settings.device.stop_grace + 2 * link._BURIAL_SECONDS
    firestore = 3 * 2 * client._LAST_CALLS  # the store, the leases and the outbox each close a connection
    worst = settings.drain + hosts + 2 * daemon._LEAST + firestore
    toml = tomllib.loads((ROOT / "railway.toml").read_text())
    assert int(toml["deploy"]["drainingSeconds"]) > 2 * worst


def test_the_image_is_built_from_what_is_there() -> None:
    docker = (ROOT / "Dockerfile").read_text()
    assert '\nCMD ["tandem", "run"]' in docker
    assert "HEALTHCHECK" in docker
    assert "VOLUME" not in docker  # Railway refuses it
    ignored = (ROOT / ".dockerignore").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", docker, flags=re.MULTILINE):
        for source in [part for part in line.split() if not part.startswith("--")][:-1]:
            assert (ROOT / source).exists()
            assert f"!{source.lstrip('./').split('/')[0]}" in ignored


def test_the_entrypoint_is_a_script_that_parses() -> None:
    script = ROOT / "config" / "docker-entrypoint.sh"
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_time_zones_are_known_on_a_system_that_brings_none(tmp_path: Path) -> None:
    """A slim image has no zoneinfo of its own; UTC is the default and must not stop the daemon."""
    code = "from tandem.settings import load; print(load({'report': {'timezone': 'Europe/Bucharest'}}).report.timezone)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONTZPATH": "", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "Europe/Bucharest"
