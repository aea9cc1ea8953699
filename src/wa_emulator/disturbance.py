"""What delivery faults do to messages on their way to a linked device: junk, doubles, delays, wrong order."""

from __future__ import annotations

import asyncio
import os
from typing import Final, NamedTuple

from wa_emulator.connection import Connection
from wa_emulator.directory import Device
from wa_emulator.faults import Faults
from wa_emulator.nodes import Node

_LONGEST_HOLD: Final = 0.5
"""Seconds a message waits to be overtaken before it goes after all."""
_SIGNAL_VERSION: Final = b"\x33"


class _Held(NamedTuple):
    connection: Connection
    node: Node


class Disturbance:
    """The last step before a connection's outbox."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: dict[Device, _Held] = {}

    def deliver(self, device: Device, connection: Connection, node: Node) -> None:
        """Send a message, as the faults of its device have it."""
        if self._faults.hit("junk_ciphertext", device):
            node = _junk(node)
        delay = self._faults.hit("delay_delivery", device)
        copies = 2 if self._faults.hit("duplicate_delivery", device) else 1
        for _ in range(copies):
            if delay is not None:
                seconds = delay.parameters["delay"]
                asyncio.get_running_loop().call_later(seconds, self._in_order, device, connection, node)
            else:
                self._in_order(device, connection, node)

    def _in_order(self, device: Device, connection: Connection, node: Node) -> None:
        held = self._held.pop(device, None)
        if held is None and self._faults.hit("reorder", device):
            held = self._held[device] = _Held(connection, node)
            asyncio.get_running_loop().call_later(_LONGEST_HOLD, self._release, device, held)
            return
        connection.post(node)
        if held is not None:
            held.connection.post(held.node)

    def _release(self, device: Device, held: _Held) -> None:
        if self._held.get(device) is held:
            del self._held[device]
            held.connection.post(held.node)


def _junk(node: Node) -> Node:
    """Return the message with its ciphertext replaced by random bytes of the same length."""
    children = [
        Node("enc", {**child.attributes, "type": "msg"}, _SIGNAL_VERSION + os.urandom(len(child.data()) - 1))
        if child.tag == "enc"
        else child
        for child in node.children
    ]
    return Node(node.tag, node.attributes, children)
