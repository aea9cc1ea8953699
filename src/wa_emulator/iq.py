"""Info queries: a table of those the emulator knows. Every other one gets an empty result, as clients expect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from wa_emulator.connection import Connection
from wa_emulator.directory import Account, Device, Directory
from wa_emulator.nodes import JID, SERVER, Attributes, Node, ProtocolViolation, Value
from wa_emulator.phones import bundle_nodes

_MOST_PREKEYS: Final = 5_000
_REGISTRATION_BYTES: Final = 4
_MISSING = "404"

Handler = Callable[[Device, Connection, Node], None]


class Steps(Protocol):
    """What queries can cause beyond their answer."""

    def activated(self, device: Device, connection: Connection) -> None: ...

    def unlink(self, device: Device) -> None: ...


class InfoQueries:
    """Answers the iq stanzas of linked devices."""

    def __init__(self, directory: Directory, steps: Steps) -> None:
        self._directory = directory
        self._steps = steps
        self._handlers: dict[tuple[str, str, str], Handler] = {
            ("encrypt", "get", "count"): self._count_prekeys,
            ("encrypt", "set", "registration"): self._take_prekeys,
            ("encrypt", "set", "rotate"): self._rotate,
            ("encrypt", "get", "key"): self._hand_out_prekeys,
            ("usync", "get", "usync"): self._usync,
            ("passive", "set", "active"): self._activate,
            ("passive", "set", "passive"): self._deactivate,
            ("md", "set", "remove-companion-device"): self._remove_device,
            ("w:profile:picture", "get", "picture"): self._no_picture,
            ("privacy", "get", "privacy"): self._privacy,
        }

    def handle(self, device: Device, connection: Connection, node: Node) -> None:
        """Answer one query. Results and errors of the client need no answer."""
        if node.text("type") in ("result", "error"):
            return
        first = node.children[0].tag if node.children else ""
        handler = self._handlers.get((node.text("xmlns"), node.text("type"), first), _answer_nothing)
        handler(device, connection, node)

    def _count_prekeys(self, device: Device, connection: Connection, node: Node) -> None:
        connection.post(result(node, Node("count", {"value": len(device.prekeys)})))

    def _take_prekeys(self, device: Device, connection: Connection, node: Node) -> None:
        device.registration_id = node.need_child("registration").integer()
        device.identity = node.need_child("identity").key()
        _take_signed_prekey(device, node)
        for key in node.need_child("list").children:
            device.prekeys[key.need_child("id").integer()] = key.need_child("value").key()
        if len(device.prekeys) > _MOST_PREKEYS:
            raise ProtocolViolation("too many prekeys")
        self._directory.save_device(device)
        connection.post(result(node))

    def _rotate(self, device: Device, connection: Connection, node: Node) -> None:
        _take_signed_prekey(device, node.need_child("rotate"))
        self._directory.save_device(device)
        connection.post(result(node))

    def _hand_out_prekeys(self, _device: Device, connection: Connection, node: Node) -> None:
        users = [self._prekeys_of(user.need_jid("jid")) for user in node.need_child("key").children]
        connection.post(result(node, Node("list", {}, users)))

    def _prekeys_of(self, jid: JID) -> Node:
        account = self._directory.find_or_make(jid)
        device = account.devices.get(jid.device) if account else None
        if account is not None and jid.device == 0:
            published = account.phone.publish()
            bundle, signature = published.bundle, published.signature
        elif device is not None:
            bundle, signature = self._directory.take_bundle(device), device.signature
        else:
            return Node("user", {"jid": jid}, [Node("error", {"code": _MISSING, "text": "item-not-found"})])
        children = [
            Node("registration", {}, bundle.registration_id.to_bytes(_REGISTRATION_BYTES, "big")),
            Node("type", {}, b"\x05"),
            *bundle_nodes(bundle, signature),
        ]
        return Node("user", {"jid": jid}, children)

    def _usync(self, device: Device, connection: Connection, node: Node) -> None:
        request = node.need_child("usync")
        kinds = [kind.tag for kind in request.need_child("query").children]
        users = [self._usync_user(device, user, kinds) for user in request.need_child("list").children]
        attributes: dict[str, Value] = {name: request.text(name) for name in ("sid", "mode", "context")}
        attributes |= {"index": "0", "last": "true"}
        content = [Node("result", {}, [Node(kind) for kind in kinds]), Node("list", {}, users)]
        connection.post(result(node, Node("usync", attributes, content)))

    def _usync_user(self, device: Device, user: Node, kinds: list[str]) -> Node:
        jid, asked = _asked_for(user)
        account = self._directory.find_or_make(jid)
        if account is not None and not account.on_whatsapp:
            account = None
        if account is not None and "devices" in kinds:
            account.watchers.add(device)
        answers = (_usync_answer(kind, account, asked) for kind in kinds)
        attributes: dict[str, Value] = {"jid": jid}
        if account is not None and asked:
            attributes = {"jid": account.jid, "pn_jid": account.jid}
        return Node("user", attributes, [answer for answer in answers if answer is not None])

    def _activate(self, device: Device, connection: Connection, node: Node) -> None:
        connection.post(result(node))
        if not connection.active:
            connection.active = True
            self._steps.activated(device, connection)

    def _deactivate(self, _device: Device, connection: Connection, node: Node) -> None:
        connection.active = False
        connection.post(result(node))

    def _remove_device(self, device: Device, connection: Connection, node: Node) -> None:
        jid = node.need_child("remove-companion-device").need_jid("jid")
        if self._directory.find(jid) is not device.account:
            raise ProtocolViolation("a device of another account")
        connection.post(result(node))
        removed = device.account.devices.get(jid.device)
        if removed is not None:
            self._steps.unlink(removed)

    def _no_picture(self, _device: Device, connection: Connection, node: Node) -> None:
        error = Node("error", {"code": _MISSING, "text": "item-not-found"})
        attributes: Attributes = {"from": SERVER, "type": "error", "id": node.need_text("id")}
        connection.post(Node("iq", attributes, [error]))

    def _privacy(self, _device: Device, connection: Connection, node: Node) -> None:
        category = Node("category", {"name": "readreceipts", "value": "all"})
        connection.post(result(node, Node("privacy", {}, [category])))


def result(node: Node, *content: Node) -> Node:
    """Return the answer to a query."""
    attributes: Attributes = {"from": SERVER, "type": "result", "id": node.need_text("id")}
    return Node("iq", attributes, list(content) or None)


def _answer_nothing(_device: Device, connection: Connection, node: Node) -> None:
    connection.post(result(node))


def _take_signed_prekey(device: Device, node: Node) -> None:
    signed = node.need_child("skey")
    device.signed_prekey_id = signed.need_child("id").integer()
    device.signed_prekey = signed.need_child("value").key()
    device.signature = signed.need_child("signature").data()


def _asked_for(user: Node) -> tuple[JID, bytes]:
    """Return the address a usync user stands for, and the phone number as it was asked for, if it was by number."""
    jid, contact = user.jid("jid"), user.child("contact")
    if jid is not None:
        return jid, b""
    if contact is None:
        raise ProtocolViolation("a usync user without an address")
    asked = contact.data()
    number = asked.decode(errors="replace").lstrip("+").partition("@")[0]
    return JID(number), asked


def _usync_answer(kind: str, account: Account | None, asked: bytes) -> Node | None:
    if kind == "contact":
        return Node("contact", {"type": "in" if account else "out"}, asked or None)
    if account is None:
        return None
    if kind == "devices":
        devices = [Node("device", {"id": str(number), "key-index": number or None}) for number in account.device_ids()]
        return Node("devices", {}, [Node("device-list", {}, devices)])
    if kind == "lid":
        return Node("lid", {"val": account.lid_jid})
    return Node("status", {}, b"") if kind == "status" else None
