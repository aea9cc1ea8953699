"""The self-probe: a message that nobody sees, from one device of an account to the account's own number.

It takes back a reaction that was never there. Its secret says what it is, so its echo is known whenever it comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Final

from tandem.model.ids import USER_SERVER, ChatId, Jid, Number
from tandem.model.outbox import Content, Reaction, Target

_MARK: Final = blake2s(b"tandem self-probe", digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Probe:
    """What to send where, and the 32-byte secret by which its echo is known."""

    chat: ChatId
    content: Content
    secret: bytes = field(repr=False)


def probe_of(number: Number, token: str, at: float) -> Probe:
    """Return a new probe. ``token`` is unique, ``at`` in Unix seconds."""
    own = str(Jid(number.removeprefix("+"), USER_SERVER))
    target = Target(f"3EB0{token[:18].upper()}", own, from_me=True)
    secret = _MARK + blake2s(token.encode(), digest_size=16).digest()
    return Probe(ChatId(own), Reaction("", target, int(at * 1000)), secret)


def is_probe(secret: bytes) -> bool:
    """Whether a message with this secret is a self-probe, of whatever time."""
    return secret.startswith(_MARK)
