"""From the library's raw events to Tandem's values. In the daemon; never loads the shared library.

A payload that cannot be decoded raises PoisonMessage, whose text names sizes and never content.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tandem.errors import PoisonMessage
from tandem.model import signals
from tandem.model.ids import Jid
from tandem.model.message import DecodedMessage, DecodedReceipt, RawEvent
from tandem.model.signals import Signal
from tandem.whatsapp.codes import EventCode
from tandem.whatsapp.content import Content, content_of, secret_of
from tandem.whatsapp.protos import neonize, parsed
from tandem.whatsapp.reasons import ban_words, login_failure

_RECEIPT_KINDS = {
    "DELIVERED": "delivered",
    "SENDER": "sender",
    "RETRY": "retry",
    "READ": "read",
    "READ_SELF": "read-self",
    "PLAYED": "played",
    "PLAYED_SELF": "played-self",
    "SERVER_ERROR": "server-error",
    "INACTIVE": "inactive",
    "PEER_MSG": "peer",
    "HISTORY_SYNC": "history-sync",
}


def decode(event: RawEvent) -> DecodedMessage | DecodedReceipt | Signal:
    """Decode an event that was handed to ``DeviceListener.event`` or found in a leftover journal.

    Raises PoisonMessage.
    """
    if event.code == EventCode.MESSAGE:
        return _message(event.payload)
    if event.code == EventCode.UNDECRYPTABLE:
        return _undecryptable(event.payload)
    if event.code == EventCode.RECEIPT:
        return _receipt(event.payload)
    signal = decode_signal(event.code, event.payload)
    if signal is None:
        raise PoisonMessage(f"events of number {event.code} are not known")
    return signal


def decode_signal(code: int, payload: bytes) -> Signal | None:
    """Decode an event that tells of the session's condition; None if this number is none. Raises PoisonMessage."""
    reader = _SIGNALS.get(code)
    return None if reader is None else reader(payload)


def jid_of(part: Any) -> Jid:
    return Jid(part.User, part.Server, part.Device)


def _message(payload: bytes) -> DecodedMessage:
    event = parsed(neonize().Message, payload, "a message event")
    if not event.HasField("Message") and not event.HasField("Raw"):
        return _with(event.Info, Content("unknown"))
    message = event.Message if event.HasField("Message") else event.Raw
    content = content_of(message)
    if content.kind == "unknown" and event.HasField("Raw"):
        content = content_of(event.Raw)
    return _with(event.Info, content, secret_of(message, event.Raw), message.SerializeToString())


def _undecryptable(payload: bytes) -> DecodedMessage:
    event = parsed(neonize().UndecryptableMessage, payload, "an undecryptable-message event")
    return _with(event.Info, Content("undecryptable"), undecryptable=True)


def _with(
    info: Any, content: Content, secret: bytes = b"", raw: bytes = b"", *, undecryptable: bool = False
) -> DecodedMessage:
    source = info.MessageSource
    return DecodedMessage(
        message_id=info.ID,
        chat=jid_of(source.Chat),
        sender=jid_of(source.Sender),
        sender_alt=_other_form(source.SenderAlt),
        recipient_alt=_other_form(source.RecipientAlt),
        from_me=source.IsFromMe,
        is_group=source.IsGroup,
        push_name=info.Pushname,
        timestamp=info.Timestamp,
        kind=content.kind,
        text=content.text,
        has_media=content.has_media,
        reply_to=content.reply_to,
        secret=secret,
        raw=raw,
        undecryptable=undecryptable,
    )


def _other_form(part: Any) -> Jid | None:
    return jid_of(part) if part.User and part.Server else None


def _receipt(payload: bytes) -> DecodedReceipt:
    event = parsed(neonize().Receipt, payload, "a receipt event")
    source = event.MessageSource
    name = neonize().Receipt.ReceiptType.Name(event.Type)
    return DecodedReceipt(
        message_ids=tuple(event.MessageIDs),
        chat=jid_of(source.Chat),
        sender=jid_of(source.Sender),
        from_me=source.IsFromMe,
        kind=_RECEIPT_KINDS.get(name, name.lower()),
        timestamp=event.Timestamp,
    )


def _pair_status(payload: bytes) -> Signal:
    event = parsed(neonize().PairStatus, payload, "a pairing event")
    if event.Status == neonize().PairStatus.SUCCESS:
        return signals.PairSucceeded(str(jid_of(event.ID)))
    return signals.PairFailed(event.Error or "WhatsApp refused the pairing")


def _keep_alive_timeout(payload: bytes) -> Signal:
    return signals.KeepAliveTimeout(
        parsed(neonize().KeepAliveTimeout, payload, "a keep-alive event").ErrorCount,
    )


def _logged_out(payload: bytes) -> Signal:
    event = parsed(neonize().LoggedOut, payload, "a logged-out event")
    reason = login_failure(neonize().ConnectFailureReason.Name(event.Reason))
    return signals.LoggedOut(
        reason.words if event.OnConnect else "the device was unlinked on the phone", event.OnConnect
    )


def _banned(payload: bytes) -> Signal:
    event = parsed(neonize().TemporaryBan, payload, "a ban event")
    name = neonize().TemporaryBan.TempBanReason.Name(event.Code)
    return signals.Banned(ban_words(name), float(max(event.Expire, 0)))


def _connect_failure(payload: bytes) -> Signal:
    event = parsed(neonize().ConnectFailure, payload, "a login-failure event")
    return login_failure(neonize().ConnectFailureReason.Name(event.Reason)).signal(event.Message)


def _sync_preview(payload: bytes) -> Signal:
    return signals.SyncPreviewed(parsed(neonize().OfflineSyncPreview, payload, "a sync event").Total)


def _sync_completed(payload: bytes) -> Signal:
    return signals.SyncCompleted(parsed(neonize().OfflineSyncCompleted, payload, "a sync event").Count)


def _stream_error(payload: bytes) -> Signal:
    return signals.StreamErrored(parsed(neonize().StreamError, payload, "a stream-error event").Code)


_SIGNALS: dict[int, Callable[[bytes], Signal]] = {
    EventCode.PAIR_STATUS: _pair_status,
    EventCode.CONNECTED: lambda _: signals.Connected(),
    EventCode.KEEP_ALIVE_TIMEOUT: _keep_alive_timeout,
    EventCode.KEEP_ALIVE_RESTORED: lambda _: signals.KeepAliveRestored(),
    EventCode.LOGGED_OUT: _logged_out,
    EventCode.STREAM_REPLACED: lambda _: signals.Replaced(),
    EventCode.TEMPORARY_BAN: _banned,
    EventCode.CONNECT_FAILURE: _connect_failure,
    EventCode.CLIENT_OUTDATED: lambda _: signals.Outdated(),
    EventCode.STREAM_ERROR: _stream_error,
    EventCode.DISCONNECTED: lambda _: signals.Disconnected(),
    EventCode.OFFLINE_SYNC_PREVIEW: _sync_preview,
    EventCode.OFFLINE_SYNC_COMPLETED: _sync_completed,
}
