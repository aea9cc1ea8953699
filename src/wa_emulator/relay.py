"""Store and forward: every stanza for a linked device is kept until that device confirms it.

A message's copy is confirmed by a receipt or an ack of the device, a notification's or receipt's by an ack. What is not
confirmed is delivered again at the next login, between an ``offline_preview`` and an ``offline`` marker.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterable
from typing import Final

from wa_emulator.directory import Account, Device, Directory, Queued, QueueKey
from wa_emulator.disturbance import Disturbance
from wa_emulator.faults import Faults
from wa_emulator.ledger import Entry, Ledger
from wa_emulator.nodes import GROUP_SERVER, JID, LID_SERVER, SERVER, Attributes, Node, Value
from wa_emulator.phones import Mail, Phones, Sender

_UNSUPPORTED: Final = 405


def queue_key(node: Node) -> QueueKey:
    """Return what identifies a stanza when it is confirmed. Messages: their id; others also type and sender."""
    if node.tag == "message":
        return ("message", node.text("id"))
    return (node.tag, node.text("id"), node.text("type"), node.text("from"))


def participant_hash(devices: Iterable[JID]) -> str:
    """Digest a list of devices as clients do. Source: whatsmeow ``participantListHashV2``."""
    names = sorted(f"{jid.user}.0:{jid.device}@{jid.server}" for jid in devices)
    digest = hashlib.sha256("".join(names).encode()).digest()
    return "2:" + base64.b64encode(digest[:6]).decode().rstrip("=")


class Relay:
    """Moves stanzas between linked devices and phones."""

    def __init__(self, directory: Directory, ledger: Ledger, phones: Phones, faults: Faults) -> None:
        self._directory = directory
        self._ledger = ledger
        self._phones = phones
        self._faults = faults
        self._disturbance = Disturbance(faults)

    def post(self, mail: Iterable[Mail]) -> None:
        """Queue stanzas for their devices and send them to those that are connected."""
        for device, node, entry in mail:
            key = queue_key(node)
            queued = Queued(node, entry)
            if entry is not None:
                self._ledger.queued(entry, (device.account.number, device.id))
            self._directory.enqueue(device, key, queued)
            self._send(device, queued, node)

    def flush(self, device: Device) -> None:
        """Deliver all that waited for a device that has just become active."""
        connection = device.connection
        if connection is None:
            return
        waiting = list(device.queue.values())
        counts = _counts(waiting)
        connection.post(Node("ib", {"from": SERVER}, [Node("offline_preview", counts)]))
        for number, queued in enumerate(waiting):
            attributes: dict[str, Value] = {**queued.node.attributes, "offline": str(number)}
            self._send(device, queued, Node(queued.node.tag, attributes, queued.node.content))
        connection.post(Node("ib", {"from": SERVER}, [Node("offline", {"count": len(waiting)})]))

    def resume(self, device: Device) -> None:
        """Deliver what a fault held back from a connected device."""
        for queued in [queued for queued in device.queue.values() if queued.held_back]:
            self._send(device, queued, queued.node)

    def submit(self, device: Device, node: Node) -> None:
        """Take a message from a linked device: relay a copy to each device it is encrypted for, and ack it."""
        to, message_id = node.need_jid("to"), node.need_text("id")
        recipient = self._directory.find_or_make(to)
        if recipient is None or to.server == GROUP_SERVER:
            return self._ack_message(device, node, {"error": _UNSUPPORTED})
        entry = self._ledger.begin(message_id, (device.account.number, device.id), self._peer(node, recipient).number)
        refusal = self._faults.hit("send_nack", device)
        if refusal is not None:
            self._ledger.refused(entry, refusal.parameters["code"])
            return self._ack_message(device, node, {"error": refusal.parameters["code"]})
        copies = _copies(node, to)
        silence = self._faults.hit("no_send_ack", device)
        if silence is None:
            self._ledger.accepted(entry)
            self._ack_message(device, node, {"phash": self._missing_devices(device, recipient, to, copies)})
        elif not silence.parameters["deliver"]:
            return None
        for copy_to, parts in copies:
            self._relay_copy(device, node, entry, copy_to, parts)
        return None

    def take_receipt(self, device: Device, node: Node) -> None:
        """Take a receipt: the device has a message, or asks for it again; its sender learns of it."""
        to = node.need_jid("to")
        attributes = {"class": "receipt", "from": to, "id": node.need_text("id"), "type": node.text("type") or None}
        self._post_now(device, Node("ack", {**attributes, "participant": node.attributes.get("participant")}))
        for message_id in _receipt_ids(node):
            self._confirm(device, ("message", message_id), is_retry=node.text("type") == "retry")
        account = self._directory.find(to)
        if account is None:
            return
        if to.device == 0 and node.text("type") == "read":
            for message_id in _receipt_ids(node):
                self._ledger.read(account.number, message_id)
        if to.device == 0:
            retried = self._phones.handle_receipt(account, device, node)
            self.post(retried)
            self._expect_stale_acks(retried)
        self._forward_receipt(device, account, to, node)

    def take_ack(self, device: Device, node: Node) -> None:
        """Take a device's ack of a message, receipt or notification."""
        kind, message_id = node.text("class"), node.text("id")
        if kind != "message":
            self._directory.dequeue(device, (kind, message_id, node.text("type"), node.text("to")))
            return
        queued = device.queue.get(("message", message_id))
        if queued is not None and queued.stale_acks:
            queued.stale_acks -= 1
        else:
            self._confirm(device, ("message", message_id))

    def announce_devices(self, account: Account, device: Device, change: str) -> None:
        """Tell those who know the device list that a device was linked (``add``) or is gone (``remove``)."""
        for listener in {*account.devices.values(), *account.watchers} - {device}:
            for user, changed in ((account.lid_jid, device.lid), (account.jid, device.jid)):
                devices = [JID(user.user, user.server, number) for number in account.device_ids()]
                child = Node(change, {"device_hash": participant_hash(devices)}, [Node("device", {"jid": changed})])
                attributes: Attributes = {"from": user, "type": "devices", "id": _fresh_id(), "t": int(time.time())}
                self.post([Mail(listener, Node("notification", attributes, [child]))])

    def _peer(self, node: Node, recipient: Account) -> Account:
        """Return whom a message is for: of a retried device-sent copy, which goes to an own device, its recipient."""
        stated = node.jid("recipient")
        return (self._directory.find(stated) if stated else None) or recipient

    def _relay_copy(self, device: Device, node: Node, entry: Entry, to: JID, parts: list[Node]) -> None:
        account = self._directory.find_or_make(to)
        if account is None:
            return
        if to.device == 0:
            self.post(self._phones.receive(account, Sender(device.account, device.id), entry, parts))
            return
        target = account.devices.get(to.device)
        if target is not None and target is not device:
            self.post([Mail(target, self._redirected(device, node, target, to, parts), entry)])

    def _redirected(self, device: Device, node: Node, target: Device, to: JID, parts: list[Node]) -> Node:
        """Return the message as the receiving device sees it."""
        by_lid = to.server == LID_SERVER
        attributes: dict[str, Value] = {
            "from": device.lid if by_lid else device.jid,
            "id": node.text("id"),
            "type": node.text("type") or "text",
            "t": int(time.time()),
            "notify": device.account.name or None,
        }
        if target.account is device.account:
            attributes["recipient"] = node.jid("recipient") or node.need_jid("to")
            attributes["peer_recipient_pn"] = node.attributes.get("peer_recipient_pn")
        elif by_lid:
            attributes["sender_pn"] = device.account.jid
        else:
            attributes["sender_lid"] = device.account.lid_jid
        identity = node.child("device-identity")
        extra = [identity] if identity and any(part.text("type") == "pkmsg" for part in parts) else []
        return Node("message", attributes, [*parts, *extra])

    def _ack_message(self, device: Device, node: Node, extra: dict[str, Value]) -> None:
        attributes: dict[str, Value] = {
            "class": "message", "from": node.need_jid("to"), "id": node.need_text("id"), "t": int(time.time()), **extra,
        }  # fmt: skip
        self._post_now(device, Node("ack", attributes))

    def _missing_devices(
        self, device: Device, recipient: Account, to: JID, copies: list[tuple[JID, list[Node]]]
    ) -> str | None:
        """Return the hash of the true device list if the sender's is another, so that it asks anew."""
        if copies and copies[0][0] == to:
            return None  # a direct copy to one device
        known = {(account, jid.device) for jid, _ in copies if (account := self._directory.find(jid))}
        known.add((device.account, device.id))
        truth = {(account, number) for account in (recipient, device.account) for number in account.device_ids()}
        if known == truth:
            return None
        return participant_hash(
            JID(account.lid if to.server == LID_SERVER else account.number, to.server, number)
            for account, number in truth
        )

    def _confirm(self, device: Device, key: QueueKey, *, is_retry: bool = False) -> None:
        queued = self._directory.dequeue(device, key)
        if queued is not None and queued.entry is not None and not is_retry:
            self._ledger.receipted(queued.entry, (device.account.number, device.id))

    def _expect_stale_acks(self, retried: list[Mail]) -> None:
        """Clients ask for a retry and ack the bad copy, in either order: that ack must not remove the new copy."""
        for device, node, _ in retried:
            queued = device.queue.get(queue_key(node))
            if queued is not None:
                queued.stale_acks = 1

    def _forward_receipt(self, device: Device, account: Account, to: JID, node: Node) -> None:
        """Pass a receipt on to linked devices of the message's sender."""
        if account is device.account and node.text("type") != "retry":
            return
        attributes = {
            "from": device.lid if to.server == LID_SERVER else device.jid,
            "id": node.need_text("id"),
            "type": node.text("type") or None,
            "recipient": node.attributes.get("recipient"),
            "t": int(time.time()),
        }
        only = to.device if node.text("type") == "retry" else None
        for target in account.devices.values():
            if target is not device and only in (None, target.id):
                self.post([Mail(target, Node("receipt", attributes, node.content))])

    def _send(self, device: Device, queued: Queued, node: Node) -> None:
        connection = device.connection
        if connection is None or not connection.active or (connection.deaf and "offline" not in node.attributes):
            return
        queued.held_back = connection.stalled
        if queued.held_back:
            return
        if queued.entry is None:
            connection.post(node)
        else:
            self._disturbance.deliver(device, connection, node)
            self._ledger.sent(queued.entry, (device.account.number, device.id))

    def _post_now(self, device: Device, node: Node) -> None:
        if device.connection is not None:
            device.connection.post(node)


def _copies(node: Node, to: JID) -> list[tuple[JID, list[Node]]]:
    """Return each device a message is encrypted for, with its parts."""
    participants = node.child("participants")
    if participants is None:
        return [(to, [child for child in node.children if child.tag == "enc"])]
    return [(child.need_jid("jid"), list(child.children)) for child in participants.children if child.tag == "to"]


def _receipt_ids(node: Node) -> list[str]:
    listed = node.child("list")
    more = [item.need_text("id") for item in listed.children] if listed else []
    return [node.need_text("id"), *more]


def _counts(waiting: list[Queued]) -> dict[str, Value]:
    tags = [queued.node.tag for queued in waiting]
    return {
        "count": len(tags),
        "message": tags.count("message"),
        "notification": tags.count("notification"),
        "receipt": tags.count("receipt"),
        "appdata": 0,
    }


def _fresh_id() -> str:
    return str(time.monotonic_ns())
