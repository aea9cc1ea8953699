from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from integration.firestore.scene import message
from tandem.cluster.documents import write_of as meeting_write
from tandem.cluster.port import Put
from tandem.model.event import Event, EventType
from tandem.store.firestore.documents import Names, event_write, message_write, position
from tandem.store.firestore.heads import Heads, newest
from unit.cluster.meeting_places import heartbeat, lease

CONFIG: dict[str, Any] = json.loads((Path(__file__).parents[4] / "config" / "firestore.indexes.json").read_text())
NAMES = Names("projects/demo/databases/(default)")
QUERIED = {
    "messages": {"position", "timestampMs"},
    "chats": {"recency", "lastMessageAtMs"},
    "monitoring_events": {"type", "account", "position"},
    "instances": set[str](),
    "leases": set[str](),
}


def written(collection: str) -> set[str]:
    """The fields that the store writes there."""
    one = message(1)
    if collection in {"instances", "leases"}:
        document = heartbeat() if collection == "instances" else lease()
        return set(meeting_write(NAMES, Put(document, None)).update.fields)
    if collection == "messages":
        return set(message_write(NAMES, one, "p", 1).update.fields)
    if collection == "monitoring_events":
        event = Event("id", EventType.ALERT, "text", 1.0)
        odd = Event("id", EventType.ALERT, "text", 1.0, data={"": 1})
        return set(event_write(NAMES, event, 1).update.fields) | set(event_write(NAMES, odd, 1).update.fields)
    heads = Heads(NAMES)
    [candidate] = newest([(one, position(one.timestamp, 1), False)])
    heads.learn([candidate.place], {})
    head = heads.of(candidate.place)
    assert head is not None
    write = heads.write(candidate, head)
    return set(write.update.fields) | {transform.field_path for transform in write.update_transforms}


def exempted(collection: str) -> set[str]:
    overrides = [one for one in CONFIG["fieldOverrides"] if one["collectionGroup"] == collection]
    return {one["fieldPath"] for one in overrides if one["indexes"] == []}


def test_every_field_is_either_queried_or_exempt_from_indexing() -> None:
    for collection, queried in QUERIED.items():
        assert exempted(collection) == written(collection) - queried, collection


def test_only_events_need_composite_indexes_and_have_them() -> None:
    declared = [(one["collectionGroup"], [field["fieldPath"] for field in one["fields"]]) for one in CONFIG["indexes"]]
    assert declared == [
        ("monitoring_events", ["type", "position"]),
        ("monitoring_events", ["account", "position"]),
        ("monitoring_events", ["type", "account", "position"]),
    ]
    assert all(one["fields"][-1]["order"] == "DESCENDING" for one in CONFIG["indexes"])


def test_what_outgoing_messages_say_is_not_indexed() -> None:
    assert {"content", "secret", "reason"} <= exempted("outbox")


def test_only_events_and_keys_of_requests_have_a_time_to_live() -> None:
    expiring = [one for one in CONFIG["fieldOverrides"] if one.get("ttl")]
    assert [(one["collectionGroup"], one["fieldPath"]) for one in expiring] == [
        ("monitoring_events", "expireAt"),
        ("outboxKeys", "expireAt"),
    ]
