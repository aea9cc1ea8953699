"""Exit codes of a device host, with words. Standard library only: the host imports it.

The numbers are seen by operators and never change. 1 and 2 are left to the interpreter, below zero are signals.
"""

from __future__ import annotations

import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """Why a host ended by itself."""

    STOPPED = 0
    PUMP_ENDED = 10
    PARENT_GONE = 11
    LOCKED = 12
    UNPAIRED = 13
    LIBRARY_UNUSABLE = 14
    REDIRECT_FAILED = 15
    STORE_UNUSABLE = 16
    JOURNAL_UNUSABLE = 17
    PAIRING_ENDED = 18
    PROTOCOL_BROKEN = 19
    BACKLOG = 20
    DIAL_FAILED = 21
    POISONED = 22
    FAILED = 23


_WORDS = {
    ExitCode.STOPPED: "stopped as asked",
    ExitCode.PUMP_ENDED: "the library's event pump ended",
    ExitCode.PARENT_GONE: "the daemon was gone",
    ExitCode.LOCKED: "another process holds this key store",
    ExitCode.UNPAIRED: "the key store holds no linked device, and pairing was not asked for",
    ExitCode.LIBRARY_UNUSABLE: "the WhatsApp library cannot be used",
    ExitCode.REDIRECT_FAILED: "the library could not be pointed at the emulator, so it was not allowed to connect",
    ExitCode.STORE_UNUSABLE: "the key store cannot be read",
    ExitCode.JOURNAL_UNUSABLE: "the journal cannot be opened",
    ExitCode.PAIRING_ENDED: "the pairing ended without a linked device",
    ExitCode.PROTOCOL_BROKEN: "daemon and host did not understand each other",
    ExitCode.BACKLOG: "too many events were not acknowledged: the rest waits at WhatsApp",
    ExitCode.DIAL_FAILED: "WhatsApp could not be reached",
    ExitCode.POISONED: "the server sent an event that the library cannot express, which ends its event pump",
    ExitCode.FAILED: "the host failed",
}


def exit_words(code: int) -> str:
    """Say in words what an exit code (negative: the signal that killed it) of a host means."""
    if code < 0:
        return f"killed by {_signal_name(-code)}"
    try:
        return _WORDS[ExitCode(code)]
    except ValueError:
        return f"ended with exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
