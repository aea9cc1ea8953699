"""The Signal side of a scripted phone: its keys, and its sessions with other devices.

Two things a toy would lack, and without which real clients fall into endless retries: several session states per
device, because both sides may begin a session at the same time, and fresh sessions on demand.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from wa_emulator import xeddsa
from wa_emulator.journal import Journal
from wa_emulator.keys import KeyPair
from wa_emulator.nodes import ProtocolViolation
from wa_emulator.signal_session import KEY_TYPE, Bundle, PreKeyMessage, Session, Undecryptable

_MOST_STATES: Final = 8
_SIGNED_PREKEY_ID: Final = 1
_REGISTRATION_IDS: Final = 16_380


class Address(NamedTuple):
    """A device as Signal sees it: the user's LID and the device's number."""

    lid: str
    device: int


class Published(NamedTuple):
    """A prekey bundle and the signature of its signed prekey."""

    bundle: Bundle
    signature: bytes


class Participant:
    """A device whose Signal state is held by the emulator."""

    def __init__(self, name: str, journal: Journal) -> None:
        self.identity = KeyPair()
        self.registration_id = secrets.randbelow(_REGISTRATION_IDS) + 1
        self._name = name
        self._journal = journal
        self._signed_prekey = KeyPair()
        self._signature = b""
        self._prekeys: dict[int, KeyPair] = {}
        self._next_prekey = 1
        self._sessions: dict[Address, list[Session]] = {}

    def publish(self) -> Published:
        """Return a bundle with a one-time prekey that is handed out only here."""
        if not self._signature:
            self._signature = xeddsa.sign(self.identity.private, KEY_TYPE + self._signed_prekey.public)
        number, prekey = self._next_prekey, KeyPair()
        self._prekeys[number] = prekey
        self._next_prekey += 1
        self._save_keys()
        bundle = Bundle(
            self.registration_id,
            self.identity.public,
            _SIGNED_PREKEY_ID,
            self._signed_prekey.public,
            number,
            prekey.public,
        )
        return Published(bundle, self._signature)

    def encrypt(self, peer: Address, plaintext: bytes, fetch: Callable[[], Bundle]) -> tuple[str, bytes]:
        """Return a message for ``peer`` and its type, beginning a session with the bundle of ``fetch`` if needed."""
        if not self._sessions.get(peer):
            self.begin_session(peer, fetch())
        encrypted = self._sessions[peer][0].encrypt(plaintext)
        self._save_sessions(peer)
        return encrypted

    def begin_session(self, peer: Address, bundle: Bundle) -> None:
        """Use a fresh session from now on, keeping the older ones for what is still under way."""
        self._remember(peer, Session.initiate(self.identity, self.registration_id, bundle))

    def decrypt(self, peer: Address, kind: str, message: bytes) -> bytes:
        """Return the plaintext of a ``msg`` or ``pkmsg``. Raises Undecryptable or ProtocolViolation."""
        if kind == "pkmsg":
            first = PreKeyMessage.parse(message)
            self._accept(peer, first)
            message = first.message
        states = self._sessions.get(peer, [])
        for state in states:
            try:
                plaintext = state.decrypt(message)
            except Undecryptable:
                continue
            states.remove(state)
            states.insert(0, state)
            self._save_sessions(peer)
            return plaintext
        raise Undecryptable("no session fits")

    def forget(self, peer: Address) -> None:
        """Drop all sessions with a device that is gone."""
        if self._sessions.pop(peer, None) is not None:
            self._journal.delete("session", self._session_key(peer))

    def _accept(self, peer: Address, first: PreKeyMessage) -> None:
        if any(state.base_key == first.base_key for state in self._sessions.get(peer, ())):
            return
        if first.signed_prekey_id != _SIGNED_PREKEY_ID:
            raise Undecryptable("unknown signed prekey")
        prekey = None
        if first.prekey_id is not None:
            prekey = self._prekeys.pop(first.prekey_id, None)
            if prekey is None:
                raise Undecryptable("unknown one-time prekey")
            self._save_keys()
        self._remember(peer, Session.accept(self.identity, self._signed_prekey, prekey, first))

    def _remember(self, peer: Address, session: Session) -> None:
        states = self._sessions.setdefault(peer, [])
        states.insert(0, session)
        del states[_MOST_STATES:]
        self._save_sessions(peer)

    def _session_key(self, peer: Address) -> str:
        return f"{self._name}/{peer.lid}/{peer.device}"

    def _save_sessions(self, peer: Address) -> None:
        self._journal.save("session", self._session_key(peer), lambda: self._session_record(peer))

    def _session_record(self, peer: Address) -> bytes:
        return json.dumps([state.record() for state in self._sessions.get(peer, ())]).encode()

    def restore_sessions(self, peer: Address, record: bytes) -> None:
        self._sessions[peer] = [Session.restore(self.identity, state) for state in json.loads(record)]

    def _save_keys(self) -> None:
        self._journal.save("participant", self._name, self.record)

    def record(self) -> bytes:
        """Return the keys (not the sessions) for ``restore``."""
        return json.dumps({
            "identity": self.identity.private.hex(),
            "registration_id": self.registration_id,
            "signed_prekey": self._signed_prekey.private.hex(),
            "signature": self._signature.hex(),
            "prekeys": {str(number): prekey.private.hex() for number, prekey in self._prekeys.items()},
            "next_prekey": self._next_prekey,
        }).encode()  # fmt: skip

    @classmethod
    def restore(cls, name: str, journal: Journal, record: bytes) -> Participant:
        values: dict[str, Any] = json.loads(record)
        restored = cls(name, journal)
        restored.identity = KeyPair(bytes.fromhex(values["identity"]))
        restored.registration_id = values["registration_id"]
        restored._signed_prekey = KeyPair(bytes.fromhex(values["signed_prekey"]))
        restored._signature = bytes.fromhex(values["signature"])
        restored._prekeys = {int(n): KeyPair(bytes.fromhex(key)) for n, key in values["prekeys"].items()}
        restored._next_prekey = values["next_prekey"]
        return restored


def pad(plaintext: bytes) -> bytes:
    """Append 1 to 15 bytes of their own number, as WhatsApp pads messages before encryption."""
    padding = secrets.randbelow(15) + 1
    return plaintext + bytes((padding,)) * padding


def unpad(padded: bytes) -> bytes:
    """Undo ``pad``. Raises ProtocolViolation if the padding is wrong."""
    if not padded or not 0 < padded[-1] <= len(padded):
        raise ProtocolViolation("a message without padding")
    return padded[: -padded[-1]]
