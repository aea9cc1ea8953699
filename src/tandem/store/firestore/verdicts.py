"""What an error of Firestore means for the one who asked. Source: the code table of google.rpc and of Firestore.

Most errors mean "again, later", with the same content: creating is idempotent here. Few mean that a document is at
fault. Those that an operator has to act on are told in words, and no message ever becomes a dead letter over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import grpc  # type: ignore[import-untyped]

from tandem.errors import StoreUnavailable

_Code = grpc.StatusCode
_OUTAGE, _CONTENTION, _QUOTA, _OPERATOR = 2.0, 1.0, 60.0, 30.0
_NO_DOCUMENT_SAID = "to update"  # "No document to update", in the emulator "no entity to update"
_SIZE = ("exceeds maximum size", "larger than max", "too big", "payload size exceeds")
BY_NUMBER = {code.value[0]: code for code in _Code}


class Kind(Enum):
    AGAIN = auto()  # the outcome is unknown or nothing was done: the same once more, later
    SLOW = auto()  # the same, but the answer did not come in time
    TOO_LARGE = auto()  # the request, not its content
    REFUSED = auto()  # something in the request can never be stored
    EXISTS = auto()  # what was to be created is there
    LOST_RACE = auto()  # a precondition no longer holds
    MISSING = auto()  # what was to be changed is not there
    OPERATOR = auto()  # somebody has to change something; until then everything waits


@dataclass(frozen=True, slots=True)
class Verdict:
    """``text`` holds nothing the server said; ``retry_after`` in seconds says when trying again makes sense."""

    kind: Kind
    text: str
    retry_after: float = _OUTAGE

    def unavailable(self) -> StoreUnavailable:
        return StoreUnavailable(self.text, self.retry_after)


def judge(code: object, said: str) -> Verdict:
    """``said`` is the server's message: looked at, never repeated, for it quotes paths and values."""
    if code is _Code.RESOURCE_EXHAUSTED and any(part in said for part in _SIZE):
        return Verdict(Kind.TOO_LARGE, "the request is too large for Firestore")
    if code is _Code.NOT_FOUND and _NO_DOCUMENT_SAID in said:
        return _NO_DOCUMENT
    if code is _Code.UNAVAILABLE and "metadata from plugin" in said:
        return _login(said)
    return _TABLE.get(code, Verdict(Kind.AGAIN, "Firestore failed with an unknown error"))


def judge_write(code: object, said: str) -> Verdict:
    """Judge one write of a batch, of which only documents can be missing, not the database."""
    return _NO_DOCUMENT if code is _Code.NOT_FOUND else judge(code, said)


def _login(said: str) -> Verdict:
    """The access token could not be made: with a wrong key never, without a network not now."""
    if "invalid_grant" in said or "invalid_client" in said or "JWT" in said:
        return _TABLE[_Code.UNAUTHENTICATED]
    return Verdict(Kind.AGAIN, "Google's login does not answer")


_NO_DOCUMENT = Verdict(Kind.MISSING, "there is no such document")
_TABLE: dict[object, Verdict] = {
    _Code.UNAVAILABLE: Verdict(Kind.AGAIN, "Firestore is not reachable"),
    _Code.DEADLINE_EXCEEDED: Verdict(Kind.SLOW, "Firestore did not answer in time"),
    _Code.INTERNAL: Verdict(Kind.AGAIN, "Firestore had an internal error"),
    _Code.UNKNOWN: Verdict(Kind.AGAIN, "Firestore failed without saying why"),
    _Code.CANCELLED: Verdict(Kind.AGAIN, "the call to Firestore was cancelled"),
    _Code.ABORTED: Verdict(Kind.AGAIN, "too much contention on one document", _CONTENTION),
    _Code.RESOURCE_EXHAUSTED: Verdict(
        Kind.AGAIN, "Firestore's quota is used up (a daily one lasts until midnight Pacific time)", _QUOTA
    ),
    _Code.INVALID_ARGUMENT: Verdict(Kind.REFUSED, "Firestore refuses the request as malformed", _OPERATOR),
    _Code.OUT_OF_RANGE: Verdict(Kind.REFUSED, "Firestore refuses a value as out of range", _OPERATOR),
    _Code.ALREADY_EXISTS: Verdict(Kind.EXISTS, "somebody else wrote the document first", _CONTENTION),
    _Code.FAILED_PRECONDITION: Verdict(
        Kind.LOST_RACE,
        "Firestore refuses for the state it is in: deploy config/firestore.indexes.json "
        "(firebase deploy --only firestore:indexes), and check that the database is in native mode",
        _OPERATOR,
    ),
    _Code.PERMISSION_DENIED: Verdict(
        Kind.OPERATOR,
        "Firestore denies access: give the service account the role Cloud Datastore User in this project, "
        "and check that the Firestore API is enabled",
        _OPERATOR,
    ),
    _Code.UNAUTHENTICATED: Verdict(
        Kind.OPERATOR,
        "Firestore does not accept the credentials: the service account's key was revoked or belongs elsewhere, or "
        "this machine's clock is wrong; make a new key",
        _OPERATOR,
    ),
    _Code.NOT_FOUND: Verdict(
        Kind.OPERATOR,
        "there is no such Firestore database: create it in the project, or correct project and database name",
        _OPERATOR,
    ),
    _Code.UNIMPLEMENTED: Verdict(
        Kind.OPERATOR, "what answers is no Firestore database in native mode: check host and database", _OPERATOR
    ),
}
