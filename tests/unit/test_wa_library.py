from __future__ import annotations

import subprocess
import sys

import pytest


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)


def _ok(code: str) -> str:
    done = _python(code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("order", [("binding()", "proto('Neonize_pb2')"), ("proto('Neonize_pb2')", "binding()")])
def test_binding_and_messages_load_in_either_order(order: tuple[str, str]) -> None:
    first, second = order
    assert _ok(f"from wa_library import package as p; p.{first}; p.{second}; print(p.location().name)") == "neonize"


def test_the_binding_loads_without_the_package_s_own_imports() -> None:
    code = "import sys; from wa_library import package as p; p.binding(); print(sorted(sys.modules))"
    loaded = _ok(code)
    for heavy in ("'PIL'", "'magic'", "'requests'", "'httpx'", "'google.protobuf'"):
        assert heavy not in loaded


def test_a_missing_library_is_never_downloaded() -> None:
    code = "from wa_library import package as p; p._stub_inits(); import neonize.download as d; d.download()"
    done = _python(code)
    assert done.returncode != 0
    assert "refused" in done.stderr


def test_a_process_that_imported_neonize_directly_is_refused() -> None:
    code = "import sys, types; sys.modules['neonize'] = types.ModuleType('neonize')"
    code += "; from wa_library import package as p; p.binding()"
    assert "LibraryUnusable" in _python(code).stderr


def test_redirecting_overwrites_address_and_key_and_works_once_only() -> None:
    code = """
from wa_library import memory, package, redirect
package.binding()
redirect.redirect(4444, bytes(range(32)))
held = [segment.read() for segment in memory.segments()]
assert any(b"ws://127.0.0.1:4444/?xxxxxxxxx" in part for part in held)
assert not any(b"wss://web.whatsapp.com/ws/chat" in part for part in held)
try:
    redirect.redirect(4445, bytes(range(32)))
except package.LibraryUnusable as error:
    print(error)
"""
    assert "found 0" in _ok(code)


@pytest.mark.parametrize(("port", "key"), [(0, 32), (70_000, 32), (5000, 31)])
def test_an_impossible_redirect_is_refused(port: int, key: int) -> None:
    code = f"from wa_library import redirect; redirect.redirect({port}, bytes({key}))"
    assert "ValueError" in _python(code).stderr


def test_redirecting_without_the_library_fails_closed() -> None:
    code = "from wa_library import redirect; redirect.redirect(4444, bytes(32))"
    assert "LibraryUnusable" in _python(code).stderr


def test_keep_alive_timings_read_and_write() -> None:
    code = """
from wa_library import package
from wa_library.timings import KeepAliveTimings, Timings
package.binding()
timings = KeepAliveTimings()
assert timings.read() == Timings(10.0, 20.0, 30.0, 180.0)
for wanted in (Timings(5.0, 10.0, 12.0, 60.0), Timings(5.0, 40.0, 60.0, 90.0), Timings(1.0, 0.2, 0.3, 2.0)):
    assert timings.write(wanted) == wanted
try:
    timings.write(Timings(1.0, 2.0, 2.0, 3.0))
except ValueError:
    print("refused")
"""
    assert _ok(code) == "refused"
