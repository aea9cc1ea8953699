from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import PoisonMessage
from tandem.model import signals
from tandem.model.ids import AccountId, Jid
from tandem.model.message import DecodedMessage, DecodedReceipt, RawEvent
from tandem.model.states import Slot
from tandem.whatsapp.codes import EventCode
from tandem.whatsapp.content import content_of, secret_of, unwrapped
from tandem.whatsapp.decode import decode, decode_signal
from tandem.whatsapp.protos import e2e, neonize

SECRET = bytes(range(32))
CONTACT = "12025550199"
LID = "101350386409827"


def raw(code: int, payload: bytes) -> RawEvent:
    return RawEvent(AccountId("a"), Slot.PRIMARY, 1, 1, code, payload, 0.0)


def jid(user: str = "", server: str = "", device: int = 0) -> Any:
    return neonize().JID(User=user, RawAgent=0, Device=device, Integrator=0, Server=server, IsEmpty=not user)


def source(**changes: Any) -> Any:
    values = {
        "Chat": jid(LID, "lid"),
        "Sender": jid(LID, "lid", 3),
        "IsFromMe": False,
        "IsGroup": False,
        "SenderAlt": jid(CONTACT, "s.whatsapp.net"),
        "RecipientAlt": jid(),
        "BroadcastListOwner": jid(),
    }
    return neonize().MessageSource(**values | changes)


def info(**changes: Any) -> Any:
    return neonize().MessageInfo(
        MessageSource=source(**changes),
        ID="3EB0ABCDEF",
        ServerID=0,
        Type="text",
        Pushname="Ann",
        Timestamp=1_795_370_978_000,
        Category="",
        Multicast=False,
        MediaType="",
        Edit="",
    )


def event(message: Any | None, outer: Any | None = None, **changes: Any) -> bytes:
    flags = ("IsEphemeral", "IsViewOnce", "IsViewOnceV2", "IsViewOnceV2Extension", "IsDocumentWithCaption")
    form = neonize().Message(
        Info=info(**changes),
        Message=message,
        Raw=outer,
        UnavailableRequestID="",
        RetryCount=0,
        IsLottieSticker=False,
        IsEdit=False,
        **dict.fromkeys(flags, False),
    )
    return bytes(form.SerializeToString())


def message_of(message: Any | None, outer: Any | None = None, **changes: Any) -> DecodedMessage:
    found = decode(raw(EventCode.MESSAGE, event(message, outer, **changes)))
    assert isinstance(found, DecodedMessage)
    return found


def text(words: str = "hello") -> Any:
    return e2e().Message(conversation=words)


def context(stanza: str) -> Any:
    return e2e().ContextInfo(stanzaID=stanza)


def key(stanza: str) -> dict[str, Any]:
    return {"remoteJID": "x@s.whatsapp.net", "fromMe": False, "ID": stanza}


def test_a_text_message_is_decoded_whole() -> None:
    found = message_of(text())
    assert found.message_id == "3EB0ABCDEF"
    assert found.chat == Jid(LID, "lid")
    assert found.sender == Jid(LID, "lid", 3)
    assert found.sender_alt == Jid(CONTACT, "s.whatsapp.net")
    assert found.recipient_alt is None
    assert (found.from_me, found.is_group, found.push_name) == (False, False, "Ann")
    assert found.timestamp == 1_795_370_978_000
    assert (found.kind, found.text, found.has_media, found.reply_to) == ("text", "hello", False, "")
    assert e2e().Message.FromString(found.raw) == text()
    assert not found.undecryptable


def test_our_secret_is_found_wherever_the_library_puts_it() -> None:
    carrier = e2e().Message(conversation="x", messageContextInfo=e2e().MessageContextInfo(messageSecret=SECRET))
    sent = e2e().Message(deviceSentMessage=e2e().DeviceSentMessage(destinationJID="y", message=carrier))
    outside = e2e().Message(
        deviceSentMessage=e2e().DeviceSentMessage(destinationJID="y", message=text()),
        messageContextInfo=e2e().MessageContextInfo(messageSecret=SECRET),
    )
    assert message_of(carrier).secret == SECRET
    assert message_of(text(), sent).secret == SECRET
    assert message_of(sent).secret == message_of(outside).secret == SECRET
    assert message_of(text()).secret == b""
    assert secret_of(text(), outside) == SECRET


WRAPPERS = [
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "editedMessage",
    "deviceSentMessage",
    "groupMentionedMessage",
    "lottieStickerMessage",
]


def wrapped(wrapper: str, message: Any) -> Any:
    outer = e2e().Message()
    getattr(outer, wrapper).message.CopyFrom(message)
    return outer


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("second", [None, "ephemeralMessage"])
def test_wrappers_are_looked_through(wrapper: str, second: str | None) -> None:
    inner = e2e().Message(imageMessage=e2e().ImageMessage(caption="look", contextInfo=context("Q1")))
    outer = wrapped(wrapper, inner)
    content = content_of(wrapped(second, outer) if second else outer)
    assert content == ("image", "look", True, "Q1")


def test_a_message_wrapped_without_end_is_given_up_on() -> None:
    message = text()
    for _ in range(40):
        message = wrapped("ephemeralMessage", message)
    assert content_of(message).kind == "unknown"
    assert unwrapped(message) is not None


def media(**fields: Any) -> Any:
    return e2e().Message(**fields)


def contents() -> list[tuple[str, Any, tuple[str, str, bool, str]]]:
    m = e2e()
    types = m.ProtocolMessage
    return [
        ("conversation", text("hi"), ("text", "hi", False, "")),
        (
            "extended text",
            media(extendedTextMessage=m.ExtendedTextMessage(text="hi", contextInfo=context("Q"))),
            ("text", "hi", False, "Q"),
        ),
        ("image", media(imageMessage=m.ImageMessage(caption="c")), ("image", "c", True, "")),
        ("video", media(videoMessage=m.VideoMessage(caption="c")), ("video", "c", True, "")),
        ("round video", media(ptvMessage=m.VideoMessage()), ("video", "", True, "")),
        ("gif", media(videoMessage=m.VideoMessage(gifPlayback=True)), ("gif", "", True, "")),
        ("audio", media(audioMessage=m.AudioMessage()), ("audio", "", True, "")),
        ("voice", media(audioMessage=m.AudioMessage(PTT=True)), ("voice", "", True, "")),
        ("document", media(documentMessage=m.DocumentMessage(fileName="a.pdf")), ("document", "a.pdf", True, "")),
        (
            "captioned document",
            media(documentMessage=m.DocumentMessage(caption="c", fileName="a")),
            ("document", "c", True, ""),
        ),
        ("sticker", media(stickerMessage=m.StickerMessage()), ("sticker", "", True, "")),
        ("contact", media(contactMessage=m.ContactMessage(displayName="Bob")), ("contact", "Bob", False, "")),
        (
            "contacts",
            media(
                contactsArrayMessage=m.ContactsArrayMessage(
                    contacts=[m.ContactMessage(displayName="Bob"), m.ContactMessage(displayName="Cy")]
                )
            ),
            ("contacts", "Bob, Cy", False, ""),
        ),
        (
            "location",
            media(locationMessage=m.LocationMessage(name="Park", address="1 St")),
            ("location", "Park, 1 St", False, ""),
        ),
        (
            "bare location",
            media(locationMessage=m.LocationMessage(degreesLatitude=1.5, degreesLongitude=-2)),
            ("location", "1.500000, -2.000000", False, ""),
        ),
        (
            "live location",
            media(liveLocationMessage=m.LiveLocationMessage(caption="on my way")),
            ("live_location", "on my way", False, ""),
        ),
        (
            "reaction",
            media(reactionMessage=m.ReactionMessage(key=key("R1"), text="👍")),
            ("reaction", "👍", False, "R1"),
        ),
        (
            "poll",
            media(
                pollCreationMessageV3=m.PollCreationMessage(
                    name="Lunch?", options=[{"optionName": "yes"}, {"optionName": "no"}]
                )
            ),
            ("poll", "Lunch?\nyes\nno", False, ""),
        ),
        (
            "poll vote",
            media(pollUpdateMessage=m.PollUpdateMessage(pollCreationMessageKey=key("P1"))),
            ("poll_vote", "", False, "P1"),
        ),
        ("revoke", media(protocolMessage=types(type=types.REVOKE, key=key("D1"))), ("revoke", "", False, "D1")),
        (
            "edit",
            media(protocolMessage=types(type=types.MESSAGE_EDIT, key=key("E1"), editedMessage=text("better"))),
            ("edit", "better", False, "E1"),
        ),
        (
            "wrapped edit",
            wrapped(
                "editedMessage",
                media(protocolMessage=types(type=types.MESSAGE_EDIT, key=key("E1"), editedMessage=text("better"))),
            ),
            ("edit", "better", False, "E1"),
        ),
        ("other protocol", media(protocolMessage=types(type=types.EPHEMERAL_SETTING)), ("protocol", "", False, "")),
        ("event", media(eventMessage=m.EventMessage(name="Party")), ("event", "Party", False, "")),
        ("invite", media(groupInviteMessage=m.GroupInviteMessage(groupName="G")), ("group_invite", "G", False, "")),
        ("pin", media(pinInChatMessage=m.PinInChatMessage(key=key("K1"))), ("pin", "", False, "K1")),
        (
            "key distribution",
            media(senderKeyDistributionMessage=m.SenderKeyDistributionMessage()),
            ("protocol", "", False, ""),
        ),
        ("nothing", m.Message(), ("unknown", "", False, "")),
    ]


@pytest.mark.parametrize(("message", "expected"), [pytest.param(m, e, id=name) for name, m, e in contents()])
def test_content_is_picked_from_every_kind(message: Any, expected: tuple[str, str, bool, str]) -> None:
    assert content_of(message) == expected


def test_a_text_beside_a_key_distribution_is_a_text() -> None:
    both = e2e().Message(
        conversation="hi", senderKeyDistributionMessage=e2e().SenderKeyDistributionMessage(groupID="g")
    )
    assert content_of(both).text == "hi"


def test_every_reader_names_a_field_that_exists_and_reads_it_empty() -> None:
    from tandem.whatsapp.content import _READERS  # noqa: PLC0415 - the table is what is checked

    fields = e2e().Message.DESCRIPTOR.fields_by_name
    for name in _READERS:
        part = fields[name]
        message = e2e().Message()
        if part.message_type is None:
            setattr(message, name, "x")
        else:
            getattr(message, name).SetInParent()
        assert content_of(message).kind != "unknown", name


def test_an_event_without_a_message_is_kept_without_content() -> None:
    found = message_of(None)
    assert (found.kind, found.raw, found.secret) == ("unknown", b"", b"")


def test_an_own_message_names_its_recipient() -> None:
    found = message_of(text(), IsFromMe=True, SenderAlt=jid(), RecipientAlt=jid(CONTACT, "s.whatsapp.net"))
    assert found.from_me
    assert found.sender_alt is None
    assert found.recipient_alt == Jid(CONTACT, "s.whatsapp.net")


def test_undecryptable_messages_keep_their_identity() -> None:
    form = neonize().UndecryptableMessage(Info=info(), IsUnavailable=False, DecryptFailMode=1)
    found = decode(raw(EventCode.UNDECRYPTABLE, form.SerializeToString()))
    assert isinstance(found, DecodedMessage)
    assert found.undecryptable
    assert (found.message_id, found.kind, found.text, found.raw) == ("3EB0ABCDEF", "undecryptable", "", b"")


@pytest.mark.parametrize("number", range(1, 12))
def test_receipts_of_every_type_are_decoded(number: int) -> None:
    form = neonize().Receipt(MessageSource=source(), MessageIDs=["A", "B"], Timestamp=7, Type=number)
    found = decode(raw(EventCode.RECEIPT, form.SerializeToString()))
    assert isinstance(found, DecodedReceipt)
    assert found.message_ids == ("A", "B")
    assert (found.chat, found.timestamp) == (Jid(LID, "lid"), 7)
    assert found.kind in {
        "delivered", "sender", "retry", "read", "read-self", "played", "played-self", "server-error", "inactive",
        "peer", "history-sync",
    }  # fmt: skip


def signals_table() -> list[tuple[int, Any, signals.Signal]]:
    n = neonize()
    node = n.Node(Tag="failure", Attrs=[], Nodes=[], Bytes=b"") if hasattr(n, "Node") else None
    return [
        (3, n.Connected(status=True), signals.Connected()),
        (4, n.KeepAliveTimeout(ErrorCount=2, LastSuccess=1), signals.KeepAliveTimeout(2)),
        (5, None, signals.KeepAliveRestored()),
        (
            6,
            n.LoggedOut(OnConnect=False, Reason=2),
            signals.LoggedOut("the device was unlinked on the phone", on_connect=False),
        ),
        (
            6,
            n.LoggedOut(OnConnect=True, Reason=4),
            signals.LoggedOut("the phone's WhatsApp was logged out or re-registered", on_connect=True),
        ),
        (7, None, signals.Replaced()),
        (8, n.TemporaryBan(Code=2, Expire=3600), signals.Banned("blocked by too many people", 3600.0)),
        (
            9,
            n.ConnectFailure(Reason=7, Message="", Raw=node),
            signals.ConnectFailed("WhatsApp refuses how the library presents itself"),
        ),
        (10, None, signals.Outdated()),
        (11, n.StreamError(Code="516", Raw=node), signals.StreamErrored("516")),
        (12, n.Disconnected(status=True), signals.Disconnected()),
        (
            26,
            n.OfflineSyncPreview(Total=4, AppDataChanges=0, Message=3, Notifications=0, Receipts=1),
            signals.SyncPreviewed(4),
        ),
        (27, n.OfflineSyncCompleted(Count=4), signals.SyncCompleted(4)),
        (
            2,
            n.PairStatus(ID=jid("12025550123", "s.whatsapp.net", 2), BusinessName="", Platform="", Status=2),
            signals.PairSucceeded("12025550123:2@s.whatsapp.net"),
        ),
        (2, n.PairStatus(ID=jid(), BusinessName="", Platform="", Status=1, Error="no"), signals.PairFailed("no")),
    ]


@pytest.mark.parametrize(("code", "form", "expected"), signals_table())
def test_events_of_the_sessions_condition_become_signals(code: int, form: Any, expected: signals.Signal) -> None:
    payload = b"" if form is None else form.SerializePartialToString()
    if code in {9, 11}:  # their raw node is required by the schema and of no interest
        payload = form.SerializePartialToString()
    assert decode_signal(code, payload) == expected
    assert decode(raw(code, payload)) == expected


def test_an_event_nobody_knows_is_poison_and_no_signal() -> None:
    assert decode_signal(0, b"") is None
    with pytest.raises(PoisonMessage, match="number 36"):
        decode(raw(36, b""))


@given(st.sampled_from([2, 3, 4, 6, 8, 9, 11, 12, 17, 18, 26, 27, 44]), st.binary(max_size=80))
def test_garbage_is_poison_or_decoded_and_nothing_else(code: int, garbage: bytes) -> None:
    with contextlib.suppress(PoisonMessage):
        decode(raw(code, garbage))


def test_a_truncated_message_is_poison_or_less() -> None:
    whole = event(text("the secret words"))
    for end in range(len(whole)):
        try:
            decode(raw(EventCode.MESSAGE, whole[:end]))
        except PoisonMessage as error:
            assert "secret words" not in str(error)  # noqa: PT017 - only some cuts are poison
