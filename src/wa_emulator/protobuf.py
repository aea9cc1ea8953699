"""Just enough protobuf for Signal's two message types, whose generated classes neonize does not ship."""

from __future__ import annotations

from wa_emulator.nodes import ProtocolViolation

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_CONTINUES = 0x80
_LARGEST_SHIFT = 63


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= _CONTINUES:
        out.append(value & 0x7F | _CONTINUES)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | bytes) -> bytes:
    """Return one encoded field."""
    if isinstance(value, bytes):
        return varint(number << 3 | _BYTES) + varint(len(value)) + value
    return varint(number << 3 | _VARINT) + varint(value)


class Message:
    """A parsed message: the last value of each field. Raises ProtocolViolation for bytes that are none."""

    def __init__(self, data: bytes) -> None:
        self._raw = data
        self._at = 0
        self._fields: dict[int, int | bytes] = {}
        while self._at < len(data):
            key = self._varint()
            self._fields[key >> 3] = self._value(key & 7)

    def number(self, field_number: int, default: int = 0) -> int:
        value = self._fields.get(field_number, default)
        if not isinstance(value, int):
            raise ProtocolViolation(f"protobuf field {field_number} is not a number")
        return value

    def optional_number(self, field_number: int) -> int | None:
        return self.number(field_number) if field_number in self._fields else None

    def data(self, field_number: int) -> bytes:
        value = self._fields.get(field_number)
        if not isinstance(value, bytes):
            raise ProtocolViolation(f"protobuf field {field_number} is missing")
        return value

    def _value(self, wire_type: int) -> int | bytes:
        if wire_type == _VARINT:
            return self._varint()
        if wire_type == _BYTES:
            return self._take(self._varint())
        if wire_type in (_FIXED_32, _FIXED_64):
            return int.from_bytes(self._take(4 if wire_type == _FIXED_32 else 8), "little")
        raise ProtocolViolation(f"protobuf wire type {wire_type}")

    def _varint(self) -> int:
        value = 0
        for shift in range(0, _LARGEST_SHIFT + 1, 7):
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < _CONTINUES:
                return value
        raise ProtocolViolation("an endless protobuf number")

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._raw):
            raise ProtocolViolation("truncated protobuf message")
        taken = self._raw[self._at : end]
        self._at = end
        return taken
