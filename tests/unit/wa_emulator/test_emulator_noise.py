from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from wa_emulator import certificates, xeddsa
from wa_emulator.keys import KeyPair
from wa_emulator.nodes import ProtocolViolation
from wa_emulator.noise import LARGEST_FRAME, Cipher, FrameReader, Responder, ServerIdentity, SymmetricState, frame
from wa_library import package

HEADER = b"WA\x06\x03"
ROOT = KeyPair()
SERVER = KeyPair()
IDENTITY = ServerIdentity(SERVER, certificates.chain(ROOT, SERVER))
messages = package.proto("waWa6.WAWebProtobufsWa6_pb2")


@dataclass
class Initiator:
    """The client's side of Noise XX, written from the pattern: -> e; <- e, ee, s, es; -> s, se."""

    static: KeyPair
    ephemeral: KeyPair
    state: SymmetricState

    @classmethod
    def make(cls) -> Initiator:
        return cls(KeyPair(), KeyPair(), SymmetricState(HEADER))

    def hello(self) -> bytes:
        self.state.authenticate(self.ephemeral.public)
        hello = messages.HandshakeMessage.ClientHello(ephemeral=self.ephemeral.public)
        return bytes(messages.HandshakeMessage(clientHello=hello).SerializeToString())

    def read_answer(self, answer: bytes) -> bytes:
        hello = messages.HandshakeMessage.FromString(answer).serverHello
        self.state.authenticate(hello.ephemeral)
        self.server_ephemeral = hello.ephemeral
        self.state.mix(self.ephemeral.agree(hello.ephemeral))
        self.server_static = self.state.decrypt(hello.static)
        self.state.mix(self.ephemeral.agree(self.server_static))
        return self.state.decrypt(hello.payload)

    def finish(self, payload: Any) -> bytes:
        static = self.state.encrypt(self.static.public)
        self.state.mix(self.static.agree(self.server_ephemeral))
        sealed = self.state.encrypt(payload.SerializeToString())
        finish = messages.HandshakeMessage.ClientFinish(static=static, payload=sealed)
        return bytes(messages.HandshakeMessage(clientFinish=finish).SerializeToString())


def test_a_whole_handshake_and_traffic_in_both_directions() -> None:
    client, server = Initiator.make(), Responder(HEADER, IDENTITY)
    chain = client.read_answer(server.answer(client.hello()))
    assert client.server_static == SERVER.public
    assert chain == IDENTITY.chain
    transport = server.finish(client.finish(messages.ClientPayload(username=15550100100, device=2)))
    assert transport.client_key == client.static.public
    assert (transport.payload.username, transport.payload.device) == (15550100100, 2)
    outgoing, incoming = (Cipher(key) for key in client.state.split())
    for text in (b"one", b"two"):
        assert transport.incoming.decrypt(outgoing.encrypt(text)) == text
        assert incoming.decrypt(transport.outgoing.encrypt(text)) == text


def test_the_certificate_chain_is_what_whatsmeow_checks() -> None:
    chain = package.proto("waCert.WACert_pb2").CertChain.FromString(IDENTITY.chain)
    details = package.proto("waCert.WACert_pb2").CertChain.NoiseCertificate.Details
    upper, lower = details.FromString(chain.intermediate.details), details.FromString(chain.leaf.details)
    assert xeddsa.verify(ROOT.public, chain.intermediate.details, chain.intermediate.signature)
    assert xeddsa.verify(upper.key, chain.leaf.details, chain.leaf.signature)
    assert (upper.issuerSerial, lower.issuerSerial) == (0, upper.serial)
    assert lower.key == SERVER.public


@pytest.mark.parametrize(
    "hello",
    [b"\xff\xff", messages.HandshakeMessage().SerializeToString(), Initiator.make().hello().replace(b"\x20", b"\x1f")],
)
def test_a_bad_hello_is_a_violation(hello: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        Responder(HEADER, IDENTITY).answer(hello)


def test_a_low_order_key_is_a_violation() -> None:
    client = Initiator.make()
    client.ephemeral.public = bytes(32)
    with pytest.raises(ProtocolViolation, match="key"):
        Responder(HEADER, IDENTITY).answer(client.hello())


def test_a_bad_finish_is_a_violation() -> None:
    client, server = Initiator.make(), Responder(HEADER, IDENTITY)
    client.read_answer(server.answer(client.hello()))
    finish = bytearray(client.finish(messages.ClientPayload()))
    finish[10] ^= 1
    with pytest.raises(ProtocolViolation, match="decrypt"):
        server.finish(bytes(finish))


def test_replayed_and_changed_frames_are_violations() -> None:
    sender, receiver = Cipher(bytes(32)), Cipher(bytes(32))
    first = sender.encrypt(b"once")
    receiver.decrypt(first)
    with pytest.raises(ProtocolViolation):
        receiver.decrypt(first)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_frames_arrive_however_the_bytes_are_cut(step: int) -> None:
    payloads = [b"", b"a", b"bc" * 300]
    stream = HEADER + b"".join(frame(payload) for payload in payloads)
    reader = FrameReader()
    cut = (stream[start : start + step] for start in range(0, len(stream), step))
    assert [whole for part in cut for whole in reader.feed(part)] == payloads
    assert reader.header == HEADER


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1", b"WB\x06\x03", b"X"])
def test_another_header_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="header"):
        list(FrameReader().feed(data))


def test_a_huge_frame_is_refused_before_it_arrives() -> None:
    reader = FrameReader()
    with pytest.raises(ProtocolViolation, match="bytes"):
        list(reader.feed(HEADER + (LARGEST_FRAME + 1).to_bytes(3, "big")))
