"""The library's event numbers that Tandem knows. Standard library only: the host imports it.

Source: ``EVENT_TO_INT`` in neonize 0.5.2's ``events.py``. The library pumps only what was subscribed before connect.
"""

from __future__ import annotations

from enum import IntEnum


class EventCode(IntEnum):
    DEVICE = 0  # always first, comes unasked
    PAIR_STATUS = 2
    CONNECTED = 3
    KEEP_ALIVE_TIMEOUT = 4
    KEEP_ALIVE_RESTORED = 5
    LOGGED_OUT = 6
    STREAM_REPLACED = 7
    TEMPORARY_BAN = 8
    CONNECT_FAILURE = 9
    CLIENT_OUTDATED = 10
    STREAM_ERROR = 11
    DISCONNECTED = 12
    MESSAGE = 17
    RECEIPT = 18
    OFFLINE_SYNC_PREVIEW = 26
    OFFLINE_SYNC_COMPLETED = 27
    UNDECRYPTABLE = 44


CONTENT = frozenset({EventCode.MESSAGE, EventCode.RECEIPT, EventCode.UNDECRYPTABLE})
"""What the daemon keeps: handed to the listener as raw events."""

TERMINAL = frozenset(
    {
        EventCode.LOGGED_OUT,
        EventCode.STREAM_REPLACED,
        EventCode.TEMPORARY_BAN,
        EventCode.CONNECT_FAILURE,
        EventCode.CLIENT_OUTDATED,
    }
)
"""After these the library does not come back by itself."""

JOURNALED = CONTENT | TERMINAL
"""What must survive the host: journaled before anybody is told."""

_SUBSCRIBED = tuple(code for code in EventCode if code is not EventCode.DEVICE)


def subscriptions(*, receipts: bool) -> bytes:
    """Return the subscription as the library wants it, one byte an event number.

    A receipt of an unmapped type ends the library's event pump while the session goes on confirming messages. So only
    one slot of an account subscribes to receipts: a single such stanza, which both devices get, cannot take both.
    """
    return bytes(code for code in _SUBSCRIBED if receipts or code is not EventCode.RECEIPT)
