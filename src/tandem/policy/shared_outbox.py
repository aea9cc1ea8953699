"""What to do when an instance compares an outgoing message's document, which all share, with its own row.

The document is the truth about what may be sent; the row is the working copy of the instance that runs the account. A
row is the later word of the two, unless another instance has changed the document since it was last looked at.

Invariants: nothing becomes ``queued`` here that another instance may have sent: what it left ``sending`` or ``unknown``
is ``unknown`` here, and is settled by evidence. Proof that the server has a message is kept, whoever has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tandem.model.states import OutboxState
from tandem.policy.outbox import ENDED, PROVEN

INTERRUPTED = "another instance was sending it when its lease ended: it may have been sent"


class Act(Enum):
    """What to do now."""

    NOTHING = "nothing"  # both say the same
    IMPORT_QUEUED = "import_queued"  # make a row of it, to be sent
    IMPORT_UNKNOWN = "import_unknown"  # make a row of it, whose fate evidence has to settle
    MIRROR_UP = "mirror_up"  # write the row's state to the document
    ADOPT = "adopt"  # let the row be as the document is
    ADOPT_UNKNOWN = "adopt_unknown"  # the same, but another instance may have sent it
    CREATE = "create"  # make a document of the row: it is older than the sharing
    END = "end"  # somebody deleted the document: the row may not be sent
    STALE = "stale"  # a later lease has changed the document: this instance has nothing to say any more


@dataclass(frozen=True, slots=True)
class Document:
    """``generation`` is the lease's under which it was changed last, 0 as it was accepted.

    ``news``: another instance changed it, and this one has not taken that into account yet.
    """

    state: OutboxState
    generation: int = 0
    news: bool = False


@dataclass(frozen=True, slots=True)
class Local:
    """``shared``: it is known to have, or to have had, a document. ``moved``: it has changed since they were equal."""

    state: OutboxState
    shared: bool = True
    moved: bool = False


def decide(document: Document | None, local: Local | None, generation: int) -> Act:
    """Compare under the lease of this ``generation``."""
    if document is None:
        return _without_document(local)
    if document.generation > generation:
        return Act.STALE
    if local is None:
        return _import(document)
    if local.state in PROVEN or document.state in PROVEN:
        return _proven(document.state, local.state)
    if local.state in ENDED or document.state in ENDED:
        return _ended(document, local)
    return _open(document, local)


def further(one: OutboxState, other: OutboxState) -> bool:
    """Whether the first is a proof that says more than the second."""
    return _proof(one) > _proof(other)


def _without_document(local: Local | None) -> Act:
    if local is None or local.state in PROVEN or local.state in ENDED:
        return Act.NOTHING
    return Act.END if local.shared else Act.CREATE


def _import(document: Document) -> Act:
    if document.state is OutboxState.QUEUED:
        return Act.IMPORT_QUEUED
    return Act.IMPORT_UNKNOWN if document.state in _IN_DOUBT else Act.NOTHING


def _proven(document: OutboxState, local: OutboxState) -> Act:
    if further(local, document):
        return Act.MIRROR_UP
    return Act.ADOPT if further(document, local) else Act.NOTHING


def _ended(document: Document, local: Local) -> Act:
    if document.state in ENDED:
        return Act.NOTHING if local.state in ENDED else Act.ADOPT
    return _adopted(document) if document.news else Act.MIRROR_UP


def _open(document: Document, local: Local) -> Act:
    if document.news:
        return _adopted(document)
    return Act.NOTHING if document.state is local.state and not local.moved else Act.MIRROR_UP


def _adopted(document: Document) -> Act:
    return Act.ADOPT_UNKNOWN if document.state in _IN_DOUBT else Act.ADOPT


def _proof(state: OutboxState) -> int:
    return PROVEN.index(state) if state in PROVEN else -1


_IN_DOUBT = frozenset({OutboxState.SENDING, OutboxState.UNKNOWN})
OPEN = _IN_DOUBT | {OutboxState.QUEUED}
"""Something is still to become of it."""
