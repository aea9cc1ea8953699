from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_rooms_keep_to_their_contracts() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_module_outgrows_its_room() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in (ROOT / "src").rglob("*.py")}
    assert {str(path): size for path, size in sizes.items() if size > 400} == {}


def test_the_readme_stays_readable_in_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_no_committed_file_names_a_registry() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    registries = ("pypi" + ".org", "pythonhosted" + ".org", "registry.npm" + "js.org")
    named = [
        name
        for name in files
        if (ROOT / name).is_file() and any(host in (ROOT / name).read_text(errors="replace") for host in registries)
    ]
    assert named == []


def test_logout_is_called_from_one_place_only() -> None:
    callers = [
        path.relative_to(ROOT / "src" / "tandem")
        for path in (ROOT / "src" / "tandem").rglob("*.py")
        if path.name != "port.py" and ".logout(" in path.read_text()
    ]
    assert sorted(map(str, callers)) == [
        "supervision/account.py",
        "supervision/session.py",
        "supervision/supervisor.py",
    ]


def test_the_readme_s_settings_are_the_settings() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tandem.cli", "check", "--settings"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in (ROOT / "README.md").read_text()
