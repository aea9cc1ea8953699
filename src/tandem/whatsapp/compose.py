"""From Tandem's values to the library's bytes, and its answer to a send back. In the daemon only."""

from __future__ import annotations

from tandem.errors import PoisonMessage, Rejected
from tandem.model.ids import ChatId, Jid
from tandem.model.outbox import SendOutcome, SendResult
from tandem.model.states import Slot
from tandem.whatsapp.protos import e2e, neonize, parsed, registration
from tandem.whatsapp.reasons import send_failure, send_words

SECRET_BYTES = 32


def text_message(text: str, secret: bytes) -> bytes:
    """Return a serialised waE2E.Message. ``secret`` (32 bytes) names it in the library's store and in the echo.

    Raises Rejected for a text that has no UTF-8 form, ValueError for a secret of another length.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a message secret has {SECRET_BYTES} bytes, this one has {len(secret)}")
    try:
        context = e2e().MessageContextInfo(messageSecret=secret)
        return bytes(e2e().Message(conversation=text, messageContextInfo=context).SerializeToString())
    except (UnicodeEncodeError, ValueError):
        raise Rejected("the text holds characters that cannot be sent") from None


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


def device_props(slot: Slot) -> bytes:
    """Return what a device says of itself when it is linked: the name under which the phone lists it.

    Platform UNKNOWN gives a generic icon instead of a browser's (as mautrix-whatsapp's ``browser_name`` documents).
    """
    props = registration().DeviceProps
    return bytes(props(os=f"Tandem {slot}", platformType=props.UNKNOWN, requireFullSync=False).SerializeToString())


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
        return SendResult(send_failure(form.Error).outcome, error=send_words(form.Error))
    if not form.SendResponse.ID:
        return SendResult(SendOutcome.UNKNOWN, error="the library's answer names no message")
    return SendResult(SendOutcome.ACCEPTED, form.SendResponse.ID, form.SendResponse.Timestamp)
