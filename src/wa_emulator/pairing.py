"""Linking a device: the server offers references, the phone scans one of them, the new device signs.

The phone's part (the account signature and the HMAC under the secret in the QR) is played here too. Sources:
whatsmeow ``pair.go`` for the client's checks; the order of stanzas is the measured recipe.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from wa_emulator import xeddsa
from wa_emulator.connection import Connection
from wa_emulator.directory import MOST_LINKED_DEVICES, Account, Device, Directory
from wa_emulator.nodes import SERVER, Attributes, Node, ProtocolViolation
from wa_library import package

_REFERENCES: Final = 6
_ANSWER_SECONDS: Final = 10.0
_ACCOUNT_PREFIX, _DEVICE_PREFIX = b"\x06\x00", b"\x06\x01"
_QR_FIELDS: Final = 4
_RESTART: Final = "515"


class ScanRefused(Exception):  # noqa: N818 - it names what happened
    """The phone shows an error instead of a linked device. ``status`` is the control API's HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Scan(NamedTuple):
    """What a QR says: the reference, the device's keys, and the secret only its screen knows."""

    reference: str
    noise_key: bytes
    identity: bytes
    secret: bytes

    @classmethod
    def parse(cls, qr: str) -> Scan:
        """Read a QR's text. Raises ScanRefused (400) if it is no linking QR."""
        fields = qr.strip().rpartition("#")[2].split(",")
        if len(fields) < _QR_FIELDS:
            raise ScanRefused(400, "this is not the text of a linking QR")
        try:
            keys = [base64.b64decode(part, validate=True) for part in fields[1:_QR_FIELDS]]
        except binascii.Error as error:
            raise ScanRefused(400, "the keys in this QR are not base64") from error
        return cls(fields[0], *keys)


@dataclass(slots=True, eq=False)
class Candidate:
    """A client that wants to be linked: its connection and what it registered."""

    connection: Connection
    noise_key: bytes
    registration: Any
    references: list[str] = field(default_factory=list)
    answers: dict[str, asyncio.Future[Node]] = field(default_factory=dict)


class Pairing:
    """All clients that wait to be linked."""

    def __init__(
        self, directory: Directory, passkey_demanded: Callable[[Account], bool] = lambda _account: False
    ) -> None:
        self._directory = directory
        self._passkey_demanded = passkey_demanded
        self._messages = package.proto("waAdv.WAAdv_pb2")
        self._registration = package.proto("waCompanionReg.WAWebProtobufsCompanionReg_pb2")
        self._by_reference: dict[str, Candidate] = {}

    def begin(self, connection: Connection, noise_key: bytes, registration: Any) -> Candidate:
        """Offer a client references to show as QR codes."""
        candidate = Candidate(connection, noise_key, registration)
        candidate.references = [f"2@{secrets.token_urlsafe(48)}" for _ in range(_REFERENCES)]
        self._by_reference.update(dict.fromkeys(candidate.references, candidate))
        references = [Node("ref", {}, reference.encode()) for reference in candidate.references]
        attributes: Attributes = {"from": SERVER, "type": "set", "id": secrets.token_hex(4), "xmlns": "md"}
        connection.post(Node("iq", attributes, [Node("pair-device", {}, references)]))
        return candidate

    def end(self, candidate: Candidate) -> None:
        """Forget a client that has left."""
        for reference in candidate.references:
            self._by_reference.pop(reference, None)
        for answer in candidate.answers.values():
            if not answer.done():
                answer.set_exception(ScanRefused(409, "the client left before it had answered"))

    def take_answer(self, candidate: Candidate, node: Node) -> None:
        """Take an iq result or error of a waiting client."""
        answer = candidate.answers.pop(node.text("id"), None)
        if answer is not None and not answer.done():
            answer.set_result(node)

    async def scan(self, account: Account, qr: str) -> Device:
        """Scan a QR with the phone of ``account``; the device is then linked. Raises ScanRefused."""
        scan = Scan.parse(qr)
        candidate = self._by_reference.get(scan.reference)
        if candidate is None:
            raise ScanRefused(404, "no client waits with this QR: it has left, or was linked already")
        if scan.noise_key != candidate.noise_key:
            raise ScanRefused(400, "this QR is not of the client that got its reference")
        return await self.link(account, candidate, scan.identity, scan.secret)

    async def link(self, account: Account, candidate: Candidate, identity: bytes, secret: bytes) -> Device:
        """Link a client whose identity and secret the phone has learnt. Raises ScanRefused."""
        if len(account.devices) >= MOST_LINKED_DEVICES:
            raise ScanRefused(409, f"this phone has {MOST_LINKED_DEVICES} linked devices already")
        if self._passkey_demanded(account):
            candidate.connection.post(_passkey_request())
            raise ScanRefused(409, "this account links devices by passkey only: the client was asked for one")
        for reference in candidate.references:
            self._by_reference.pop(reference, None)
        device = _device(account, candidate, identity)
        device.name = self._registration.DeviceProps.FromString(candidate.registration.deviceProps).os
        signed = self._signed_identity(account, device)
        answer = await self._ask(candidate, self._success(device, signed.SerializeToString(), secret))
        self._check_answer(device, signed, answer)
        self._directory.link(device)
        candidate.connection.dismiss(Node("stream:error", {"code": _RESTART}))
        return device

    def _signed_identity(self, account: Account, device: Device) -> Any:
        identity = account.phone.identity
        details = self._messages.ADVDeviceIdentity(
            rawID=secrets.randbits(31), timestamp=int(time.time()), keyIndex=device.id
        ).SerializeToString()
        signature = xeddsa.sign(identity.private, _ACCOUNT_PREFIX + details + device.identity)
        return self._messages.ADVSignedDeviceIdentity(
            details=details, accountSignatureKey=identity.public, accountSignature=signature
        )

    def _success(self, device: Device, signed: bytes, secret: bytes) -> list[Node]:
        code = hmac.digest(secret, signed, hashlib.sha256)
        box = self._messages.ADVSignedDeviceIdentityHMAC(details=signed, HMAC=code).SerializeToString()
        children = [
            Node("device-identity", {}, box),
            Node("biz", {"name": ""}),
            Node("device", {"jid": device.jid, "lid": device.lid}),
            Node("platform", {"name": "android"}),
        ]
        return [Node("pair-success", {}, children)]

    async def _ask(self, candidate: Candidate, content: list[Node]) -> Node:
        request = secrets.token_hex(4)
        answer: asyncio.Future[Node] = asyncio.get_running_loop().create_future()
        candidate.answers[request] = answer
        attributes: Attributes = {"from": SERVER, "type": "set", "id": request, "xmlns": "md", "t": int(time.time())}
        candidate.connection.post(Node("iq", attributes, content))
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await answer
        except TimeoutError as error:
            raise ScanRefused(409, "the client did not answer the scan") from error

    def _check_answer(self, device: Device, signed: Any, answer: Node) -> None:
        if answer.text("type") == "error":
            reason = answer.child("error")
            raise ScanRefused(409, f"the client refused: {reason.text('text') if reason else 'no reason given'}")
        try:
            returned = self._messages.ADVSignedDeviceIdentity.FromString(
                answer.need_child("pair-device-sign", "device-identity").data()
            )
        except (ValueError, ProtocolViolation) as error:
            raise ScanRefused(409, "the client's signed identity is not readable") from error
        message = _DEVICE_PREFIX + signed.details + device.identity + signed.accountSignatureKey
        if not xeddsa.verify(device.identity, message, returned.deviceSignature):
            raise ScanRefused(409, "the client's signature does not fit its identity")


def _passkey_request() -> Node:
    """Ask a client for a passkey. Source: whatsmeow ``pair-passkey.go``; its answer is not understood here."""
    options = {
        "challenge": base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode(),
        "timeout": 60_000,
        "rpId": "whatsapp.com",
        "allowCredentials": [],
        "userVerification": "required",
    }
    attributes: Attributes = {
        "from": SERVER, "type": "passkey_prologue_request", "id": secrets.token_hex(4), "t": int(time.time()),
    }  # fmt: skip
    return Node("notification", attributes, [Node("passkey_request_options", {}, json.dumps(options).encode())])


def _device(account: Account, candidate: Candidate, identity: bytes) -> Device:
    registration = candidate.registration
    return Device(
        account=account,
        id=account.take_device_id(),
        noise_key=candidate.noise_key,
        identity=identity,
        registration_id=int.from_bytes(registration.eRegid, "big"),
        signed_prekey_id=int.from_bytes(registration.eSkeyID, "big"),
        signed_prekey=registration.eSkeyVal,
        signature=registration.eSkeySig,
    )
