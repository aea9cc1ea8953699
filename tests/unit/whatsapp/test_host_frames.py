from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.whatsapp import frames
from tandem.whatsapp.frames import MAX_FRAME, Decoder, Frame, FrameError, Kind, encode

JSON_VALUES = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20) | st.lists(st.integers())
FRAMES = st.builds(
    Frame,
    st.sampled_from(Kind),
    st.dictionaries(st.text(max_size=10), JSON_VALUES, max_size=4),
    st.binary(max_size=300),
)


def decoded(data: bytes) -> list[Frame]:
    return list(Decoder().feed(data))


@given(st.lists(FRAMES, max_size=5), st.data())
def test_frames_survive_however_the_stream_is_cut(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode(frame) for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = Decoder()
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += list(decoder.feed(stream[start:end]))
    assert received == sent
    assert decoder.pending == 0


@given(FRAMES, st.data())
def test_a_truncated_frame_waits_for_its_rest_and_yields_nothing(frame: Frame, data: st.DataObject) -> None:
    stream = encode(frame)
    decoder = Decoder()
    end = data.draw(st.integers(0, len(stream) - 1))
    assert list(decoder.feed(stream[:end])) == []
    assert decoder.pending == end


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_one_error_or_waited_for(garbage: bytes) -> None:
    try:
        for frame in Decoder().feed(garbage):
            assert isinstance(frame.kind, Kind)
    except FrameError:
        pass


def test_a_bit_flip_anywhere_never_raises_anything_else() -> None:
    stream = bytearray(encode(Frame(Kind.EVENT, {"sequence": 7, "code": 17, "arrived_at": 1.5}, b"payload")))
    for at in range(len(stream)):
        for bit in range(8):
            flipped = bytearray(stream)
            flipped[at] ^= 1 << bit
            with contextlib.suppress(FrameError):
                decoded(bytes(flipped))


@pytest.mark.parametrize("length", [0, 1, 2, MAX_FRAME + 1, 0xFFFFFFFF])
def test_impossible_lengths_are_refused_at_once(length: int) -> None:
    with pytest.raises(FrameError, match="cannot be"):
        decoded(struct.pack(">I", length))


def body(kind: int, header: bytes, claimed: int | None = None) -> bytes:
    head = struct.pack(">BH", kind, len(header) if claimed is None else claimed)
    return struct.pack(">I", len(head) + len(header)) + head + header


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (body(200, b"{}"), "no kind"),
        (body(Kind.PING, b"{"), "not JSON"),
        (body(Kind.PING, b"\xff\xfe"), "not JSON"),
        (body(Kind.PING, b"[" * 60_000), "not JSON"),
        (body(Kind.PING, b"[1]"), "not an object"),
        (body(Kind.PING, b"{}", claimed=9), "longer than the frame"),
    ],
)
def test_malformed_frames_are_refused_in_words(data: bytes, complaint: str) -> None:
    with pytest.raises(FrameError, match=complaint):
        decoded(data)


def test_a_frame_too_large_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME", 100)
    with pytest.raises(FrameError, match="too large"):
        encode(Frame(Kind.EVENT, {}, bytes(101)))
    with pytest.raises(FrameError, match="too large"):
        encode(Frame(Kind.LOG, {"text": "x" * 70_000}))


@pytest.mark.parametrize("value", ["7", None, 7.5, True, [7]])
def test_header_numbers_are_checked(value: Any) -> None:
    frame = Frame(Kind.ACK, json.loads(json.dumps({"sequence": value})))
    with pytest.raises(FrameError, match="integer 'sequence'"):
        frame.number("sequence")


def test_header_texts_and_reals_are_checked() -> None:
    frame = Frame(Kind.PING, {"milliseconds": 3, "text": 3, "flag": True})
    assert frame.real("milliseconds") == 3.0
    assert frame.text("missing") == ""
    for read, name in ((frame.real, "flag"), (frame.real, "missing"), (frame.text, "text")):
        with pytest.raises(FrameError):
            read(name)


def test_a_payload_never_shows_in_a_repr() -> None:
    assert "secret" not in repr(Frame(Kind.QR, {}, b"secret"))
