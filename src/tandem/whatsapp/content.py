"""What a waE2E.Message says: its kind in one stable word, its text, what it refers to, its secret.

Kinds are a public contract (stored, shown, filtered by): ``text image video gif audio voice document sticker contact
contacts location live_location reaction poll poll_vote event group_invite album edit revoke pin keep list buttons
template interactive product order payment call comment question protocol unknown``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tandem.whatsapp.protos import e2e

_MAX_DEPTH = 16


class Content(NamedTuple):
    """``reply_to`` is the id of the message this one answers, reacts to, edits or revokes."""

    kind: str
    text: str = ""
    has_media: bool = False
    reply_to: str = ""


def content_of(message: Any) -> Content:
    """Return the content of a message, wrapped in whatever wrappers."""
    inner = unwrapped(message)
    for field, read in _READERS.items():
        if inner.HasField(field):
            return read(getattr(inner, field))
    return Content("unknown")


def unwrapped(message: Any) -> Any:
    """Return the innermost message: wrappers (ephemeral, view once, device sent, edited …) carry another one."""
    for _ in range(_MAX_DEPTH):
        wrapped = next(_wrapped(message), None)
        if wrapped is None:
            break
        message = wrapped
    return message


def secret_of(*messages: Any) -> bytes:
    """Return the first messageContextInfo.messageSecret in the messages or what they wrap; empty if there is none."""
    for message in messages:
        for layer in _layers(message):
            if layer.messageContextInfo.messageSecret:
                return bytes(layer.messageContextInfo.messageSecret)
    return b""


def _layers(message: Any) -> Iterator[Any]:
    for _ in range(_MAX_DEPTH):
        yield message
        message = next(_wrapped(message), None)
        if message is None:
            return


def _wrapped(message: Any) -> Iterator[Any]:
    for field, _ in message.ListFields():
        if field.message_type is not None and field.message_type.name in {"FutureProofMessage", "DeviceSentMessage"}:
            wrapper = getattr(message, field.name)
            if wrapper.HasField("message"):
                yield wrapper.message


def _quoted(part: Any) -> str:
    return str(part.contextInfo.stanzaID)


def _media(kind: str) -> Callable[[Any], Content]:
    def read(part: Any) -> Content:
        return Content(kind, str(getattr(part, "caption", "")), has_media=True, reply_to=_quoted(part))

    return read


def _video(part: Any) -> Content:
    return Content("gif" if part.gifPlayback else "video", str(part.caption), has_media=True, reply_to=_quoted(part))


def _audio(part: Any) -> Content:
    return Content("voice" if part.PTT else "audio", has_media=True, reply_to=_quoted(part))


def _document(part: Any) -> Content:
    text = part.caption or part.fileName or part.title
    return Content("document", str(text), has_media=True, reply_to=_quoted(part))


def _extended_text(part: Any) -> Content:
    return Content("text", str(part.text), reply_to=_quoted(part))


def _contact(part: Any) -> Content:
    return Content("contact", str(part.displayName), reply_to=_quoted(part))


def _contacts(part: Any) -> Content:
    names = ", ".join(contact.displayName for contact in part.contacts)
    return Content("contacts", names or str(part.displayName), reply_to=_quoted(part))


def _location(part: Any) -> Content:
    place = ", ".join(filter(None, (part.name, part.address))) or part.comment
    return Content("location", place or _coordinates(part), reply_to=_quoted(part))


def _live_location(part: Any) -> Content:
    return Content("live_location", str(part.caption) or _coordinates(part), reply_to=_quoted(part))


def _coordinates(part: Any) -> str:
    return f"{part.degreesLatitude:.6f}, {part.degreesLongitude:.6f}"


def _reaction(part: Any) -> Content:
    return Content("reaction", str(part.text), reply_to=str(part.key.ID))


def _poll(part: Any) -> Content:
    return Content("poll", "\n".join([part.name, *(option.optionName for option in part.options)]))


def _protocol(part: Any) -> Content:
    types = e2e().ProtocolMessage
    if part.type == types.REVOKE and part.HasField("key"):
        return Content("revoke", reply_to=str(part.key.ID))
    if part.type == types.MESSAGE_EDIT:
        edited = content_of(part.editedMessage)
        return Content("edit", edited.text, edited.has_media, str(part.key.ID))
    return Content("protocol")


def _named(kind: str, *fields: str, key: str = "") -> Callable[[Any], Content]:
    """Read the first of these text fields that is filled, and the id in the message key ``key``."""

    def read(part: Any) -> Content:
        text = next((str(value) for field in fields if (value := getattr(part, field))), "")
        if key:
            return Content(kind, text, reply_to=str(getattr(part, key).ID))
        return Content(kind, text, reply_to=_quoted(part) if "contextInfo" in part.DESCRIPTOR.fields_by_name else "")

    return read


# In this order, for a message may carry a key or a context beside its content.
_READERS: dict[str, Callable[[Any], Content]] = {
    "conversation": lambda text: Content("text", str(text)),
    "extendedTextMessage": _extended_text,
    "imageMessage": _media("image"),
    "videoMessage": _video,
    "ptvMessage": _media("video"),
    "audioMessage": _audio,
    "documentMessage": _document,
    "stickerMessage": _media("sticker"),
    "stickerPackMessage": _named("sticker", "name"),
    "contactMessage": _contact,
    "contactsArrayMessage": _contacts,
    "locationMessage": _location,
    "liveLocationMessage": _live_location,
    "reactionMessage": _reaction,
    "encReactionMessage": _named("reaction", key="targetMessageKey"),
    "pollCreationMessage": _poll,
    "pollCreationMessageV2": _poll,
    "pollCreationMessageV3": _poll,
    "pollCreationMessageV5": _poll,
    "pollCreationMessageV6": _poll,
    "pollUpdateMessage": _named("poll_vote", key="pollCreationMessageKey"),
    "pollResultSnapshotMessage": _named("poll", "name"),
    "eventMessage": _named("event", "name"),
    "groupInviteMessage": _named("group_invite", "caption", "groupName"),
    "albumMessage": _named("album"),
    "pinInChatMessage": _named("pin", key="key"),
    "keepInChatMessage": _named("keep", key="key"),
    "listMessage": _named("list", "description", "title"),
    "listResponseMessage": _named("list", "title"),
    "buttonsMessage": _named("buttons", "contentText", "text"),
    "buttonsResponseMessage": _named("buttons", "selectedDisplayText"),
    "templateMessage": _named("template"),
    "templateButtonReplyMessage": _named("template", "selectedDisplayText"),
    "interactiveMessage": _named("interactive"),
    "interactiveResponseMessage": _named("interactive"),
    "productMessage": _named("product", "body"),
    "orderMessage": _named("order", "message", "orderTitle"),
    "sendPaymentMessage": _named("payment"),
    "requestPaymentMessage": _named("payment"),
    "invoiceMessage": _named("payment", "note"),
    "call": _named("call"),
    "callLogMesssage": _named("call"),
    "commentMessage": _named("comment", key="targetMessageKey"),
    "encCommentMessage": _named("comment", key="targetMessageKey"),
    "protocolMessage": _protocol,
    "senderKeyDistributionMessage": _named("protocol"),
}
