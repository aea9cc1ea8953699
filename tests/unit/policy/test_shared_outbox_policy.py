"""Every combination of a document and a row: what it comes to, in a table, and what must hold in all of them."""

from __future__ import annotations

from itertools import product

import pytest

from tandem.model.states import OutboxState
from tandem.policy.outbox import ENDED, PROVEN
from tandem.policy.shared_outbox import OPEN, Act, Document, Local, decide, further

Q, S, U = OutboxState.QUEUED, OutboxState.SENDING, OutboxState.UNKNOWN
SENT, DELIVERED, READ = PROVEN
EXPIRED = OutboxState.EXPIRED
N, UP, AD, AU = Act.NOTHING, Act.MIRROR_UP, Act.ADOPT, Act.ADOPT_UNKNOWN
Table = dict[OutboxState, tuple[Act, ...]]
STATES = (Q, S, U, SENT, DELIVERED, READ, EXPIRED)

# One line a document's state, one column a row's, in the order of STATES.
MINE = {
    Q: (N, UP, UP, UP, UP, UP, UP),
    S: (UP, N, UP, UP, UP, UP, UP),
    U: (UP, UP, N, UP, UP, UP, UP),
    SENT: (AD, AD, AD, N, UP, UP, AD),
    DELIVERED: (AD, AD, AD, AD, N, UP, AD),
    READ: (AD, AD, AD, AD, AD, N, AD),
    EXPIRED: (AD, AD, AD, UP, UP, UP, N),
}
ANOTHERS = {
    Q: (AD, AD, AD, UP, UP, UP, AD),
    S: (AU, AU, AU, UP, UP, UP, AU),
    U: (AU, AU, AU, UP, UP, UP, AU),
    SENT: (AD, AD, AD, N, UP, UP, AD),
    DELIVERED: (AD, AD, AD, AD, N, UP, AD),
    READ: (AD, AD, AD, AD, AD, N, AD),
    EXPIRED: (AD, AD, AD, UP, UP, UP, N),
}
IMPORTS = {Q: Act.IMPORT_QUEUED, S: Act.IMPORT_UNKNOWN, U: Act.IMPORT_UNKNOWN}
EVERYTHING = list(product(OutboxState, [0, 1, 2, 3], [False, True], OutboxState, [False, True], [1, 2]))


@pytest.mark.parametrize(("news", "table"), [(False, MINE), (True, ANOTHERS)])
@pytest.mark.parametrize("document", STATES)
def test_a_document_beside_a_row(
    document: OutboxState, table: dict[OutboxState, tuple[Act, ...]], *, news: bool
) -> None:
    found = tuple(decide(Document(document, 2, news), Local(local), 3) for local in STATES)
    assert found == table[document]


@pytest.mark.parametrize("state", OutboxState)
@pytest.mark.parametrize("news", [False, True])
@pytest.mark.parametrize("generation", [0, 2, 3])
def test_a_document_without_a_row(state: OutboxState, generation: int, *, news: bool) -> None:
    assert decide(Document(state, generation, news), None, 3) is IMPORTS.get(state, Act.NOTHING)


@pytest.mark.parametrize("state", OutboxState)
def test_a_row_without_a_document(state: OutboxState) -> None:
    is_open = state in OPEN
    assert decide(None, Local(state, shared=False), 3) is (Act.CREATE if is_open else Act.NOTHING)
    assert decide(None, Local(state), 3) is (Act.END if is_open else Act.NOTHING)
    assert decide(None, None, 3) is Act.NOTHING


@pytest.mark.parametrize("state", sorted(OPEN))
def test_what_has_moved_within_its_state_is_written_up(state: OutboxState) -> None:
    assert decide(Document(state, 3), Local(state, moved=True), 3) is Act.MIRROR_UP


def test_nothing_is_done_about_what_a_later_lease_has_changed() -> None:
    for state, _, news, local, moved, _ in EVERYTHING:
        assert decide(Document(state, 4, news), Local(local, moved=moved), 3) is Act.STALE
        assert decide(Document(state, 4, news), None, 3) is Act.STALE


def test_in_no_case_is_proof_lost_or_doubt_made_certain() -> None:
    for document, generation, news, local, moved, mine in EVERYTHING:
        act = decide(Document(document, generation, news), Local(local, moved=moved), mine)
        if act is Act.STALE:
            continue
        after = local if act in {Act.MIRROR_UP, Act.NOTHING} else document
        if local in PROVEN or document in PROVEN:
            assert after in PROVEN
            assert not further(local, after)
            assert not further(document, after)
        if act is Act.ADOPT:
            assert document not in {S, U}  # what another one may have sent is never taken for what it says
        if document in ENDED and local not in PROVEN:
            assert after in ENDED
