from __future__ import annotations

from typing import Any

import pytest

from tandem.errors import Rejected
from tandem.model.ids import ChatId, Jid
from tandem.model.outbox import MarkRead, Reaction, Reply, Revoke, SendOutcome, Target, Text
from tandem.model.states import Slot
from tandem.whatsapp import compose
from tandem.whatsapp.protos import e2e, neonize, registration
from tandem.whatsapp.reasons import SEND_FAILURES, send_failure

SECRET = bytes(range(32))
ANN = ChatId("12025550101@s.whatsapp.net")
GROUP = ChatId("120363000000000001@g.us")


def answer(**fields: Any) -> bytes:
    return bytes(neonize().SendMessageReturnFunction(**fields).SerializePartialToString())


def accepted(message_id: str = "3EB0") -> Any:
    timings = dict.fromkeys(
        ("Queue", "Marshal", "GetParticipants", "GetDevices", "GroupEncrypt", "PeerEncrypt", "Send", "Resp", "Retry"), 1
    )
    return neonize().SendResponse(Timestamp=9, ID=message_id, ServerID=0, DebugTimings=timings)


@pytest.mark.parametrize("text", ["", "hello", "ünï 👍🏽", "x" * 65_536])
def test_a_text_carries_its_secret(text: str) -> None:
    message = e2e().Message.FromString(compose.message_bytes(ANN, Text(text), SECRET))
    assert message.conversation == text
    assert message.messageContextInfo.messageSecret == SECRET


def test_a_reply_quotes_its_message() -> None:
    target = Target("3EB0A", "12025550101@s.whatsapp.net", text="how are you?")
    message = e2e().Message.FromString(compose.message_bytes(ANN, Reply("fine", target), SECRET))
    context = message.extendedTextMessage.contextInfo
    assert message.extendedTextMessage.text == "fine"
    assert (context.stanzaID, context.participant) == ("3EB0A", "12025550101@s.whatsapp.net")
    assert context.quotedMessage.conversation == "how are you?"
    assert message.messageContextInfo.messageSecret == SECRET


@pytest.mark.parametrize("emoji", ["👍🏽", ""])
@pytest.mark.parametrize(
    ("chat", "own", "named"), [(ANN, True, ""), (ANN, False, ""), (GROUP, False, str(ANN)), (GROUP, True, "")]
)
def test_a_reaction_names_its_message(emoji: str, chat: ChatId, own: bool, named: str) -> None:  # noqa: FBT001 - pytest's
    content = Reaction(emoji, Target("3EB0A", str(ANN), own), 1_700_000_000_000)
    message = e2e().Message.FromString(compose.message_bytes(chat, content, SECRET))
    reaction = message.reactionMessage
    key = reaction.key
    assert (reaction.text, reaction.senderTimestampMS) == (emoji, 1_700_000_000_000)
    assert (key.remoteJID, key.fromMe, key.ID, key.participant) == (chat, own, "3EB0A", named)
    assert message.messageContextInfo.messageSecret == SECRET


def test_a_revoke_names_an_own_message() -> None:
    message = e2e().Message.FromString(compose.message_bytes(GROUP, Revoke("3EB0A"), SECRET))
    protocol = message.protocolMessage
    assert protocol.type == e2e().ProtocolMessage.REVOKE
    assert (protocol.key.remoteJID, protocol.key.fromMe, protocol.key.ID) == (GROUP, True, "3EB0A")
    assert message.messageContextInfo.messageSecret == SECRET


def test_read_marks_go_by_author_and_end_with_a_probe() -> None:
    one, two = "12025550101@s.whatsapp.net", "12025550102@s.whatsapp.net"
    marks = MarkRead((Target("A", one), Target("B", two), Target("C", one)))
    calls = compose.calls_of(GROUP, marks, SECRET)
    assert [(operation, parts[:1]) for operation, parts in calls] == [
        ("mark_read", (b"A C",)),
        ("mark_read", (b"B",)),
        ("probe", ()),
    ]
    users = [neonize().JID.FromString(parts[2]).User for _, parts in calls[:2]]
    assert users == ["12025550101", "12025550102"]
    with pytest.raises(ValueError, match="no message"):
        compose.message_bytes(GROUP, marks, SECRET)


def test_impossible_texts_and_secrets_are_refused() -> None:
    with pytest.raises(Rejected):
        compose.message_bytes(ANN, Text("\ud800"), SECRET)
    with pytest.raises(ValueError, match="32 bytes"):
        compose.message_bytes(ANN, Text("x"), b"short")


def test_addresses_become_the_librarys() -> None:
    form = neonize().JID.FromString(compose.jid_bytes(Jid("12025550123", "s.whatsapp.net", 2)))
    assert (form.User, form.Server, form.Device) == ("12025550123", "s.whatsapp.net", 2)
    assert neonize().JID.FromString(compose.chat_bytes(ChatId("123-456@g.us"))).Server == "g.us"
    with pytest.raises(Rejected):
        compose.chat_bytes(ChatId("nonsense"))


def test_a_device_says_which_slot_it_is() -> None:
    names = {registration().DeviceProps.FromString(compose.device_props(slot)).os for slot in Slot}
    assert names == {"Tandem primary", "Tandem backup"}
    far = registration().DeviceProps.FromString(compose.device_props(Slot.PRIMARY, "eu"))
    assert far.os == "Tandem primary (eu)"


def test_an_accepted_send_names_its_message() -> None:
    result = compose.send_result(answer(SendResponse=accepted()))
    assert (result.outcome, result.message_id, result.timestamp) == (SendOutcome.ACCEPTED, "3EB0", 9)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("client is nil", SendOutcome.NOT_SENT),
        ("failed to send message node: websocket not connected", SendOutcome.NOT_SENT),
        ("websocket disconnected before message send returned response", SendOutcome.UNKNOWN),
        ("timed out waiting for message send response", SendOutcome.UNKNOWN),
        ("info query returned status 429: rate-overlimit", SendOutcome.NOT_SENT),
        ("info query returned status 503: service-unavailable", SendOutcome.NOT_SENT),
        ("info query returned status 403: forbidden", SendOutcome.REJECTED),
        ("failed to get device list: info query timed out", SendOutcome.NOT_SENT),
        ("server returned error 463", SendOutcome.REJECTED),
        ("no LID found for 12025550199@s.whatsapp.net from server", SendOutcome.REJECTED),
        ("failed to get user info for 12025550199@s.whatsapp.net to fill LID cache: x", SendOutcome.NOT_SENT),
        ("something new", SendOutcome.UNKNOWN),
    ],
)
def test_errors_of_a_send_are_classified_and_show_no_number(error: str, outcome: SendOutcome) -> None:
    result = compose.send_result(answer(Error=error))
    assert result.outcome is outcome
    assert result.error
    assert "12025550199" not in result.error


def test_the_servers_code_stays_visible() -> None:
    assert "463" in compose.send_result(answer(Error="server returned error 463")).error
    assert "429" in compose.send_result(answer(Error="info query returned status 429: rate-overlimit")).error


@pytest.mark.parametrize("garbage", [b"\xff\xff", b"", answer(SendResponse=accepted(""))])
def test_an_answer_that_cannot_be_read_leaves_the_fate_unknown(garbage: bytes) -> None:
    assert compose.send_result(garbage).outcome is SendOutcome.UNKNOWN


def test_every_row_of_the_table_can_be_reached() -> None:
    for fragment, failure in SEND_FAILURES:
        assert send_failure(f"before {fragment} after") == failure


def test_pairing_by_code() -> None:
    request = neonize().PairPhoneParams.FromString(compose.pairing_request("+12025550123"))
    assert (request.phone, request.clientDisplayName) == ("12025550123", "Chrome (Linux)")
    good = neonize().PairPhoneReturnFunction(Code="ABCD-1234").SerializeToString()
    assert compose.pairing_code(good) == "ABCD-1234"
    for bad in (neonize().PairPhoneReturnFunction(Error="429"), neonize().PairPhoneReturnFunction()):
        with pytest.raises(Rejected):
            compose.pairing_code(bad.SerializeToString())
