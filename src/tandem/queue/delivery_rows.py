"""Rows of deliveries, within a transaction of the caller's."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tandem.errors import PoisonMessage
from tandem.queue.dead_letters import LetterKind, bury
from tandem.sqlite_schema import load_queries, seal

SQL = load_queries("tandem.queue", "deliveries")


@dataclass(frozen=True, slots=True)
class Parcel:
    """What an endpoint is to be told. ``id`` is the same at every attempt, so that a receiver can drop repetitions.

    Parcels of one ``lane`` reach an endpoint in the order they were put; lanes do not wait for each other.
    """

    id: str
    lane: str
    account: str
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A parcel on its way to one endpoint. Times in Unix seconds; ``attempts`` have failed so far."""

    sequence: int
    endpoint: str
    parcel: Parcel
    created_at: float
    attempts: int
    next_at: float


def announce(connection: sqlite3.Connection, kind: str, parcel: Parcel, now: float) -> int:
    """Put a parcel for every endpoint of this kind. Returns how many there are."""
    names = endpoints(connection, kind)
    for name in names:
        put(connection, name, parcel, now)
    return len(names)


def endpoints(connection: sqlite3.Connection, kind: str) -> list[str]:
    return [name for name, each in connection.execute(SQL["endpoints"]) if each == kind]


def put(connection: sqlite3.Connection, endpoint: str, parcel: Parcel, now: float) -> None:
    values = _values(parcel, endpoint, now, 0, now)
    connection.execute(SQL["put"], (*values, seal(*values)))


def postpone(connection: sqlite3.Connection, sequence: int, next_at: float) -> None:
    """Count a failed attempt. Does nothing if the delivery is gone."""
    found = connection.execute(SQL["get"], (sequence,)).fetchone()
    if found is None:
        return
    delivery = delivery_of(found)
    attempts = delivery.attempts + 1
    values = _values(delivery.parcel, delivery.endpoint, delivery.created_at, attempts, next_at)
    connection.execute(SQL["postpone"], (attempts, float(next_at), seal(*values), sequence))


def bury_all(connection: sqlite3.Connection, found: Sequence[Delivery], reason: str, now: float) -> int:
    """Move deliveries to the dead letters. Returns how many of them were still there."""
    buried = 0
    for delivery in found:
        if connection.execute(SQL["remove"], (delivery.sequence,)).rowcount == 1:
            buried += 1
            payload, account = _encode(delivery), delivery.parcel.account
            since = delivery.created_at
            bury(connection, LetterKind.DELIVERY, reason, account, payload, arrived_at=since, now=now)
    return buried


def put_again(connection: sqlite3.Connection, letter: bytes, now: float) -> None:
    """Put a dead delivery back, new but for its id. Raises PoisonMessage if nobody delivers there any more."""
    fields = json.loads(letter)
    endpoint = fields["endpoint"]
    if endpoint not in {name for name, _ in connection.execute(SQL["endpoints"])}:
        raise PoisonMessage(f"its endpoint {endpoint} is not configured any more")
    parcel = Parcel(fields["id"], fields["lane"], fields["account"], base64.b64decode(fields["payload"]))
    put(connection, endpoint, parcel, now)


def delivery_of(row: Sequence[Any]) -> Delivery:
    sequence, identifier, endpoint, lane, account, payload, created_at, attempts, next_at = row
    return Delivery(sequence, endpoint, Parcel(identifier, lane, account, payload), created_at, attempts, next_at)


def _values(parcel: Parcel, endpoint: str, created_at: float, attempts: int, next_at: float) -> tuple[object, ...]:
    fixed = (parcel.id, endpoint, parcel.lane, parcel.account, bytes(parcel.payload))
    return (*fixed, float(created_at), attempts, float(next_at))


def _encode(delivery: Delivery) -> bytes:
    parcel = delivery.parcel
    return json.dumps(
        {
            "id": parcel.id,
            "endpoint": delivery.endpoint,
            "lane": parcel.lane,
            "account": parcel.account,
            "payload": base64.b64encode(parcel.payload).decode(),
        }
    ).encode()
