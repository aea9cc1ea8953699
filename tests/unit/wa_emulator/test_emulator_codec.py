from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_emulator import codec as encoding
from wa_emulator.codec import Codec
from wa_emulator.nodes import JID, SERVER, Node, ProtocolViolation
from wa_library.tokens import token_tables

TABLES = token_tables()
CODEC = Codec(TABLES)

tokens = st.sampled_from([*(t for t in TABLES.single if t), *(t for table in TABLES.double for t in table if t)])
nibbles = st.text("0123456789-.", min_size=1, max_size=130)
hexes = st.text("0123456789ABCDEF", min_size=1, max_size=130)
texts = st.one_of(tokens, nibbles, hexes, st.text(min_size=1, max_size=300))
users = st.one_of(nibbles, st.text("abcdefgh123", min_size=1, max_size=20))
devices, shorts, none = st.integers(0, 255), st.integers(0, 65535), st.just(0)
jids = st.one_of(
    st.builds(JID, users, st.sampled_from(["s.whatsapp.net", "lid", "hosted", "hosted.lid"]), devices, none),
    st.builds(JID, users, st.sampled_from(["g.us", "broadcast", "newsletter"]), none, none),
    st.builds(JID, users, st.just("msgr"), shorts, none),
    st.builds(JID, users, st.just("interop"), shorts, shorts),
    st.just(SERVER),
)
attributes = st.dictionaries(texts, st.one_of(texts, jids), max_size=6)
contents = st.one_of(st.none(), st.binary(max_size=400), tokens)
nodes = st.recursive(
    st.builds(Node, texts, attributes, contents),
    lambda children: st.builds(Node, texts, attributes, st.lists(children, min_size=1, max_size=5)),
    max_leaves=12,
)


@given(nodes)
def test_what_is_encoded_decodes_to_the_same(node: Node) -> None:
    assert CODEC.decode(CODEC.encode(node)) == node


@given(nodes)
def test_compressed_payloads_are_read(node: Node) -> None:
    payload = CODEC.encode(node)
    assert CODEC.decode(b"\x02" + zlib.compress(payload[1:])) == node


@given(nodes)
def test_every_truncation_is_a_violation(node: Node) -> None:
    payload = CODEC.encode(node)
    for end in range(0, len(payload), max(1, len(payload) // 20)):
        with pytest.raises(ProtocolViolation):
            CODEC.decode(payload[:end])


@given(st.binary(max_size=200))
def test_garbage_is_a_node_or_a_violation_and_nothing_else(garbage: bytes) -> None:
    try:
        CODEC.decode(garbage)
    except ProtocolViolation:
        return


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (SERVER, bytes((encoding.JID_PAIR, encoding.LIST_EMPTY, 3))),
        (JID("98"), bytes((encoding.JID_PAIR, encoding.NIBBLE_8, 1, 0x98, 3))),
        (JID("98", "s.whatsapp.net", 7), bytes((encoding.AD_JID, 0, 7, encoding.NIBBLE_8, 1, 0x98))),
        (JID("98", "lid", 7), bytes((encoding.AD_JID, 1, 7, encoding.NIBBLE_8, 1, 0x98))),
        ("123", bytes((encoding.NIBBLE_8, 0x82, 0x12, 0x3F))),
        ("AB1", bytes((encoding.HEX_8, 0x82, 0xAB, 0x1F))),
        ("type", bytes((4,))),
        ("read-self", bytes((encoding.DICTIONARY_0, 0))),
    ],
    ids=str,
)
def test_addresses_and_strings_take_the_form_that_clients_expect(value: str | JID, encoded: bytes) -> None:
    assert CODEC.encode(Node("type", {"from": value})) == b"\0" + bytes((encoding.LIST_8, 3, 4, 6)) + encoded


@pytest.mark.parametrize("length", [0, 255, 256, (1 << 20) - 1, 1 << 20])
def test_data_of_all_sizes(length: int) -> None:
    node = Node("enc", {}, bytes(length))
    assert CODEC.decode(CODEC.encode(node)) == node


def test_long_lists() -> None:
    node = Node("list", {}, [Node("key", {"id": number}) for number in range(812)])
    decoded = CODEC.decode(CODEC.encode(node))
    assert [child.text("id") for child in decoded.children] == [str(number) for number in range(812)]


def test_absent_attributes_are_not_sent() -> None:
    assert CODEC.decode(CODEC.encode(Node("iq", {"type": None, "id": "", "to": "x"}))) == Node("iq", {"to": "x"})


def test_bombs_are_refused() -> None:
    with pytest.raises(ProtocolViolation, match="too large"):
        CODEC.decode(b"\x02" + zlib.compress(bytes(1 << 25)))
    nested = Node("a")
    for _ in range(100):
        nested = Node("a", {}, [nested])
    with pytest.raises(ProtocolViolation, match="deep"):
        CODEC.decode(CODEC.encode(nested))


def test_bytes_after_the_node_are_refused() -> None:
    with pytest.raises(ProtocolViolation, match="after"):
        CODEC.decode(CODEC.encode(Node("iq")) + b"\0")
