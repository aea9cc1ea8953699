"""What scripted phones do: type messages, show those they can decrypt, send receipts, ask for and answer retries.

Every account has one, contacts and phones with linked devices alike. Nothing here does I/O: each function returns the
``Mail`` it causes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from wa_emulator.contents import TEXT, Content, content_of
from wa_emulator.directory import Account, Device, Directory
from wa_emulator.ledger import Entry, Ledger
from wa_emulator.nodes import Attributes, Node, ProtocolViolation
from wa_emulator.participant import Address, pad, unpad
from wa_emulator.signal_session import Bundle, Undecryptable
from wa_library import package

_ID_BYTES: Final = 16
_MOST_RETRIES: Final = 5
_KEY_ID_BYTES: Final = 3


class Mail(NamedTuple):
    """A stanza for a linked device, and the ledger entry if it carries a message."""

    device: Device
    node: Node
    entry: Entry | None = None


class Sender(NamedTuple):
    """The device that an encrypted copy comes from."""

    account: Account
    device: int

    @property
    def address(self) -> Address:
        return Address(self.account.lid, self.device)


class Phones:
    """Plays the phone (device 0) of every account."""

    def __init__(self, directory: Directory, ledger: Ledger) -> None:
        self._directory = directory
        self._ledger = ledger
        self._message: Any = package.proto("waE2E.WAWebProtobufsE2E_pb2").Message

    def type(self, sender: Account, recipient: Account, text: str) -> tuple[str, list[Mail]]:
        """Type a message on ``sender``'s phone. Returns its id and a copy for every linked device on both sides."""
        message_id = secrets.token_hex(_ID_BYTES).upper()
        entry = self._ledger.begin(message_id, (sender.number, 0), recipient.number, text)
        self._ledger.accepted(entry)
        mail = [self._copy(entry, sender, recipient, device) for device in _others_devices(sender, recipient)]
        mail += [self._own_copy(entry, sender, recipient, device) for device in sender.devices.values()]
        # Between two scripted phones there is nobody to fool: the message is handed over without encryption.
        mail += self._show(Sender(sender, 0), recipient, entry, Content(TEXT, text))
        return message_id, mail

    def read(self, reader: Account, entry: Entry) -> list[Mail]:
        """Look at a message on ``reader``'s own phone: its linked devices learn of it, and those of the sender."""
        writer = self._directory.account(entry.sender)
        attributes: Attributes = {
            "from": reader.lid_jid, "id": entry.id, "type": "read-self", "recipient": writer.lid_jid,
            "t": int(time.time()),
        }  # fmt: skip
        own = [Mail(device, Node("receipt", attributes)) for device in reader.devices.values()]
        return [*own, *_receipts(reader, writer, entry.id, "read")]

    def receive(self, recipient: Account, sender: Sender, entry: Entry, parts: Sequence[Node]) -> list[Mail]:
        """Take the encrypted copy that a linked device made for ``recipient``'s phone."""
        for part in parts:
            if part.tag != "enc":
                continue
            try:
                plaintext = recipient.phone.decrypt(sender.address, part.text("type"), part.data())
                content = content_of(self._message.FromString(unpad(plaintext)))
            except Undecryptable:
                return self._ask_again(recipient, sender, entry, part)
            except DecodeError as error:
                raise ProtocolViolation("a decrypted message is not readable") from error
            if content is None:
                return []
            if recipient is sender.account and entry.recipient != recipient.number:
                self._ledger.on_own_phone(entry, content)
                return []
            return self._show(sender, recipient, entry, content)
        return []

    def handle_receipt(self, phone: Account, device: Device, node: Node) -> list[Mail]:
        """Take a receipt that ``device`` sent to ``phone``: a retry request gets a fresh session and the message."""
        if node.text("type") != "retry":
            return []
        entry = self._ledger.find(phone.number, node.need_text("id"))
        retry = node.need_child("retry")
        count = retry.number("count", 1)
        if entry is None or entry.text is None or count > _MOST_RETRIES:
            return []
        bundle = _bundle_in(node) or self._directory.take_bundle(device)
        phone.phone.begin_session(device.address, bundle)
        recipient = self._directory.account(entry.recipient)
        make = self._own_copy if device.account is phone and recipient is not phone else self._copy
        return [make(entry, phone, recipient, device, count)]

    def _show(self, sender: Sender, recipient: Account, entry: Entry, content: Content) -> list[Mail]:
        first = self._ledger.arrived(entry, sender.device, content)
        if recipient is sender.account:
            return []
        mail = list(_receipts(recipient, sender.account, entry.id, "read" if recipient.reads else ""))
        if first and recipient.reply and content.kind == TEXT:
            mail += self.type(recipient, sender.account, recipient.reply.replace("{text}", content.text))[1]
        return mail

    def _copy(self, entry: Entry, sender: Account, _recipient: Account, device: Device, count: int = 0) -> Mail:
        attributes: Attributes = {"sender_pn": sender.jid}
        plaintext = self._message(conversation=entry.text).SerializeToString()
        return self._encrypted(entry, sender, device, attributes, plaintext, count)

    def _own_copy(self, entry: Entry, sender: Account, recipient: Account, device: Device, count: int = 0) -> Mail:
        """Make the copy by which the sender's own linked devices learn what was typed on the phone."""
        attributes: Attributes = {"recipient": recipient.lid_jid, "peer_recipient_pn": recipient.jid}
        message = self._message()
        message.deviceSentMessage.destinationJID = str(recipient.lid_jid)
        message.deviceSentMessage.message.conversation = entry.text
        return self._encrypted(entry, sender, device, attributes, message.SerializeToString(), count)

    def _encrypted(  # noqa: PLR0917
        self, entry: Entry, sender: Account, device: Device, attributes: Attributes, plaintext: bytes, count: int
    ) -> Mail:
        kind, ciphertext = sender.phone.encrypt(
            device.address, pad(plaintext), lambda: self._directory.take_bundle(device)
        )
        encrypted = Node("enc", {"v": "2", "type": kind, "count": count or None}, ciphertext)
        stanza: Attributes = {
            "from": sender.lid_jid,
            **attributes,
            "id": entry.id,
            "type": "text",
            "t": int(time.time()),
            "notify": sender.name or None,
        }
        return Mail(device, Node("message", stanza, [encrypted]), entry)

    def _ask_again(self, recipient: Account, sender: Sender, entry: Entry, part: Node) -> list[Mail]:
        """Send a retry receipt with a fresh bundle, as a phone does for what it cannot decrypt."""
        device = sender.account.devices.get(sender.device)
        count = part.number("count", 0) + 1
        if device is None or count > _MOST_RETRIES:
            return []
        published = recipient.phone.publish()
        attributes: Attributes = {
            "from": recipient.lid_jid, "id": entry.id, "t": int(time.time()), "type": "retry",
            "recipient": self._directory.account(entry.recipient).lid_jid if recipient is sender.account else None,
        }  # fmt: skip
        retry = Node("retry", {"count": count, "id": entry.id, "t": int(time.time()), "v": 1})
        registration = Node("registration", {}, published.bundle.registration_id.to_bytes(4, "big"))
        keys = Node("keys", {}, [Node("type", {}, b"\x05"), *bundle_nodes(published.bundle, published.signature)])
        return [Mail(device, Node("receipt", attributes, [retry, registration, keys]))]


def bundle_nodes(bundle: Bundle, signature: bytes) -> list[Node]:
    """Return the nodes in which a bundle travels, in prekey answers and retry receipts."""
    nodes = [
        Node("identity", {}, bundle.identity),
        Node("skey", {}, [
            Node("id", {}, bundle.signed_prekey_id.to_bytes(_KEY_ID_BYTES, "big")),
            Node("value", {}, bundle.signed_prekey),
            Node("signature", {}, signature),
        ]),
    ]  # fmt: skip
    if bundle.prekey_id is not None and bundle.prekey is not None:
        prekey_id = Node("id", {}, bundle.prekey_id.to_bytes(_KEY_ID_BYTES, "big"))
        nodes.append(Node("key", {}, [prekey_id, Node("value", {}, bundle.prekey)]))
    return nodes


def _bundle_in(node: Node) -> Bundle | None:
    """Return the bundle inside a retry receipt, if there is one."""
    keys = node.child("keys")
    if keys is None:
        return None
    signed, key = keys.need_child("skey"), keys.child("key")
    return Bundle(
        registration_id=node.need_child("registration").integer(),
        identity=keys.need_child("identity").key(),
        signed_prekey_id=signed.need_child("id").integer(),
        signed_prekey=signed.need_child("value").key(),
        prekey_id=key.need_child("id").integer() if key else None,
        prekey=key.need_child("value").key() if key else None,
    )


def _others_devices(sender: Account, recipient: Account) -> list[Device]:
    return [] if recipient is sender else list(recipient.devices.values())


def _receipts(reader: Account, writer: Account, message_id: str, further: str) -> Iterator[Mail]:
    """Tell all linked devices of ``writer`` that ``reader``'s phone has a message, and perhaps that it was read."""
    for kind in filter(lambda kind: kind is not None, ("", further or None)):
        for device in writer.devices.values():
            attributes: Attributes = {
                "from": reader.lid_jid, "id": message_id, "type": kind or None, "t": int(time.time()),
            }  # fmt: skip
            yield Mail(device, Node("receipt", attributes))
