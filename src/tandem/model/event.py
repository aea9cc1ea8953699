"""Domain events: the one stream that logs, counters, the store, alerts, the report and the dashboard read.

``VERSION`` is the version of an event's shape; it grows when a field changes its meaning or goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from tandem.model.ids import AccountId
from tandem.model.states import Slot

VERSION = 1


class EventType(StrEnum):
    """Event names are a public contract: operators search their logs for them."""

    ACCOUNT_ADDED = "account_added"
    ACCOUNT_REMOVED = "account_removed"
    BACKUP_CONNECTION_READY = "backup_connection_ready"
    DEAD_LETTER = "dead_letter"
    DELIVERY_DEGRADED = "delivery_degraded"
    DELIVERY_FAILED = "delivery_failed"
    DELIVERY_RESTORED = "delivery_restored"
    FLEET_HELD = "fleet_held"
    FLEET_RELEASED = "fleet_released"
    GAP = "gap"
    HOST_ENDED = "host_ended"
    HOST_LOG = "host_log"
    KEEP_ALIVE_FIXED = "keep_alive_fixed"
    LEASE_ACQUIRED = "lease_acquired"
    LEASE_LOST = "lease_lost"
    LIBRARY_OLD = "library_old"
    MESSAGE_SENT = "message_sent"
    MESSAGE_SEND_FAILED = "message_send_failed"
    MESSAGE_SEND_UNKNOWN = "message_send_unknown"
    MESSAGE_UNDECRYPTABLE = "message_undecryptable"
    PAIRING_STARTED = "pairing_started"
    PAIRING_STEP = "pairing_step"
    PAIRING_CANCELLED = "pairing_cancelled"
    PAIRING_FAILED = "pairing_failed"
    PAIRING_SUCCEEDED = "pairing_succeeded"
    BATCH_SAVED = "batch_saved"
    STORE_DEGRADED = "store_degraded"
    STORE_RESTORED = "store_restored"
    PHONE_SEEN = "phone_seen"
    PHONE_UNSEEN = "phone_unseen"
    PROACTIVE_RECONNECT = "proactive_reconnect"
    QUEUE_RESTORED = "queue_restored"
    RATE_LIMIT_DETECTED = "rate_limit_detected"
    REGION_HEALTHY = "region_healthy"
    REGION_UNHEALTHY = "region_unhealthy"
    SESSION_OFFLINE = "session_offline"
    SESSION_ONLINE = "session_online"
    SESSION_PARKED = "session_parked"
    SESSION_STATE = "session_state"
    SHUTDOWN_COMPLETE = "shutdown_complete"
    SWITCHED_TO_BACKUP = "switched_to_backup"
    SWITCHED_TO_PRIMARY = "switched_to_primary"
    SWITCHED_REGION = "switched_region"
    DAEMON_STARTED = "daemon_started"
    DAILY_REPORT = "daily_report"
    ALERT = "alert"
    ALERT_RESOLVED = "alert_resolved"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. ``timestamp`` in Unix seconds; ``data`` holds JSON values, never a secret or a number.

    ``message`` is one human sentence, the same that stands in the log. ``instance`` names the daemon that told it;
    ``correlation`` is the id of the request that caused it, empty for what happened by itself.
    """

    id: str
    type: EventType
    message: str
    timestamp: float
    account: AccountId | None = None
    slot: Slot | None = None
    generation: int = 0
    reason: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    instance: str = ""
    correlation: str = ""


class Publish(Protocol):
    """How any part tells what happened. Never blocks, never raises: telling must not hurt doing."""

    def __call__(
        self,
        type: EventType,  # noqa: A002 - the field's name everywhere else
        message: str,
        *,
        account: AccountId | None = None,
        slot: Slot | None = None,
        generation: int = 0,
        reason: str = "",
        **data: object,
    ) -> None: ...
