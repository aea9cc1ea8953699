"""From Tandem's values to the library's bytes, and its answer to a send back. In the daemon only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tandem.errors import PoisonMessage, Rejected
from tandem.model.ids import LID_SERVER, USER_SERVER, ChatId, Jid
from tandem.model.outbox import Content, MarkRead, Reaction, Reply, Revoke, SendOutcome, SendResult, Target, Text
from tandem.model.states import Slot
from tandem.whatsapp.protos import common, e2e, neonize, parsed, registration
from tandem.whatsapp.reasons import send_code, send_failure, send_words

SECRET_BYTES = 32
_PEOPLE = (f"@{USER_SERVER}", f"@{LID_SERVER}")


def calls_of(chat: ChatId, content: Content, secret: bytes) -> list[tuple[str, tuple[bytes, ...]]]:
    """Return the host's operations, in order, that send this, with their bytes. Raises Rejected.

    Nothing answers a read mark, so a probe goes behind it on the same connection: its answer is the mark's.
    """
    to = chat_bytes(chat)
    if not isinstance(content, MarkRead):
        return [("send", (to, message_bytes(chat, content, secret)))]
    by_author: dict[str, list[str]] = {}
    for target in content.targets:
        by_author.setdefault(target.author, []).append(target.message_id)
    marks = [("mark_read", (_ids(ids), to, chat_bytes(ChatId(author)))) for author, ids in by_author.items()]
    return [*marks, ("probe", ())]


def _ids(message_ids: Sequence[str]) -> bytes:
    if any(" " in message_id for message_id in message_ids):
        raise Rejected("a message id holds a space")  # the library separates them by spaces
    return " ".join(message_ids).encode()


def message_bytes(chat: ChatId, content: Content, secret: bytes) -> bytes:
    """Return a serialised waE2E.Message. ``secret`` (32 bytes) names it in the library's store and in the echo.

    Raises Rejected for a text that has no UTF-8 form, ValueError for a secret of another length and for what is no
    message (a read mark).
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a message secret has {SECRET_BYTES} bytes, this one has {len(secret)}")
    context = e2e().MessageContextInfo(messageSecret=secret)
    try:
        return bytes(e2e().Message(**_parts(chat, content), messageContextInfo=context).SerializeToString())
    except UnicodeEncodeError:
        raise Rejected("the text holds characters that cannot be sent") from None


def _parts(chat: ChatId, content: Content) -> dict[str, Any]:
    match content:
        case Text(text):
            return {"conversation": text}
        case Reply(text, target):
            return {"extendedTextMessage": e2e().ExtendedTextMessage(text=text, contextInfo=_quote(target))}
        case Reaction(emoji, target, at):
            key = _key(chat, target)
            return {"reactionMessage": e2e().ReactionMessage(key=key, text=emoji, senderTimestampMS=at)}
        case Revoke(message_id):
            key, kind = _key(chat, Target(message_id, "", from_me=True)), e2e().ProtocolMessage.REVOKE
            return {"protocolMessage": e2e().ProtocolMessage(type=kind, key=key)}
        case MarkRead():
            raise ValueError("a read mark is no message")


def _quote(target: Target) -> Any:
    """The quoted message by its id, its author, and what it said."""
    quoted = e2e().Message(conversation=target.text)
    return e2e().ContextInfo(stanzaID=target.message_id, participant=target.author, quotedMessage=quoted)


def _key(chat: ChatId, target: Target) -> Any:
    """The name of a message. Source: whatsmeow ``BuildMessageKey``: only a group needs the participant."""
    key = common().MessageKey(remoteJID=chat, fromMe=target.from_me, ID=target.message_id)
    if not target.from_me and not chat.endswith(_PEOPLE):
        key.participant = target.author
    return key


def jid_bytes(jid: Jid) -> bytes:
    """Return the library's serialised form of an address."""
    form = neonize().JID(User=jid.user, RawAgent=0, Device=jid.device, Integrator=0, Server=jid.server, IsEmpty=False)
    return bytes(form.SerializeToString())


def chat_bytes(chat: ChatId) -> bytes:
    """Return the same for a chat. Raises Rejected if it is no address."""
    try:
        return jid_bytes(Jid.parse(chat))
    except ValueError:
        raise Rejected("not a chat: expected user@server") from None


def device_props(slot: Slot, region: str = "") -> bytes:
    """Return what a device says of itself when it is linked: the name under which the phone lists it.

    ``region`` tells it apart from the same slot of another instance, if there are several.
    Platform UNKNOWN gives a generic icon instead of a browser's (as mautrix-whatsapp's ``browser_name`` documents).
    """
    props = registration().DeviceProps
    name = f"Tandem {slot} ({region})" if region else f"Tandem {slot}"
    return bytes(props(os=name, platformType=props.UNKNOWN, requireFullSync=False).SerializeToString())


def pairing_request(number: str) -> bytes:
    """Return the parameters of a pairing by code. The library knows display names of the form "Browser (OS)" only."""
    chrome = 1
    form = neonize().PairPhoneParams(
        phone=number.removeprefix("+"),
        showPushNotification=True,
        clientType=chrome,
        clientDisplayName="Chrome (Linux)",
    )
    return bytes(form.SerializeToString())


def pairing_code(answer: bytes) -> str:
    """Return the code to type on the phone. Raises Rejected if the server refused."""
    form = parsed(neonize().PairPhoneReturnFunction, answer, "the answer to a pairing by code")
    if form.Error or not form.Code:
        raise Rejected("WhatsApp refused a pairing by code: use the QR, or try again later")
    return str(form.Code)


def send_result(answer: bytes) -> SendResult:
    """Return what a send came to. An answer that cannot be read leaves the message's fate unknown."""
    try:
        form = parsed(neonize().SendMessageReturnFunction, answer, "the answer to a send")
    except PoisonMessage as error:
        return SendResult(SendOutcome.UNKNOWN, error=str(error))
    if form.Error:
        outcome = send_failure(form.Error).outcome
        return SendResult(outcome, error=send_words(form.Error), code=send_code(form.Error))
    if not form.SendResponse.ID:
        return SendResult(SendOutcome.UNKNOWN, error="the library's answer names no message")
    return SendResult(SendOutcome.ACCEPTED, form.SendResponse.ID, form.SendResponse.Timestamp)
