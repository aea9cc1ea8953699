"""The WhatsApp library in a device host: one client, one connect, raw bytes only.

Nothing here decides anything. Callbacks run on the library's threads and must be short, for the library waits.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MAX_CALLS = 8
"""Calls into the library at the same time. One that hangs holds its thread for up to 75 s, or for ever."""

_LOG_LEVEL = b"DEBUG"  # the round trip of the ping can only be read at this level


class CallRefused(Exception):  # noqa: N818 - names what happened to the call
    """The library was not called at all: whatever was asked for did not happen."""


class CallFailed(Exception):  # noqa: N818
    """The library was called and answered with an error. The text is the library's."""


class Callbacks(NamedTuple):
    """Whom the library tells: a QR text, a pairing's status, an event (number, bytes), a log entry's bytes."""

    qr: Callable[[bytes], None]
    login: Callable[[bytes], None]
    event: Callable[[int, bytes], None]
    log: Callable[[bytes], None]


_held: list[object] = []  # what the library points to must never be collected, so it hangs here for ever


class Library:
    """The loaded library and its one client, named ``uuid``. ``binding`` is ``wa_library.package.binding()``."""

    def __init__(self, binding: Any, uuid: str) -> None:
        self._binding = binding
        self._go = binding.gocode
        self._uuid = uuid.encode()
        self._ready = threading.Event()
        self._calls = threading.BoundedSemaphore(MAX_CALLS)

    @property
    def version(self) -> str:
        return bytes(self._go.GetVersion()).decode()

    def run(self, database: str, props: bytes, subscriptions: bytes, callbacks: Callbacks) -> str:
        """Connect and pump events. Returns when the pump ended, with the library's reason: then all is over."""
        pointers = self._pointers(callbacks)
        name = database.encode()
        _held.extend((pointers, subscriptions, props, name))
        reason: bytes = self._go.Neonize(
            *(name, self._uuid, b"", 0, 0, _LOG_LEVEL),
            *pointers,
            *(subscriptions, len(subscriptions), props, len(props), b"", 0, None),
        )
        return reason.decode(errors="replace")

    def call(self, operation: str, header: Mapping[str, object], payload: bytes) -> tuple[bytes, float]:
        """Call the library and return its answer and how long it took in milliseconds. Blocks.

        Raises CallRefused, CallFailed.
        """
        function = _OPERATIONS.get(operation)
        if function is None:
            raise CallRefused(f"{operation} is no operation")
        # Before the first callback the client may not stand in the library's unguarded tables yet.
        if not self._ready.is_set():
            raise CallRefused("the library is not ready yet")
        if not self._calls.acquire(blocking=False):
            raise CallRefused("too many calls are waiting for the library")
        try:
            began = time.monotonic()
            answer = function(self._go, self._uuid, header, payload)
            return answer, (time.monotonic() - began) * 1000
        finally:
            self._calls.release()

    def disconnect(self) -> None:
        """Close the connection without logging out. May block for as long as the library is dialling."""
        if self._ready.is_set():
            self._go.Disconnect(self._uuid)

    def _pointers(self, callbacks: Callbacks) -> tuple[object, ...]:
        def qr(_uuid: int, text: int) -> None:
            self._ready.set()
            callbacks.qr(ctypes.string_at(text))

        def login(_uuid: int, status: int) -> None:
            callbacks.login(ctypes.string_at(status))

        def event(_uuid: bytes, data: int, size: int, code: int) -> None:
            self._ready.set()
            callbacks.event(code, ctypes.string_at(data, size) if size else b"")

        def log(data: int, size: int) -> None:
            callbacks.log(ctypes.string_at(data, size) if size else b"")

        binding = self._binding
        return (
            binding.func_string(qr),
            binding.func_string(login),
            binding.func_callback_bytes(event),
            binding.func_callback_bytes2(log),
        )


def _send(go: Any, uuid: bytes, header: Mapping[str, object], payload: bytes) -> bytes:
    address, message = _parts(header, payload, 2)
    return bytes(go.SendMessage(uuid, address, len(address), message, len(message)))


def _probe(go: Any, uuid: bytes, _header: Mapping[str, object], _payload: bytes) -> bytes:
    return _checked(go.SetPassive(uuid, False))


def _mark_read(go: Any, uuid: bytes, header: Mapping[str, object], payload: bytes) -> bytes:
    ids, chat, sender = _parts(header, payload, 3)
    return _checked(go.MarkRead(uuid, ids, int(time.time()), chat, len(chat), sender, len(sender), b"read"))


def _pair_by_code(go: Any, uuid: bytes, _header: Mapping[str, object], payload: bytes) -> bytes:
    return bytes(go.PairPhone(uuid, payload, len(payload)))


def _logout(go: Any, uuid: bytes, _header: Mapping[str, object], _payload: bytes) -> bytes:
    return _checked(go.Logout(uuid))


def _checked(error: bytes) -> bytes:
    if error:
        raise CallFailed(error.decode(errors="replace"))
    return b""


def _parts(header: Mapping[str, object], payload: bytes, count: int) -> list[bytes]:
    """Cut a payload where the header's ``sizes`` say."""
    sizes = header.get("sizes")
    if not isinstance(sizes, list) or len(sizes) != count or sum(sizes) != len(payload):
        raise CallRefused("the operation's bytes do not fit")
    parts = []
    for size in sizes:
        parts.append(payload[:size])
        payload = payload[size:]
    return parts


_OPERATIONS: dict[str, Callable[[Any, bytes, Mapping[str, object], bytes], bytes]] = {
    "send": _send,
    "probe": _probe,
    "mark_read": _mark_read,
    "pair_by_code": _pair_by_code,
    "logout": _logout,
}
