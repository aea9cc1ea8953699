"""The library's protobuf classes, for the daemon. Loads generated code only, never the shared library."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.message import DecodeError

from tandem.errors import PoisonMessage
from wa_library import package


@cache
def neonize() -> Any:
    """The module of the library's own events and answers."""
    return package.proto("Neonize_pb2")


@cache
def e2e() -> Any:
    """The module of WhatsApp's messages."""
    return package.proto("waE2E.WAWebProtobufsE2E_pb2")


@cache
def common() -> Any:
    """The module of what WhatsApp's other modules share: names of messages."""
    return package.proto("waCommon.WACommon_pb2")


@cache
def registration() -> Any:
    """The module of what a device says of itself when it is linked."""
    return package.proto("waCompanionReg.WAWebProtobufsCompanionReg_pb2")


def load() -> None:
    """Import everything that decoding needs. Takes a third of a second once: call it off the event loop."""
    for module in (neonize, e2e, common, registration):
        module()


def parsed(message_class: Any, data: bytes, what: str) -> Any:
    """Parse bytes. Raises PoisonMessage, naming ``what`` and nothing of the content."""
    try:
        return message_class.FromString(data)
    except (DecodeError, ValueError, RecursionError):
        raise PoisonMessage(f"{what} of {len(data)} bytes cannot be decoded") from None
