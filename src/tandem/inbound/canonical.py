"""One form for every message, however it came: its chat, its people, its key. Pure.

A person has two addresses, a phone number and a LID, and WhatsApp uses either, sometimes with the other one beside it.
The number wins where it is known. A chat of which only the LID is known stays under the LID.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tandem.errors import PoisonMessage
from tandem.model.ids import (
    LID_SERVER,
    OLD_USER_SERVER,
    PEOPLE,
    USER_SERVER,
    AccountId,
    ChatId,
    Jid,
    MessageKey,
    Number,
    message_key,
)
from tandem.model.message import DecodedMessage, Message, Standing

_LATEST = 4_102_444_800_000  # 2100-01-01: what lies beyond is no time a message was sent at

Lookup = Callable[[str], str | None]
"""User part of a LID → user part of the phone-number address, if known."""


@dataclass(frozen=True, slots=True)
class Canonical:
    """The message, and further keys under which a copy of it may be known."""

    message: Message
    aliases: tuple[MessageKey, ...] = ()


def pairs_of(decoded: DecodedMessage) -> tuple[tuple[str, str], ...]:
    """Return the pairs (LID, number) that the addresses of a message give away."""
    couples = [(decoded.sender, decoded.sender_alt)]
    if decoded.from_me and decoded.chat.server in PEOPLE:
        couples.append((decoded.chat, decoded.recipient_alt))
    pairs = (_pair(one, other) for one, other in couples if other is not None)
    return tuple(pair for pair in pairs if pair)


def canonical(
    decoded: DecodedMessage, account: AccountId, own: Number | None, received_at: int, number_of: Lookup
) -> Canonical:
    """Return the message in its one form. ``own`` is the account's number, ``received_at`` in Unix milliseconds.

    ``number_of`` must know what ``pairs_of`` found. Raises PoisonMessage for a message without an id.
    """
    if not decoded.message_id:
        raise PoisonMessage("a message without an id")
    direct = decoded.chat.server in PEOPLE and not decoded.is_group
    chat = _person(decoded.chat, number_of) if direct else decoded.chat.bare()
    own_address = str(Jid(own.removeprefix("+"), USER_SERVER)) if own else ""
    sender = _person(decoded.sender, number_of)
    key, aliases = _keys(decoded, "" if direct else str(chat), sender)
    message = Message(
        account=account,
        chat=ChatId(str(chat)),
        key=key,
        message_id=decoded.message_id,
        sender=(own_address if decoded.from_me else "") or str(sender),
        sender_name=decoded.push_name,
        recipient=own_address if direct and not decoded.from_me else str(chat),
        from_me=decoded.from_me,
        kind=decoded.kind,
        text=decoded.text,
        has_media=decoded.has_media,
        reply_to=decoded.reply_to,
        timestamp=decoded.timestamp if 0 < decoded.timestamp < _LATEST else received_at,
        received_at=received_at,
        raw=decoded.raw,
        standing=Standing.first(from_me=decoded.from_me),
    )
    return Canonical(message, aliases)


def _keys(decoded: DecodedMessage, group: str, sender: Jid) -> tuple[MessageKey, tuple[MessageKey, ...]]:
    """In a group the participant belongs to the key, under either name; oneself is nobody else's namesake."""
    identifier, from_me = decoded.message_id, decoded.from_me
    if not group or from_me:
        return message_key(identifier, from_me=from_me, group=group), ()
    users = {decoded.sender.user, decoded.sender_alt.user if decoded.sender_alt else sender.user}
    others = sorted(users - {sender.user})
    aliases = tuple(message_key(identifier, from_me=False, group=group, participant=user) for user in others)
    return message_key(identifier, from_me=False, group=group, participant=sender.user), aliases


def _person(address: Jid, number_of: Lookup) -> Jid:
    if address.server == LID_SERVER:
        number = number_of(address.user)
        return Jid(number, USER_SERVER) if number else address.bare()
    server = USER_SERVER if address.server == OLD_USER_SERVER else address.server
    return Jid(address.user, server)


def _pair(one: Jid, other: Jid) -> tuple[str, str] | None:
    if one.server == LID_SERVER and other.server == USER_SERVER:
        return one.user, other.user
    if other.server == LID_SERVER and one.server == USER_SERVER:
        return other.user, one.user
    return None
