"""What became of every message: enough to count losses and doubles in both directions from outside.

Times are monotonic seconds; ``Clock.offset`` added gives wall seconds. Nothing is ever dropped, so entries are compact.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from wa_emulator.contents import REACTION, REVOKE, TEXT, Content
from wa_emulator.journal import Journal

DeviceKey = tuple[str, int]
"""A number and a device of it."""

MessageKey = tuple[str, str]
"""The sender's number and the message's id."""


@dataclass(slots=True)
class Delivery:
    """One copy, on its way to one linked device. ``sends`` counts transmissions, ``retries`` fresh encryptions."""

    queued: float
    sent: float | None = None
    receipted: float | None = None
    sends: int = 0
    retries: int = 0


@dataclass(slots=True)
class Entry:
    """A message, by its sender and id. ``sender_device`` 0 is the phone itself (scripted contacts are phones)."""

    id: str
    sender: str
    sender_device: int
    recipient: str
    text: str | None = None
    kind: str = TEXT
    about: str = ""
    """The message that this one quotes, reacts to or revokes; what a quote shows of it."""
    quoted: str = ""
    accepted: float | None = None
    """When the server acked it to the linked device that sent it, or when it was typed on a phone."""
    refused: int | None = None
    """The error in the server's ack instead."""
    attempts: int = 0
    """How often the sending device handed it in."""
    deliveries: dict[DeviceKey, Delivery] = field(default_factory=dict)
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """When and from which device the recipient's phone could decrypt it."""
    on_own_phone: float | None = None
    """When the sender's own phone learnt of it, if a linked device sent it."""
    read: float | None = None
    """When the sender's phone learnt from a linked device of the recipient that it was read."""

    @property
    def key(self) -> MessageKey:
        return self.sender, self.id

    @property
    def times_shown(self) -> int:
        """How often the recipient's phone shows it: it knows a message by its id and sending device."""
        return len({device for _, device in self.arrivals})

    def record(self, offset: float) -> bytes:
        """Return the entry for ``restore``, its times shifted by ``offset``."""
        deliveries = [
            [*key, d.queued + offset, _shifted(d.sent, offset), _shifted(d.receipted, offset), d.sends, d.retries]
            for key, d in self.deliveries.items()
        ]
        arrivals = [(at + offset, device) for at, device in self.arrivals]
        times = [_shifted(at, offset) for at in (self.accepted, self.on_own_phone, self.read)]
        fields = self.id, self.sender, self.sender_device, self.recipient, self.text, self.refused, self.attempts
        content = self.kind, self.about, self.quoted
        return json.dumps([fields, content, times, deliveries, arrivals]).encode()

    @classmethod
    def restore(cls, record: bytes, offset: float) -> Entry:
        """Read ``record`` back, its times shifted back by this process's ``offset``."""
        fields, content, times, deliveries, arrivals = json.loads(record)
        message_id, sender, sender_device, recipient, text, refused, attempts = fields
        entry = cls(message_id, sender, sender_device, recipient, text, refused=refused, attempts=attempts)
        entry.kind, entry.about, entry.quoted = content
        entry.accepted, entry.on_own_phone, entry.read = (_shifted(at, -offset) for at in times)
        entry.arrivals = [(at - offset, device) for at, device in arrivals]
        for number, device, queued, sent, receipted, sends, retries in deliveries:
            moments = queued - offset, _shifted(sent, -offset), _shifted(receipted, -offset)
            entry.deliveries[number, device] = Delivery(*moments, sends, retries)
        return entry


def _shifted(at: float | None, offset: float) -> float | None:
    return None if at is None else at + offset


class Ledger:
    """All entries, in order of their beginning."""

    def __init__(self, journal: Journal) -> None:
        self.offset = time.time() - time.monotonic()
        """Wall seconds minus monotonic seconds, fixed when the emulator started."""
        self._journal = journal
        self._entries: dict[MessageKey, Entry] = {}
        self._shown: dict[str, dict[MessageKey, Entry]] = {}
        self._acts: dict[tuple[str, str], dict[MessageKey, Entry]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def find(self, sender: str, message_id: str) -> Entry | None:
        return self._entries.get((sender, message_id))

    def begin(self, message_id: str, sender: DeviceKey, recipient: str, text: str | None = None) -> Entry:
        """Return the entry of a message, made on first sight; the attempt is counted."""
        entry = self._entries.get((sender[0], message_id))
        if entry is None:
            entry = Entry(message_id, *sender, recipient, text)
            self._entries[entry.key] = entry
        entry.attempts += 1
        self._save(entry)
        return entry

    def accepted(self, entry: Entry) -> None:
        if entry.accepted is None:
            entry.accepted = time.monotonic()
        self._save(entry)

    def refused(self, entry: Entry, error: int) -> None:
        entry.refused = error
        self._save(entry)

    def queued(self, entry: Entry, device: DeviceKey) -> None:
        """Note a copy for ``device``; another copy of the same message is a retry."""
        delivery = entry.deliveries.get(device)
        if delivery is None:
            entry.deliveries[device] = Delivery(time.monotonic())
        else:
            delivery.retries += 1
        self._save(entry)

    def sent(self, entry: Entry, device: DeviceKey) -> None:
        delivery = entry.deliveries[device]
        delivery.sends += 1
        if delivery.sent is None:
            delivery.sent = time.monotonic()
        self._save(entry)

    def receipted(self, entry: Entry, device: DeviceKey) -> None:
        delivery = entry.deliveries[device]
        if delivery.receipted is None:
            delivery.receipted = time.monotonic()
        self._save(entry)

    def arrived(self, entry: Entry, device: int, content: Content) -> bool:
        """Note that the recipient's phone decrypted it; say whether that was the first time."""
        entry.kind, entry.text, entry.about, entry.quoted = content
        entry.arrivals.append((time.monotonic(), device))
        self._show(entry)
        self._save(entry)
        return len(entry.arrivals) == 1

    def on_own_phone(self, entry: Entry, content: Content) -> None:
        entry.kind, entry.text, entry.about, entry.quoted = content
        if entry.on_own_phone is None:
            entry.on_own_phone = time.monotonic()
        self._save(entry)

    def of(self, number: str) -> list[Entry]:
        """Return the messages from or to a number, oldest first."""
        return [entry for entry in self if number in (entry.sender, entry.recipient)]

    def read(self, sender: str, message_id: str) -> None:
        entry = self.find(sender, message_id)
        if entry is not None and entry.read is None:
            entry.read = time.monotonic()
            self._save(entry)

    def shown(self, number: str) -> list[Entry]:
        """The messages that the phone of ``number`` would show as received, oldest first, revoked ones too."""
        return list(self._shown.get(number, {}).values())

    def reactions(self, number: str, message_id: str) -> dict[str, str]:
        """Who has which emoji on a message on the phone of ``number``: each sender's last one counts."""
        acts = self._acts.get((number, message_id), {}).values()
        last = {act.sender: act.text or "" for act in acts if act.kind == REACTION}
        return {sender: emoji for sender, emoji in last.items() if emoji}

    def is_revoked(self, number: str, entry: Entry) -> bool:
        """Whether the phone of ``number`` no longer shows a message, because its sender has taken it back."""
        acts = self._acts.get((number, entry.id), {}).values()
        return any(act.kind == REVOKE and act.sender == entry.sender for act in acts)

    def _show(self, entry: Entry) -> None:
        if entry.kind == TEXT:
            self._shown.setdefault(entry.recipient, {})[entry.key] = entry
        else:
            self._acts.setdefault((entry.recipient, entry.about), {})[entry.key] = entry

    def clock(self) -> dict[str, float]:
        return {"offset": self.offset, "monotonic": time.monotonic()}

    def wall(self, at: float | None) -> float | None:
        """Turn a monotonic time into wall seconds."""
        return None if at is None else round(at + self.offset, 6)

    def describe(self, entry: Entry) -> dict[str, Any]:
        """Return an entry for people and programs, times in wall seconds."""
        return {
            "id": entry.id,
            "from": entry.sender,
            "from_device": entry.sender_device,
            "to": entry.recipient,
            "text": entry.text,
            "kind": entry.kind,
            "about": entry.about,
            "quoted": entry.quoted,
            "read": self.wall(entry.read),
            "accepted": self.wall(entry.accepted),
            "refused": entry.refused,
            "attempts": entry.attempts,
            "on_own_phone": self.wall(entry.on_own_phone),
            "times": entry.times_shown,
            "arrivals": [{"at": self.wall(at), "device": device} for at, device in entry.arrivals],
            "deliveries": [self._describe_delivery(key, delivery) for key, delivery in entry.deliveries.items()],
        }

    def restore(self, record: bytes) -> None:
        entry = Entry.restore(record, self.offset)
        self._entries[entry.key] = entry
        if entry.arrivals:
            self._show(entry)

    def _describe_delivery(self, device: DeviceKey, delivery: Delivery) -> dict[str, Any]:
        return {
            "number": device[0],
            "device": device[1],
            "queued": self.wall(delivery.queued),
            "sent": self.wall(delivery.sent),
            "receipted": self.wall(delivery.receipted),
            "sends": delivery.sends,
            "retries": delivery.retries,
        }

    def _save(self, entry: Entry) -> None:
        self._journal.save("ledger", "/".join(entry.key), lambda: entry.record(self.offset))
