"""States, statuses and spans of time in the words and tones that the pages use.

A tone is ``good``, ``warn``, ``bad``, ``busy`` or ``idle``; the templates give each its colour and its icon.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from markupsafe import Markup, escape

from tandem.model.cluster_view import InstanceState, LeaseState, RegionState
from tandem.model.event import EventType
from tandem.model.states import AccountStatus, SendingState, SessionState, Slot

STATES: Mapping[SessionState, tuple[str, str]] = {
    SessionState.UNPAIRED: ("Not paired", "idle"),
    SessionState.PAIRING: ("Pairing", "busy"),
    SessionState.CONNECTING: ("Connecting", "busy"),
    SessionState.SYNCING: ("Syncing", "busy"),
    SessionState.ONLINE: ("Online", "good"),
    SessionState.DEGRADED: ("Unsteady", "warn"),
    SessionState.RECONNECTING: ("Reconnecting", "warn"),
    SessionState.WAITING: ("Waiting to retry", "warn"),
    SessionState.CONFLICT: ("In conflict", "bad"),
    SessionState.LOGGED_OUT: ("Logged out", "bad"),
    SessionState.BANNED: ("Banned", "bad"),
    SessionState.OUTDATED: ("Outdated", "bad"),
    SessionState.PARKED: ("Parked", "bad"),
    SessionState.STOPPED: ("Stopped", "idle"),
}
STATUS: Mapping[AccountStatus, tuple[str, str]] = {
    AccountStatus.ONLINE: ("Online", "good"),
    AccountStatus.DEGRADED: ("Online, unprotected", "warn"),
    AccountStatus.OFFLINE: ("Offline", "bad"),
    AccountStatus.UNPAIRED: ("To be paired", "idle"),
}
SENDING: Mapping[SendingState, tuple[str, str]] = {
    SendingState.NORMAL: ("Normal", "good"),
    SendingState.SLOWED: ("Slowed down", "warn"),
    SendingState.PAUSED: ("Paused", "warn"),
    SendingState.BANNED: ("Banned", "bad"),
}
SLOTS: Mapping[Slot, str] = {Slot.PRIMARY: "Primary", Slot.BACKUP: "Backup"}
INSTANCES: Mapping[InstanceState, tuple[str, str]] = {
    InstanceState.ALIVE: ("Alive", "good"),
    InstanceState.SILENT: ("Silent", "warn"),
    InstanceState.DEPOSED: ("Deposed", "bad"),
}
LEASES: Mapping[LeaseState, tuple[str, str]] = {
    LeaseState.HELD: ("Held", "good"),
    LeaseState.FREE: ("Free", "bad"),
    LeaseState.HANDED_OVER: ("Being handed over", "busy"),
    LeaseState.SILENT: ("Holder silent", "bad"),
    LeaseState.REMOVED: ("Removed", "idle"),
}
REGIONS: Mapping[RegionState, tuple[str, str]] = {
    RegionState.UNKNOWN: ("Not known yet", "idle"),
    RegionState.HEALTHY: ("Answers", "good"),
    RegionState.UNHEALTHY: ("Does not answer", "bad"),
}
EVENTS: Mapping[EventType, str] = {
    EventType.ALERT: "bad",
    EventType.ALERT_RESOLVED: "good",
    EventType.BACKUP_CONNECTION_READY: "good",
    EventType.DEAD_LETTER: "bad",
    EventType.DELIVERY_DEGRADED: "warn",
    EventType.DELIVERY_FAILED: "bad",
    EventType.DELIVERY_RESTORED: "good",
    EventType.FLEET_HELD: "bad",
    EventType.FLEET_RELEASED: "good",
    EventType.GAP: "warn",
    EventType.HOST_ENDED: "warn",
    EventType.KEEP_ALIVE_FIXED: "warn",
    EventType.LEASE_ACQUIRED: "good",
    EventType.LEASE_LOST: "warn",
    EventType.MESSAGE_SEND_FAILED: "warn",
    EventType.MESSAGE_SEND_UNKNOWN: "warn",
    EventType.MESSAGE_UNDECRYPTABLE: "bad",
    EventType.PAIRING_FAILED: "warn",
    EventType.PAIRING_SUCCEEDED: "good",
    EventType.PROACTIVE_RECONNECT: "busy",
    EventType.RATE_LIMIT_DETECTED: "warn",
    EventType.REGION_HEALTHY: "good",
    EventType.REGION_UNHEALTHY: "bad",
    EventType.SESSION_OFFLINE: "warn",
    EventType.SESSION_ONLINE: "good",
    EventType.SESSION_PARKED: "bad",
    EventType.STORE_DEGRADED: "bad",
    EventType.STORE_RESTORED: "good",
    EventType.SWITCHED_TO_BACKUP: "busy",
    EventType.SWITCHED_TO_PRIMARY: "busy",
    EventType.SWITCHED_REGION: "busy",
}


def span(seconds: float) -> str:
    """Return a length of time in words, such as ``4 min`` or ``1.5 s``; app.js says it the same way."""
    if seconds < 10:  # noqa: PLR2004 - below it, tenths tell something
        return f"{max(0.0, seconds):.1f}".removesuffix(".0") + " s"
    for size, unit, most in ((1, "s", 60), (60, "min", 3600), (3600, "h", 172_800)):
        if seconds < most:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86_400)} days"


def utc(milliseconds: int) -> str:
    """Return a time for readers without JavaScript; app.js puts it into their own zone."""
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%d %b %H:%M:%S} UTC"


def code(text: str) -> Markup:
    """Return a text with what stands between backticks set as code, all else escaped."""
    parts = [escape(part) for part in text.split("`")]
    parts[1::2] = [Markup("<code>{}</code>").format(part) for part in parts[1::2]]
    return Markup("").join(parts)


def percent(ratio: float) -> str:
    """Return a ratio so that only all of it reads as 100 %."""
    thousandths = int(ratio * 100_000 + 1e-6)
    text = f"{thousandths / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{text} %"


def ms(seconds: float) -> int:
    return round(seconds * 1000)


def count(number: int, word: str) -> str:
    return f"{number:,} {word}" + ("" if number == 1 else "s")
