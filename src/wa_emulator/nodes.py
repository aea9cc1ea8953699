"""The two values of the protocol: addresses (JIDs) and XML-like nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

USER_SERVER = "s.whatsapp.net"
LID_SERVER = "lid"
GROUP_SERVER = "g.us"
_KEY_BYTES = 32
_LONGEST_DEVICE = 5


class ProtocolViolation(Exception):  # noqa: N818 - it names what the client did
    """A client sent bytes or a stanza that no WhatsApp client may send. Its connection is closed."""


class JID(NamedTuple):
    """An address: a phone number or LID at a server, one of its devices (0 is the phone itself)."""

    user: str = ""
    server: str = USER_SERVER
    device: int = 0
    integrator: int = 0

    def __str__(self) -> str:
        if not self.user:
            return self.server
        device = f":{self.device}" if self.device else ""
        return f"{self.user}{device}@{self.server}"

    @property
    def bare(self) -> JID:
        """The same user without a device."""
        return JID(self.user, self.server)

    @classmethod
    def parse(cls, text: str) -> JID:
        """Read ``user:device@server``. Raises ProtocolViolation if it is not of that form."""
        address, _, server = text.rpartition("@")
        user, _, device = address.partition(":")
        if not server or (device and not device.isdecimal()) or len(device) > _LONGEST_DEVICE:
            raise ProtocolViolation("an address is not of the form user:device@server")
        return cls(user, server, int(device or 0))


SERVER = JID()
"""The server itself. It must travel as an address, not as a string: whatsmeow compares typed addresses."""

Value = str | int | JID | None
Attributes = Mapping[str, Value]


@dataclass(slots=True)
class Node:
    """A tag with attributes and either child nodes, data, or nothing. Attributes that are None are not sent."""

    tag: str
    attributes: Attributes = field(default_factory=dict)
    content: list[Node] | bytes | str | None = None

    @property
    def children(self) -> Sequence[Node]:
        return self.content if isinstance(self.content, list) else ()

    def child(self, *path: str) -> Node | None:
        """Return the first descendant along these tags, or None."""
        node: Node | None = self
        for tag in path:
            node = next((child for child in node.children if child.tag == tag), None) if node else None
        return node

    def need_child(self, *path: str) -> Node:
        """Return the same, or raise ProtocolViolation."""
        found = self.child(*path)
        if found is None:
            raise ProtocolViolation(f"<{self.tag}> has no <{'/'.join(path)}>")
        return found

    def text(self, name: str) -> str:
        """Return an attribute as text, empty if absent."""
        value = self.attributes.get(name)
        return "" if value is None else str(value)

    def need_text(self, name: str) -> str:
        """Return an attribute as text, or raise ProtocolViolation."""
        text = self.text(name)
        if not text:
            raise ProtocolViolation(f"<{self.tag}> has no {name}")
        return text

    def number(self, name: str, default: int) -> int:
        """Return an attribute as a number. Raises ProtocolViolation if it is present and none."""
        text = self.text(name)
        if text and not text.isdecimal():
            raise ProtocolViolation(f"<{self.tag}> has a {name} that is no number")
        return int(text) if text else default

    def jid(self, name: str) -> JID | None:
        """Return an attribute as an address, whether it was sent as one or as text; None if absent."""
        value = self.attributes.get(name)
        if isinstance(value, JID):
            return value
        return JID.parse(value) if isinstance(value, str) and value else None

    def need_jid(self, name: str) -> JID:
        """Return the same, or raise ProtocolViolation."""
        jid = self.jid(name)
        if jid is None:
            raise ProtocolViolation(f"<{self.tag}> has no {name}")
        return jid

    def data(self) -> bytes:
        """Return the content as bytes (strings can arrive packed). Raises ProtocolViolation if there are none."""
        if isinstance(self.content, str):
            return self.content.encode()
        if not isinstance(self.content, bytes):
            raise ProtocolViolation(f"<{self.tag}> carries no data")
        return self.content

    def key(self) -> bytes:
        """Return the content if it is the 32 bytes of a key. Raises ProtocolViolation."""
        data = self.data()
        if len(data) != _KEY_BYTES:
            raise ProtocolViolation(f"<{self.tag}> is not a key of {_KEY_BYTES} bytes")
        return data

    def integer(self) -> int:
        """Return the content as a big-endian number, as key ids travel."""
        return int.from_bytes(self.data(), "big")

    def outline(self) -> str:
        """Describe the node for the transcript: attributes in full, data only by its length."""
        attributes = "".join(f' {name}="{value}"' for name, value in self.attributes.items() if value is not None)
        if self.content is None:
            return f"<{self.tag}{attributes}/>"
        if isinstance(self.content, list):
            inner = "".join(child.outline() for child in self.content)
        else:
            inner = f"[{len(self.content)} bytes]"
        return f"<{self.tag}{attributes}>{inner}</{self.tag}>"
