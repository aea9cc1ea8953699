"""Find neonize without running it, and load only the parts that are wanted."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

VERSION = "0.5.2"
"""The one release whose binding, event numbers and memory layout this package knows."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class LibraryUnusable(RuntimeError):  # noqa: N818 - it names a condition, the field's style for causes
    """The installed neonize is missing, of another version, or not the library this package knows."""


@cache
def location() -> Path:
    """Folder of the installed neonize package; its code is not run.

    Raises LibraryUnusable if neonize is not installed or is not release ``VERSION``.
    """
    spec = importlib.util.find_spec("neonize")
    if spec is None or not spec.submodule_search_locations:
        raise LibraryUnusable(f"neonize is not installed: pip install neonize=={VERSION}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    if not (folder.parent / f"neonize-{VERSION}.dist-info").is_dir():  # importlib.metadata would cost each host 1 MB
        raise LibraryUnusable(f"another release than neonize {VERSION} is installed, and only that is known to work")
    return folder


def shared_library() -> Path:
    """Path of the Go shared library for this machine. Raises LibraryUnusable if there is none."""
    path = location() / library_name()
    if not path.is_file():
        raise LibraryUnusable(f"neonize has no shared library for this machine ({path.name} is missing)")
    return path


def library_name() -> str:
    machine = platform.machine().lower()
    return f"neonize-linux-{_ARCHITECTURES.get(machine, machine)}.so"


def binding() -> Any:
    """Load the shared library into this process and return neonize's ctypes binding (``gocode`` and callback types).

    Starts the Go runtime: never fork afterwards. Raises LibraryUnusable as ``location`` does.
    """
    _stub_inits()
    shared_library()
    with _light_imports():
        return importlib.import_module("neonize._binder")


def proto(name: str) -> Any:
    """Return a generated protobuf module of neonize, such as ``Neonize_pb2`` or ``waE2E.WAWebProtobufsE2E_pb2``.

    Does not load the shared library. The modules import each other by bare names, so the first call lets neonize
    prepend its ``proto`` folder to ``sys.path``.
    """
    _stub_inits()
    importlib.import_module("neonize.proto")
    return importlib.import_module(name)


def _stub_inits() -> None:
    """Put empty modules in the place of the package inits, and one that refuses in the place of the downloader."""
    loaded = sys.modules.get("neonize")
    if loaded is not None:
        if getattr(loaded, "is_tandem_stub", False):
            return
        raise LibraryUnusable("neonize was imported directly in this process; import it through wa_library only")
    folder = location()
    _stub("neonize", folder).is_tandem_stub = True  # type: ignore[attr-defined]
    _stub("neonize.utils", folder / "utils")
    _stub("neonize.utils.platform").generated_name = library_name  # type: ignore[attr-defined]
    download = _stub("neonize.download")
    download.__GONEONIZE_VERSION__ = VERSION  # type: ignore[attr-defined]
    download.download = _refuse_download  # type: ignore[attr-defined]


def _stub(name: str, folder: Path | None = None) -> ModuleType:
    module = ModuleType(name)
    if folder is not None:
        module.__path__ = [str(folder)]
    sys.modules[name] = module
    return module


@contextmanager
def _light_imports() -> Iterator[None]:
    """Spare a process 3 MB: what the binding imports and hardly uses is empty while it loads.

    It makes one logger, and one dataclass that nothing here constructs.
    """
    lent = [name for name in ("logging", "ctypes.util", "dataclasses") if name not in sys.modules]
    for name in lent:
        module = _stub(name)
        module.getLogger = lambda _name: _Silent()  # type: ignore[attr-defined]
        module.dataclass = _undecorated  # type: ignore[attr-defined]
        module.field = lambda **_options: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name in lent:
            del sys.modules[name]


class _Silent:
    """A logger that says nothing."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_arguments: None


def _undecorated(cls: type | None = None, **_options: object) -> Any:
    return cls if cls is not None else _undecorated


def _refuse_download() -> NoReturn:
    raise LibraryUnusable("the shared library is missing or does not fit; downloading one at run time is refused")
