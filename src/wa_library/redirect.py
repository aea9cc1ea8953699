"""Point the loaded library at an emulator on loopback, or fail closed.

Two constants decide whom the library talks to: the address of WhatsApp's chat socket, and the public key that the
server's certificate chain must be signed with. Both are overwritten in memory and verified. If either is not found
exactly once, or does not read back, ``LibraryUnusable`` is raised and the caller must not connect.

Importing this module is the explicit switch: production code does so only when it was started with an emulator.
"""

from __future__ import annotations

from wa_library import memory
from wa_library.package import LibraryUnusable

_CHAT_URL = b"wss://web.whatsapp.com/ws/chat"
_ROOT_KEY = bytes.fromhex("142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b")
_KEY_BYTES = 32
_PORTS = range(1, 65536)


def redirect(port: int, root_key: bytes) -> None:
    """Make this process's library dial ``ws://127.0.0.1:port/`` and trust ``root_key`` (32 bytes) only.

    Call it after ``package.binding()`` and before anything connects; it cannot be undone or done twice.
    Raises LibraryUnusable if it cannot be done and verified, ValueError for an impossible port or key.
    """
    if port not in _PORTS:
        raise ValueError(f"port {port} is not between 1 and 65535")
    if len(root_key) != _KEY_BYTES:
        raise ValueError(f"a root key has {_KEY_BYTES} bytes, this one has {len(root_key)}")
    url = _loopback_url(port)
    key_address = memory.find_one(_ROOT_KEY, "rw", "the certificate root key")
    url_address = memory.find_one(_CHAT_URL, "r--", "the chat address")
    memory.write_protected(url_address, url, "the chat address")
    memory.write(key_address, root_key, "the certificate root key")
    if any(_CHAT_URL in segment.read() for segment in memory.segments()):
        raise LibraryUnusable("the chat address still stands in the library's memory")


def _loopback_url(port: int) -> bytes:
    """Return the loopback address, padded to the length that is compiled into the library's code."""
    return f"ws://127.0.0.1:{port}/?".encode().ljust(len(_CHAT_URL), b"x")
