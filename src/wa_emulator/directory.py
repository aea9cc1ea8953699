"""Who exists: accounts (numbers), their phones, and the devices linked to them. All look-ups are O(1)."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from wa_emulator.journal import Journal
from wa_emulator.nodes import JID, LID_SERVER, SERVER, USER_SERVER, Attributes, Node
from wa_emulator.participant import Address, Participant
from wa_emulator.signal_session import Bundle

if TYPE_CHECKING:
    from wa_emulator.connection import Connection
    from wa_emulator.ledger import Entry

MOST_LINKED_DEVICES: Final = 4
"""WhatsApp's limit beside the phone itself."""

_DEVICE_IDS: Final = 99
_FEW_PREKEYS: Final = 5
"""Clients upload more when they hear of fewer than five."""
_NUMBER = re.compile(r"\+?([1-9][0-9]{6,14})")
_LID_DIGITS: Final = 10**14


class UnknownNumber(LookupError):  # noqa: N818 - it names the condition
    """No phone has this number."""


def canonical(number: str) -> str:
    """Return the digits of an international number. Raises ValueError if it is none."""
    match = _NUMBER.fullmatch(number)
    if match is None:
        raise ValueError("a number is 7 to 15 digits in international form, with an optional leading +")
    return match[1]


@dataclass(slots=True)
class Queued:
    """A stanza kept for a device until it confirms it. ``entry`` is the ledger's, for messages."""

    node: Node
    entry: Entry | None = None
    stale_acks: int = 0
    """Acks still expected for an earlier copy, which must not remove this one."""
    held_back: bool = False
    """A fault kept it from a connected device."""


QueueKey = tuple[str, ...]


@dataclass(slots=True, eq=False)
class Device:
    """A linked device: number 1, 2, … of an account. Keys are raw 32 bytes."""

    account: Account
    id: int
    noise_key: bytes
    identity: bytes
    registration_id: int
    signed_prekey_id: int
    signed_prekey: bytes
    signature: bytes
    prekeys: dict[int, bytes] = field(default_factory=dict)
    queue: dict[QueueKey, Queued] = field(default_factory=dict)
    connection: Connection | None = None
    name: str = ""
    """Under which the phone lists it: what it said of itself when it was linked."""

    @property
    def jid(self) -> JID:
        return JID(self.account.number, USER_SERVER, self.id)

    @property
    def lid(self) -> JID:
        return JID(self.account.lid, LID_SERVER, self.id)

    @property
    def address(self) -> Address:
        return Address(self.account.lid, self.id)

    def take_bundle(self) -> Bundle:
        """Return a prekey bundle, using up one prekey if there is one left. See ``Directory.take_bundle``."""
        number = next(iter(self.prekeys), None)
        prekey = self.prekeys.pop(number) if number is not None else None
        return Bundle(
            self.registration_id, self.identity, self.signed_prekey_id, self.signed_prekey, number, prekey
        )  # fmt: skip

    def record(self) -> bytes:
        return json.dumps({
            "noise_key": self.noise_key.hex(),
            "identity": self.identity.hex(),
            "registration_id": self.registration_id,
            "signed_prekey_id": self.signed_prekey_id,
            "signed_prekey": self.signed_prekey.hex(),
            "signature": self.signature.hex(),
            "name": self.name,
            "prekeys": {str(number): key.hex() for number, key in self.prekeys.items()},
        }).encode()  # fmt: skip


@dataclass(slots=True, eq=False)
class Account:
    """A number, its LID, the phone in its owner's hand (device 0), and the devices linked to that phone."""

    number: str
    lid: str
    phone: Participant
    name: str = ""
    links_devices: bool = False
    """Registered as a phone that may scan; otherwise a contact."""
    on_whatsapp: bool = True
    reads: bool = False
    """The owner looks at messages: read receipts follow the delivery receipts."""
    reply: str = ""
    """If set, each shown message is answered by this text, with ``{text}`` replaced."""
    devices: dict[int, Device] = field(default_factory=dict)
    next_device: int = 1
    watchers: set[Device] = field(default_factory=set)
    """Linked devices anywhere that have asked for the device list, and so must hear of changes."""

    @property
    def jid(self) -> JID:
        return JID(self.number)

    @property
    def lid_jid(self) -> JID:
        return JID(self.lid, LID_SERVER)

    @property
    def address(self) -> Address:
        return Address(self.lid, 0)

    def device_ids(self) -> list[int]:
        """The phone (0) and the linked devices, ascending."""
        return [0, *self.devices]

    def take_device_id(self) -> int:
        """Return the next number of a linked device. They go round, so that a number is not soon used again."""
        ids = (self.next_device + step for step in range(_DEVICE_IDS))
        taken = next(number for n in ids if (number := (n - 1) % _DEVICE_IDS + 1) not in self.devices)
        self.next_device = taken + 1
        return taken

    def record(self) -> bytes:
        return json.dumps({
            "lid": self.lid,
            "name": self.name,
            "links_devices": self.links_devices,
            "on_whatsapp": self.on_whatsapp,
            "reads": self.reads,
            "reply": self.reply,
            "next_device": self.next_device,
        }).encode()  # fmt: skip


class Directory:
    """All accounts, found by number and by LID."""

    def __init__(self, journal: Journal, encode: Callable[[Queued], bytes]) -> None:
        self._journal = journal
        self._encode = encode
        self._by_number: dict[str, Account] = {}
        self._by_lid: dict[str, Account] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_number.values())

    def phones(self) -> list[Account]:
        return [account for account in self if account.links_devices]

    def account(self, number: str) -> Account:
        """Return the account of a canonical number, made on first use (as a contact)."""
        account = self._by_number.get(number)
        if account is None:
            account = self._add(Account(number, self._free_lid(number), Participant(number, self._journal)))
            self._journal.save("participant", number, account.phone.record)
            self.save(account)
        return account

    def known(self, number: str) -> Account | None:
        return self._by_number.get(number)

    def phone(self, number: str) -> Account:
        """Return an account that links devices. Raises UnknownNumber."""
        account = self._by_number.get(number)
        if account is None or not account.links_devices:
            raise UnknownNumber(f"there is no phone {number}: make it with POST /control/phones")
        return account

    def add_phone(self, number: str, name: str) -> Account:
        """Make a number a phone that can link devices; doing so again changes its name."""
        account = self.account(number)
        account.name, account.links_devices = name, True
        self.save(account)
        return account

    def find(self, jid: JID) -> Account | None:
        """Return the account of an address, by LID or number; never makes one."""
        return (self._by_lid if jid.server == LID_SERVER else self._by_number).get(jid.user)

    def find_or_make(self, jid: JID) -> Account | None:
        """Return the same, or a contact made on first use if the address is that of a possible number."""
        found = self.find(jid)
        if found is None and jid.server == USER_SERVER and _NUMBER.fullmatch(jid.user):
            return self.account(jid.user)
        return found

    def link(self, device: Device) -> None:
        """Add a linked device to its account."""
        device.account.devices[device.id] = device
        self.save(device.account)
        self.save_device(device)

    def unlink(self, device: Device) -> None:
        """Remove a linked device with its queue, and all sessions with it."""
        device.account.devices.pop(device.id, None)
        self._journal.delete("device", _device_key(device))
        for key in list(device.queue):
            self.dequeue(device, key)
        for account in self:
            account.phone.forget(device.address)
            account.watchers.discard(device)

    def take_bundle(self, device: Device) -> Bundle:
        """Return a device's prekey bundle. A connected device that has few prekeys left is told to upload more."""
        bundle = device.take_bundle()
        self.save_device(device)
        if len(device.prekeys) < _FEW_PREKEYS and device.connection is not None:
            count = Node("count", {"value": len(device.prekeys)})
            attributes: Attributes = {"from": SERVER, "type": "encrypt", "id": secrets.token_hex(8)}
            device.connection.post(Node("notification", attributes, [count]))
        return bundle

    def save(self, account: Account) -> None:
        self._journal.save("account", account.number, account.record)

    def save_device(self, device: Device) -> None:
        self._journal.save("device", _device_key(device), device.record)

    def dequeue(self, device: Device, key: QueueKey) -> Queued | None:
        """Remove and return a queued stanza, or None."""
        queued = device.queue.pop(key, None)
        if queued is not None:
            self._journal.delete("queue", _queue_key(device, key))
        return queued

    def enqueue(self, device: Device, key: QueueKey, queued: Queued) -> None:
        """Keep a stanza until the device confirms it."""
        device.queue[key] = queued
        self._journal.save("queue", _queue_key(device, key), lambda: self._encode(queued))

    def restore_account(self, number: str, record: bytes, phone: Participant) -> None:
        values = json.loads(record)
        self._add(Account(number=number, phone=phone, **values))

    def restore_device(self, key: str, record: bytes) -> None:
        number, _, device_id = key.partition(":")
        account = self._by_number[number]
        values = json.loads(record)
        prekeys = {int(n): bytes.fromhex(prekey) for n, prekey in values.pop("prekeys").items()}
        listed = values.pop("name", "")
        fields: dict[str, Any] = {
            name: bytes.fromhex(value) if isinstance(value, str) else value for name, value in values.items()
        }
        account.devices[int(device_id)] = Device(account, int(device_id), prekeys=prekeys, name=listed, **fields)

    def _add(self, account: Account) -> Account:
        self._by_number[account.number] = account
        self._by_lid[account.lid] = account
        return account

    def _free_lid(self, number: str) -> str:
        """A LID says nothing about the number to outsiders; here it is a digest of it, and 15 digits long."""
        digest = int.from_bytes(hashlib.sha256(number.encode()).digest()[:8], "big")
        lid = str(_LID_DIGITS + digest % _LID_DIGITS)
        return self._free_lid(lid) if lid in self._by_lid else lid


def _device_key(device: Device) -> str:
    return f"{device.account.number}:{device.id}"


def _queue_key(device: Device, key: QueueKey) -> str:
    return json.dumps([device.account.number, device.id, *key])
