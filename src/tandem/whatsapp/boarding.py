"""What a device host needs before it may connect: the lock, a linked key store, the journal, the library.

Standard library and ``wa_library`` only. Everything that is missing is a Refusal with its own exit code.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import NamedTuple

from tandem.whatsapp.exits import ExitCode
from tandem.whatsapp.journal import Journal
from tandem.whatsapp.keystore import KeyStoreUnusable, linked_device
from tandem.whatsapp.library import Library
from tandem.whatsapp.options import EmulatorEndpoint, HostOptions
from wa_library import package, timings

_LOCK_SECONDS = 1.0
_LOCK_POLL = 0.05


class Refusal(Exception):  # noqa: N818 - not an error of the host: its answer
    """The host will not run. ``code`` is its exit code, the text its last words."""

    def __init__(self, code: ExitCode, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code


class Boarded(NamedTuple):
    """``lock`` is the descriptor that holds the slot; ``keep_alive`` the library's timings, None if not found."""

    lock: int
    paired: bool
    journal: Journal
    library: Library
    keep_alive: timings.KeepAliveTimings | None


def board(options: HostOptions) -> Boarded:
    """Take hold of everything, in the order in which it can be refused. Raises Refusal."""
    lock = _locked(options.store.with_suffix(".lock"))
    paired = _paired(options)
    journal = _journal(options.store.with_suffix(".journal"))
    library, keep_alive = _loaded(options)
    return Boarded(lock, paired, journal, library, keep_alive)


def _locked(path: Path) -> int:
    """Take the slot's lock, waiting a moment for a predecessor that is just ending. Returns the descriptor."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Refusal(ExitCode.LOCKED) from None
            time.sleep(_LOCK_POLL)
        else:
            return file


def _paired(options: HostOptions) -> bool:
    try:
        paired = bool(linked_device(options.store))
    except KeyStoreUnusable as error:
        raise Refusal(ExitCode.STORE_UNUSABLE, f"the key store cannot be read: {error}") from None
    if not paired and not options.pairing:
        raise Refusal(ExitCode.UNPAIRED)  # the library would silently begin a pairing that nobody asked for
    return paired


def _journal(path: Path) -> Journal:
    try:
        return Journal(path)
    except OSError as error:
        raise Refusal(ExitCode.JOURNAL_UNUSABLE, f"the journal cannot be opened: {error.strerror or error}") from None


def _loaded(options: HostOptions) -> tuple[Library, timings.KeepAliveTimings | None]:
    """Load the library, redirect it if that is asked for, and set its keep-alive timings if they can be found."""
    try:
        library = Library(package.binding(), options.uuid)
        if options.emulator is not None:
            _redirect(options.emulator)
        return library, _keep_alive(options.timings)
    except (package.LibraryUnusable, ImportError, OSError, ValueError) as error:
        raise Refusal(ExitCode.LIBRARY_UNUSABLE, f"the WhatsApp library cannot be used: {error}") from None


def _redirect(emulator: EmulatorEndpoint) -> None:
    try:
        from wa_library import redirect  # noqa: PLC0415 - importing it is the switch

        redirect.redirect(emulator.port, emulator.root_key)
    except Exception as error:  # noqa: BLE001 - whatever the reason: not redirected means not connected
        raise Refusal(ExitCode.REDIRECT_FAILED, f"the library was not redirected: {error}") from None


def _keep_alive(wanted: tuple[float, ...]) -> timings.KeepAliveTimings | None:
    """A library whose timings are not where they are known to be keeps its own: slower, but no reason to stay away."""
    try:
        variables = timings.KeepAliveTimings()
    except package.LibraryUnusable:
        return None
    if wanted:
        variables.write(timings.Timings(*wanted))
    return variables
