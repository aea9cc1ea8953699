"""WhatsApp's binary node encoding: tokens, packed strings, addresses, lists. Source: whatsmeow's ``binary`` package.

A payload is one flag byte (2: the rest is zlib-compressed) and one node. A node is a list: tag, attribute pairs and, if
the list is of even length, a content.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

from wa_emulator.nodes import JID, LID_SERVER, USER_SERVER, Node, ProtocolViolation, Value
from wa_library.tokens import TokenTables

LIST_EMPTY: Final = 0
DICTIONARY_0: Final = 236
DICTIONARY_3: Final = 239
INTEROP_JID: Final = 245
FB_JID: Final = 246
AD_JID: Final = 247
LIST_8: Final = 248
LIST_16: Final = 249
JID_PAIR: Final = 250
HEX_8: Final = 251
BINARY_8: Final = 252
BINARY_20: Final = 253
BINARY_32: Final = 254
NIBBLE_8: Final = 255

_COMPRESSED: Final = 2
_ODD: Final = 128
_PACKED_MAX: Final = 127
_LENGTH_8: Final = 1 << 8
_LENGTH_16: Final = 1 << 16
_LENGTH_20: Final = 1 << 20
_DEEPEST: Final = 64
_LARGEST: Final = 1 << 24

_HEX_TO_NIBBLE: Final = str.maketrans("ab", "-.")
_NIBBLE_TO_HEX: Final = str.maketrans("-.", "AB")
_NIBBLES: Final = re.compile(r"[0-9.-]+")
_HEXES: Final = re.compile(r"[0-9A-F]+")
_PADDING: Final = "F"
_REMEMBERED: Final = 8_192
"""Strings whose encoding is kept: a message's id and addresses are written once for each device."""
_AGENTS: Final = {USER_SERVER: 0, LID_SERVER: 1, "hosted": 128, "hosted.lid": 129}
_AGENT_SERVERS: Final = {agent: server for server, agent in _AGENTS.items()}
_ALWAYS_WITH_DEVICE: Final = ("hosted", "hosted.lid")
_FB_SERVER: Final = "msgr"
_INTEROP_SERVER: Final = "interop"


class Codec:
    """Encodes and decodes nodes with one set of token tables."""

    def __init__(self, tables: TokenTables) -> None:
        self._single = tables.single
        self._double = tables.double
        self._encode_string = lru_cache(_REMEMBERED)(partial(_encoded, tokens=_token_index(tables)))

    def encode(self, node: Node) -> bytes:
        """Return the payload of ``node``, uncompressed."""
        writer = _Writer(self._encode_string)
        writer.node(node)
        return bytes(writer.out)

    def decode(self, payload: bytes) -> Node:
        """Return the node of ``payload``. Raises ProtocolViolation for anything that is not exactly one node."""
        if not payload:
            raise ProtocolViolation("empty payload")
        body = _inflate(payload[1:]) if payload[0] & _COMPRESSED else payload[1:]
        reader = _Reader(body, self._single, self._double)
        try:
            node = reader.node(0)
        except (IndexError, UnicodeDecodeError) as error:
            raise ProtocolViolation("truncated or malformed node") from error
        if reader.at != len(body):
            raise ProtocolViolation("bytes after the node")
        return node


def _token_index(tables: TokenTables) -> dict[str, bytes]:
    index: dict[str, bytes] = {}
    for dictionary, tokens in enumerate(tables.double):
        for code, token in enumerate(tokens):
            index.setdefault(token, bytes((DICTIONARY_0 + dictionary, code)))
    index.update({token: bytes((code,)) for code, token in enumerate(tables.single) if token})
    index.pop("", None)
    return index


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(data, _LARGEST)
    except zlib.error as error:
        raise ProtocolViolation("payload does not decompress") from error
    if inflater.unconsumed_tail or not inflater.eof:
        raise ProtocolViolation("compressed payload is truncated or too large")
    return body


class _Writer:
    """Appends encoded values to ``out``, which starts with the flag byte."""

    def __init__(self, encode_string: Callable[[str], bytes]) -> None:
        self.out = bytearray((0,))
        self._encode_string = encode_string

    def node(self, node: Node) -> None:
        attributes = [(name, value) for name, value in node.attributes.items() if value is not None and value != ""]
        self._list_start(1 + 2 * len(attributes) + (node.content is not None))
        self._string(node.tag)
        for name, value in attributes:
            self._string(name)
            self._value(value)
        if isinstance(node.content, list):
            self._list_start(len(node.content))
            for child in node.content:
                self.node(child)
        elif isinstance(node.content, bytes):
            self.out += _binary(node.content)
        elif node.content is not None:
            self._string(node.content)

    def _value(self, value: Value) -> None:
        if isinstance(value, str):
            self._string(value)
        elif isinstance(value, JID):
            self._jid(value)
        else:
            self._string(str(value))

    def _string(self, text: str) -> None:
        self.out += self._encode_string(text)

    def _jid(self, jid: JID) -> None:
        if jid.server in _ALWAYS_WITH_DEVICE or (jid.device and jid.server in _AGENTS):
            self.out += bytes((AD_JID, _AGENTS[jid.server], jid.device))
            self._string(jid.user)
        elif jid.server == _FB_SERVER:
            self.out.append(FB_JID)
            self._string(jid.user)
            self.out += jid.device.to_bytes(2, "big")
            self._string(jid.server)
        elif jid.server == _INTEROP_SERVER:
            self.out.append(INTEROP_JID)
            self._string(jid.user)
            self.out += jid.device.to_bytes(2, "big") + jid.integrator.to_bytes(2, "big")
            self._string(jid.server)
        else:
            self._jid_pair(jid)

    def _jid_pair(self, jid: JID) -> None:
        self.out.append(JID_PAIR)
        if jid.user:
            self._string(jid.user)
        else:
            self.out.append(LIST_EMPTY)
        self._string(jid.server)

    def _list_start(self, length: int) -> None:
        if length == 0:
            self.out.append(LIST_EMPTY)
        elif length < _LENGTH_8:
            self.out += bytes((LIST_8, length))
        elif length < _LENGTH_16:
            self.out.append(LIST_16)
            self.out += length.to_bytes(2, "big")
        else:
            raise ValueError(f"a list of {length} does not fit the encoding")


def _encoded(text: str, tokens: dict[str, bytes]) -> bytes:
    """Return a string in the shortest form there is: a token, half-bytes, or UTF-8."""
    token = tokens.get(text)
    if token is not None:
        return token
    if len(text) <= _PACKED_MAX:
        if _NIBBLES.fullmatch(text):
            return _packed(NIBBLE_8, text.translate(_NIBBLE_TO_HEX))
        if _HEXES.fullmatch(text):
            return _packed(HEX_8, text)
    return _binary(text.encode())


def _packed(kind: int, digits: str) -> bytes:
    odd = len(digits) % 2
    halves = bytes.fromhex(digits + _PADDING if odd else digits)
    return bytes((kind, len(halves) | (_ODD if odd else 0))) + halves


def _binary(data: bytes) -> bytes:
    length = len(data)
    if length < _LENGTH_8:
        return bytes((BINARY_8, length)) + data
    if length < _LENGTH_20:
        return bytes((BINARY_20,)) + length.to_bytes(3, "big") + data
    return bytes((BINARY_32,)) + length.to_bytes(4, "big") + data


class _Reader:
    """Reads values from ``data``; running off its end raises IndexError."""

    def __init__(self, data: bytes, single: tuple[str, ...], double: tuple[tuple[str, ...], ...]) -> None:
        self.at = 0
        self._data = data
        self._single = single
        self._double = double

    def node(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise ProtocolViolation("nodes nested too deeply")
        length = self._list_length(self._byte())
        if length == 0:
            raise ProtocolViolation("a node without a tag")
        tag = self._text()
        attributes = {self._text(): self._value() for _ in range((length - 1) // 2)}
        return Node(tag, attributes, self._content(depth) if length % 2 == 0 else None)

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "big")

    def _take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._data):
            raise IndexError
        taken = self._data[self.at : end]
        self.at = end
        return taken

    def _list_length(self, kind: int) -> int:
        if kind == LIST_8:
            return self._byte()
        if kind == LIST_16:
            return self._number(2)
        if kind == LIST_EMPTY:
            return 0
        raise ProtocolViolation(f"byte {kind} does not start a list")

    def _text(self) -> str:
        value = self._value()
        if not isinstance(value, str):
            raise ProtocolViolation("a name is not a string")
        return value

    def _content(self, depth: int) -> list[Node] | bytes | str | None:
        kind = self._data[self.at]
        if kind in (LIST_8, LIST_16):
            return [self.node(depth + 1) for _ in range(self._list_length(self._byte()))]
        if kind in (BINARY_8, BINARY_20, BINARY_32):
            return self._binary(self._byte())
        value = self._value()
        return str(value) if isinstance(value, JID) else value

    def _value(self) -> str | JID | None:
        kind = self._byte()
        if LIST_EMPTY < kind < len(self._single):
            return self._single[kind]
        if DICTIONARY_0 <= kind <= DICTIONARY_3:
            return self._double[kind - DICTIONARY_0][self._byte()]
        if kind in (BINARY_8, BINARY_20, BINARY_32):
            return self._binary(kind).decode()
        if kind in (HEX_8, NIBBLE_8):
            return self._unpacked(kind)
        if kind == LIST_EMPTY:
            return None
        return self._jid(kind)

    def _binary(self, kind: int) -> bytes:
        if kind == BINARY_8:
            return self._take(self._byte())
        if kind == BINARY_20:
            return self._take(self._number(3) & (_LENGTH_20 - 1))
        return self._take(self._number(4))

    def _jid(self, kind: int) -> JID:
        if kind == JID_PAIR:
            user = self._value()
            return JID(str(user or ""), self._text())
        if kind == AD_JID:
            agent, device = self._byte(), self._byte()
            return JID(self._text(), _AGENT_SERVERS.get(agent, USER_SERVER), device)
        if kind in (FB_JID, INTEROP_JID):
            user, device = self._text(), self._number(2)
            integrator = self._number(2) if kind == INTEROP_JID else 0
            return JID(user, self._text(), device, integrator)
        raise ProtocolViolation(f"unknown token {kind}")

    def _unpacked(self, kind: int) -> str:
        start = self._byte()
        digits = self._take(start & _PACKED_MAX).hex()
        if start & _ODD:
            digits = digits[:-1]
        if kind == HEX_8:
            return digits.upper()
        text = digits.translate(_HEX_TO_NIBBLE)
        if text and not _NIBBLES.fullmatch(text):
            raise ProtocolViolation("a packed string holds an unknown half-byte")
        return text
