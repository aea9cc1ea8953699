"""What can never be processed, kept with the reason until a person has looked at it."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from tandem.clock import Clock
from tandem.errors import NotFound
from tandem.model.ids import AccountId
from tandem.model.message import Message, RawEvent, Standing
from tandem.model.states import Slot
from tandem.queue.database import Database
from tandem.sqlite_schema import load_queries, seal

_SLOTS = {str(slot): slot for slot in Slot}
_SQL = load_queries("tandem.queue", "dead_letters")


class LetterKind(StrEnum):
    EVENT = "event"  # a raw event that could not be understood; the payload is its protobuf
    MESSAGE = "message"  # a message the store can never take; the payload is its JSON
    DELIVERY = "delivery"  # what an endpoint never took; the payload is JSON of parcel and endpoint


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """``slot`` and ``code`` belong to events only. Times in Unix seconds."""

    id: int
    kind: LetterKind
    reason: str
    account: AccountId
    slot: Slot | None
    code: int
    payload: bytes = field(repr=False)
    arrived_at: float
    created_at: float

    def event(self) -> RawEvent:
        """Return the event again, as one that no journal waits for."""
        return RawEvent(self.account, self.slot or Slot.PRIMARY, 0, 0, self.code, self.payload, self.arrived_at)

    def message(self) -> Message:
        return decode_message(self.payload)


class DeadLetters:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def bury_event(self, event: RawEvent, reason: str) -> None:
        """Keep an event that cannot be understood. ``reason`` holds none of its content."""
        now = self._clock.now()
        await self._database.write(lambda connection: bury_event(connection, event, reason, now))

    async def list(self, limit: int = 100, after: int = 0) -> Sequence[DeadLetter]:
        """Oldest first, those with an id beyond ``after``."""
        return await self._database.read(
            lambda connection: [_letter(row) for row in connection.execute(_SQL["list"], (after, limit))]
        )

    async def get(self, identifier: int) -> DeadLetter:
        """Raise NotFound if there is none."""
        rows = await self._database.read(lambda connection: connection.execute(_SQL["get"], (identifier,)).fetchall())
        if not rows:
            raise NotFound("there is no such dead letter")
        return _letter(rows[0])

    async def drop(self, identifier: int) -> None:
        """Delete a letter for good. Raises NotFound if there is none."""
        dropped = await self._database.write(lambda connection: drop(connection, identifier))
        if not dropped:
            raise NotFound("there is no such dead letter")

    async def count(self) -> int:
        rows = await self._database.read(lambda connection: connection.execute(_SQL["count"]).fetchone())
        return int(rows[0])


def bury_event(connection: sqlite3.Connection, event: RawEvent, reason: str, now: float) -> int:
    """Write the letter within the caller's transaction, return its id; the same for ``bury_message`` and ``drop``."""
    return _bury(
        connection,
        (
            str(LetterKind.EVENT),
            reason,
            str(event.account),
            str(event.slot),
            event.code,
            bytes(event.payload),
            float(event.arrived_at),
            float(now),
        ),
    )


def bury_message(connection: sqlite3.Connection, message: Message, reason: str, now: float) -> None:
    payload, arrived_at = encode_message(message), message.received_at / 1000
    bury(connection, LetterKind.MESSAGE, reason, str(message.account), payload, arrived_at=arrived_at, now=now)


def bury(
    connection: sqlite3.Connection,
    kind: LetterKind,
    reason: str,
    account: str,
    payload: bytes,
    *,
    arrived_at: float,
    now: float,
) -> None:
    """Write a letter of any kind that belongs to no slot."""
    _bury(connection, (str(kind), reason, account, "", 0, payload, float(arrived_at), float(now)))


def drop(connection: sqlite3.Connection, identifier: int) -> bool:
    return connection.execute(_SQL["drop"], (identifier,)).rowcount == 1


def encode_message(message: Message) -> bytes:
    """JSON, readable for the person who looks into it."""
    fields = asdict(message) | {"raw": base64.b64encode(message.raw).decode()}
    del fields["standing"]  # it is known apart and may go on growing
    return json.dumps(fields).encode()


def decode_message(payload: bytes) -> Message:
    fields = json.loads(payload)
    standing = Standing.first(from_me=fields["from_me"])
    return Message(**fields | {"raw": base64.b64decode(fields["raw"]), "standing": standing})


def _bury(connection: sqlite3.Connection, row: tuple[object, ...]) -> int:
    return connection.execute(_SQL["bury"], (*row, seal(*row))).lastrowid or 0


def _letter(row: Sequence[Any]) -> DeadLetter:
    identifier, kind, reason, account, slot, code, payload, arrived_at, created_at = row
    return DeadLetter(
        id=identifier,
        kind=LetterKind(kind),
        reason=reason,
        account=AccountId(account),
        slot=_SLOTS.get(slot),
        code=code,
        payload=bytes(payload),
        arrived_at=arrived_at,
        created_at=created_at,
    )
