from __future__ import annotations

import grpc  # type: ignore[import-untyped]
import pytest

from tandem.store.firestore.verdicts import BY_NUMBER, Kind, judge

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "said", "kind"),
    [
        (Code.UNAVAILABLE, "failed to connect to all addresses", Kind.AGAIN),
        (Code.UNAVAILABLE, "Getting metadata from plugin failed with error: invalid_grant", Kind.OPERATOR),
        (Code.UNAVAILABLE, "Getting metadata from plugin failed with error: timed out", Kind.AGAIN),
        (Code.DEADLINE_EXCEEDED, "", Kind.SLOW),
        (Code.INTERNAL, "", Kind.AGAIN),
        (Code.UNKNOWN, "", Kind.AGAIN),
        (Code.CANCELLED, "", Kind.AGAIN),
        (Code.ABORTED, "Too much contention", Kind.AGAIN),
        (Code.RESOURCE_EXHAUSTED, "Quota exceeded.", Kind.AGAIN),
        (Code.RESOURCE_EXHAUSTED, "gRPC message exceeds maximum size 4194304: 5000000", Kind.TOO_LARGE),
        (Code.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)", Kind.TOO_LARGE),
        (Code.INVALID_ARGUMENT, "Transaction too big.", Kind.REFUSED),
        (Code.OUT_OF_RANGE, "", Kind.REFUSED),
        (Code.ALREADY_EXISTS, "", Kind.EXISTS),
        (Code.FAILED_PRECONDITION, "", Kind.LOST_RACE),
        (Code.PERMISSION_DENIED, "", Kind.OPERATOR),
        (Code.UNAUTHENTICATED, "", Kind.OPERATOR),
        (Code.NOT_FOUND, "The database (default) does not exist", Kind.OPERATOR),
        (Code.NOT_FOUND, "No document to update: projects/p/databases/(default)/documents/leases/1", Kind.MISSING),
        (Code.NOT_FOUND, 'no entity to update: app: "dev~p"', Kind.MISSING),
        (Code.UNIMPLEMENTED, "", Kind.OPERATOR),
        (Code.DATA_LOSS, "", Kind.AGAIN),
        (None, "", Kind.AGAIN),
    ],
)
def test_each_error_means_one_thing(code: object, said: str, kind: Kind) -> None:
    assert judge(code, said).kind is kind


def test_no_verdict_repeats_what_the_server_said() -> None:
    for code in Code:
        assert "12025550142" not in judge(code, "quoting accounts/x/chats/12025550142@s.whatsapp.net").text


def test_numbers_name_the_same_codes() -> None:
    assert BY_NUMBER[6] is Code.ALREADY_EXISTS
    assert BY_NUMBER[9] is Code.FAILED_PRECONDITION
