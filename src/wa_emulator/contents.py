"""What a phone makes of a decrypted message: its kind, its text, and the message it is about."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

TEXT: Final = "text"
REACTION: Final = "reaction"
REVOKE: Final = "revoke"

_WRAPPERS: Final = (
    "ephemeralMessage", "viewOnceMessage", "viewOnceMessageV2", "documentWithCaptionMessage", "editedMessage",
)  # fmt: skip
_CAPTIONED: Final = ("imageMessage", "videoMessage", "documentMessage")
_REVOKE_TYPE: Final = 0


class Content(NamedTuple):
    """``about`` is the id of the message that is quoted, reacted to or revoked; a reaction's text is its emoji."""

    kind: str
    text: str
    about: str = ""
    quoted: str = ""


def content_of(message: Any) -> Content | None:
    """Return what a phone would do with a waE2E.Message; None for what it does not show."""
    if message.HasField("deviceSentMessage"):
        return content_of(message.deviceSentMessage.message)
    for wrapper in _WRAPPERS:
        if message.HasField(wrapper):
            return content_of(getattr(message, wrapper).message)
    if message.HasField("reactionMessage"):
        return Content(REACTION, message.reactionMessage.text, message.reactionMessage.key.ID)
    if message.HasField("protocolMessage"):
        protocol = message.protocolMessage
        revokes = protocol.type == _REVOKE_TYPE and protocol.HasField("key")
        return Content(REVOKE, "", protocol.key.ID) if revokes else None
    return _text_of(message)


def _text_of(message: Any) -> Content | None:
    for captioned in _CAPTIONED:
        if message.HasField(captioned):
            return Content(TEXT, str(getattr(message, captioned).caption))
    if message.HasField("extendedTextMessage"):
        context = message.extendedTextMessage.contextInfo
        return Content(TEXT, message.extendedTextMessage.text, context.stanzaID, context.quotedMessage.conversation)
    return Content(TEXT, str(message.conversation)) if message.HasField("conversation") else None
