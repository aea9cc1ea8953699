"""What is already known of messages whose write has not come to an end.

A write that fails half-way is repeated with the same messages. Everything learned before must count then, or a search
for the one document at fault starts over with every cut connection and never ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from tandem.model.message import Message, Standing, StatusUpdate

UNLIMITED = 10_000
_MOST = 20_000
"""Messages that may be remembered: many batches, and an end to it if their writes are never repeated."""


class Fate(Enum):
    OPEN = auto()
    CREATED = auto()  # by us, at our position
    PRESENT = auto()  # it was there: an earlier copy's position may differ from ours
    SUSPECT = auto()  # refused although it was alone: believed when the database does not refuse everything
    POISON = auto()


@dataclass(slots=True)
class Record:
    """``position`` orders the message in its chat; ``together`` is with how many it may share a request at most."""

    position: str
    fate: Fate = Fate.OPEN
    reason: str = ""
    together: int = UNLIMITED


@dataclass(slots=True)
class Draft:
    """A message ready to be written: its document's name, the write, its size in bytes."""

    message: Message
    name: str
    write: Any = field(repr=False)
    size: int
    record: Record


class Progress:
    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def record(self, name: str, position: str) -> Record:
        """Return what is known of a document; the first time nothing but its position."""
        record = self._records.get(name)
        if record is None:
            record = self._records[name] = Record(position)
            if len(self._records) > _MOST:
                del self._records[next(iter(self._records))]
        return record

    def forget(self, drafts: Iterable[Draft]) -> None:
        for draft in drafts:
            self._records.pop(draft.name, None)


def missed(drafts: Iterable[Draft]) -> list[StatusUpdate]:
    """Return where own messages stand that were there already: an earlier attempt may have known less."""
    found = []
    for draft in drafts:
        message = draft.message
        first = Standing.first(from_me=message.from_me)
        if draft.record.fate is Fate.PRESENT and message.standing != first:
            found.append(StatusUpdate(message.account, message.chat, message.key, message.standing))
    return found


def next_group(drafts: Iterable[Draft], documents: int, size: int) -> list[Draft]:
    """Return the first open drafts that fit into one request: in number, in bytes, and as each one may be grouped."""
    group: list[Draft] = []
    total = 0
    for draft in drafts:
        if draft.record.fate is not Fate.OPEN:
            continue
        documents = min(documents, draft.record.together)
        if group and (len(group) >= documents or total + draft.size > size):
            break
        group.append(draft)
        total += draft.size
    return group
