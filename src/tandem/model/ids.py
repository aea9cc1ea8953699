"""Names of things: accounts, chats, messages. All deterministic, none shows a phone number where it need not."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import NewType

import phonenumbers

AccountId = NewType("AccountId", str)
Number = NewType("Number", str)
"""A canonical E.164 phone number, with its plus sign."""
ChatId = NewType("ChatId", str)
"""A canonical chat: ``<digits>@s.whatsapp.net``, ``<lid>@lid``, ``<group>@g.us`` …; never a device."""
MessageKey = NewType("MessageKey", str)
"""Identity of a message within its account and chat; safe as a document id."""

USER_SERVER = "s.whatsapp.net"
LID_SERVER = "lid"
OLD_USER_SERVER = "c.us"
PEOPLE = frozenset({USER_SERVER, LID_SERVER, OLD_USER_SERVER})
"""Servers of the addresses of persons; all others name groups and the like."""
GROUP_SERVER = "g.us"

_WRITTEN_NUMBER = re.compile(r"\+?[0-9 ().-]+")
_NOT_A_NUMBER = "not a phone number: write it in international form with its country code, such as +12025550123"
_ACCOUNT_NAMESPACE = b"tandem account"
_KEPT_FORMS = (
    (re.compile(r"^(55\d\d)9(\d{8})$"), r"\1\2"),
    (re.compile(r"^521(\d{10})$"), r"52\1"),
    (re.compile(r"^549(\d{10})$"), r"54\1"),
)
_SAFE_MESSAGE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")


class InvalidNumber(ValueError):  # noqa: N818 - names what is wrong with the input
    """Not a phone number that could exist. The text says why and never repeats the number."""


def canonical_number(written: str) -> Number:
    """Return the E.164 form of a number written in international form, however it is spaced or prefixed.

    Accepts ``+``, ``00`` or bare digits with the country code. Raises InvalidNumber.
    """
    text = written.strip().removeprefix("00")
    if not _WRITTEN_NUMBER.fullmatch(text):
        raise InvalidNumber(_NOT_A_NUMBER)
    if not text.startswith("+"):
        text = "+" + text
    try:
        parsed = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException as error:
        raise InvalidNumber(_NOT_A_NUMBER) from error
    if not phonenumbers.is_possible_number(parsed):
        raise InvalidNumber("no such phone number is possible: check its country code and its length")
    return Number(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def account_id(number: Number) -> AccountId:
    """Return the account of a number: a keyed digest, the same on every machine and in every year."""
    return AccountId(hashlib.blake2s(number.encode(), key=_ACCOUNT_NAMESPACE, digest_size=8).hexdigest())


def masked(number: str) -> str:
    """Return a number as logs and readers without the admin token may see it: ``+120****23``."""
    return number if len(number) <= 4 else f"{number[:4]}{'*' * 4}{number[-2:]}"  # noqa: PLR2004 - shape of the mask


@dataclass(frozen=True, slots=True)
class Jid:
    """A WhatsApp address. ``device`` is 0 for the phone itself and for anything that has no devices."""

    user: str
    server: str
    device: int = 0

    def bare(self) -> Jid:
        return Jid(self.user, self.server)

    def __str__(self) -> str:
        device = f":{self.device}" if self.device else ""
        return f"{self.user}{device}@{self.server}" if self.user else self.server

    @classmethod
    def parse(cls, text: str) -> Jid:
        """Inverse of ``str``. Raises ValueError for anything else."""
        user, at, server = text.rpartition("@")
        name, colon, device = user.partition(":")
        if not at or not server or not name or (colon and not device.isdigit()):
            raise ValueError("not a WhatsApp address: expected user@server")
        return cls(name, server, int(device) if colon else 0)


def same_number(number: Number, user: str) -> bool:
    """Whether the user part of a device's address is this number.

    WhatsApp kept the older form of some numbers: Brazil without its ninth digit, Mexico and Argentina with or without
    the digit after the country code.
    """
    return _kept_form(number.removeprefix("+")) == _kept_form(user)


def _kept_form(digits: str) -> str:
    for written, kept in _KEPT_FORMS:
        digits = written.sub(kept, digits)
    return digits


def chat_of_number(number: Number) -> ChatId:
    return ChatId(f"{number.removeprefix('+')}@{USER_SERVER}")


def message_key(message_id: str, *, from_me: bool, group: str = "", participant: str = "") -> MessageKey:
    """Identity of a message: equal for both slots, for redelivery, for offline and history copies.

    In a direct chat WhatsApp's id and the direction suffice, so that the phone-number and the LID form of one person
    meet. In a group the group and the participant's user belong to it, since any member may choose any id. Ids that
    are not safe as a document id are replaced by their digest.
    """
    safe = message_id if _SAFE_MESSAGE_ID.fullmatch(message_id) else _digest(message_id)
    suffix = _digest(f"{group}\n{participant}") if group else ""
    return MessageKey("-".join(part for part in (safe, "out" if from_me else "in", suffix) if part))


def own_key(message_id: str, chat: Jid) -> MessageKey:
    """Identity of an own message in a chat, under whichever of its addresses."""
    return message_key(message_id, from_me=True, group="" if chat.server in PEOPLE else str(chat.bare()))


def _digest(text: str) -> str:
    return hashlib.blake2s(text.encode(), digest_size=8).hexdigest()
