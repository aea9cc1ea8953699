"""Faults that strike a connection at once, and the ones that hold it still."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from typing import Final

from wa_emulator.connection import Connection
from wa_emulator.directory import Device
from wa_emulator.faults import KINDS, Fault, Faults
from wa_emulator.nodes import JID, LID_SERVER, Attributes, Node

_STRANGER: Final = JID("100000000000001", LID_SERVER)
"""Whom an unknown receipt comes from; no account has this LID, for they have 15 digits from another range."""


class Strikes:
    """Carries out the faults that concern whole connections."""

    def __init__(
        self, faults: Faults, present: Iterable[Connection], unlink: Callable[[Device], None],
        resume: Callable[[Device], None],
    ) -> None:  # fmt: skip
        self._faults = faults
        self._present = present
        self._resume = resume
        self._stalled: dict[Connection, Fault] = {}
        self._actions: dict[str, Callable[[Connection, Fault], None]] = {
            "drop": lambda connection, _fault: connection.abort(),
            "close": lambda connection, fault: connection.close(fault.parameters["code"]),
            "stream_error": _stream_error,
            "conflict": lambda connection, _fault: replace(connection),
            "device_removed": lambda connection, _fault: unlink(connection.device) if connection.device else None,
            "deaf": lambda connection, _fault: connection.deafen(),
            "unknown_receipt": _unknown_receipt,
            "stall": self._stall,
        }
        faults.lifted = self._lift

    def begin(self, fault: Fault) -> None:
        """Let a new fault act on the connections that are present."""
        action = self._actions.get(fault.kind.name)
        if action is None:
            return
        for connection in list(self._present):
            if fault.remaining != 0 and fault.is_for(connection.device):
                fault.act()
                action(connection, fault)

    def on_accept(self, connection: Connection) -> None:
        """Hold a new client still if everyone is."""
        self._hold(connection, None)

    def on_login(self, connection: Connection) -> None:
        """Hold a client still that is now known."""
        if not connection.stalled:
            self._hold(connection, connection.device)

    def on_active(self, connection: Connection) -> None:
        """Strike a client that has become active, if a strike is armed for it."""
        for kind in (kind for kind in KINDS.values() if kind.strikes):
            fault = self._faults.hit(kind.name, connection.device)
            if fault is not None:
                self._actions[kind.name](connection, fault)

    def on_leave(self, connection: Connection) -> None:
        self._stalled.pop(connection, None)

    def _hold(self, connection: Connection, device: Device | None) -> None:
        fault = self._faults.hit("stall", device)
        if fault is not None:
            self._stall(connection, fault)

    def _stall(self, connection: Connection, fault: Fault) -> None:
        connection.stalled = True
        self._stalled[connection] = fault

    def _lift(self, fault: Fault) -> None:
        """Let connections go on. One whose login went unanswered cannot: it has to dial again."""
        for connection in [connection for connection, holder in self._stalled.items() if holder is fault]:
            del self._stalled[connection]
            connection.stalled = False
            if connection.device is not None and connection.active:
                self._resume(connection.device)
            else:
                connection.abort()


def replace(connection: Connection) -> None:
    """Tell a client that another one has taken its place."""
    connection.dismiss(Node("stream:error", {}, [Node("conflict", {"type": "replaced"})]))


def _stream_error(connection: Connection, fault: Fault) -> None:
    error = Node("stream:error", {"code": str(fault.parameters["code"])})
    if fault.parameters["close"]:
        connection.dismiss(error)
    else:
        connection.post(error)


def _unknown_receipt(connection: Connection, fault: Fault) -> None:
    attributes: Attributes = {
        "from": _STRANGER, "id": secrets.token_hex(8).upper(), "type": fault.parameters["type"], "t": int(time.time()),
    }  # fmt: skip
    connection.post(Node("receipt", attributes))
