"""What production's Listen streams may say, which the emulator never says. Source: the Listen RPC's documentation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from google.cloud.firestore_v1 import types
from structlog.testing import capture_logs

from tandem.cluster.documents import instance_name, lease_name, write_of
from tandem.cluster.picture import Picture, Reader, targets
from tandem.cluster.port import Put, Sight
from tandem.errors import StoreUnavailable
from tandem.model.cluster import Instance, Lease
from tandem.store.firestore.documents import Names
from tandem.store.firestore.values import fill
from unit.cluster.meeting_places import ACCOUNT, NORTH, OTHER, SOUTH, heartbeat, lease

NAMES = Names("projects/demo/databases/(default)")
INSTANCES, LEASES = 1, 2
Answer: Any = type(types.ListenResponse.pb(types.ListenResponse()))
Kind = types.TargetChange.TargetChangeType


def told(document: Instance | Lease, at: int) -> Any:
    answer = Answer()
    change = answer.document_change
    change.document.CopyFrom(write_of(NAMES, Put(document, None)).update)
    change.document.update_time.seconds = at
    change.target_ids.append(INSTANCES if isinstance(document, Instance) else LEASES)
    return answer


def target(kind: int, *numbers: int, read_time: int = 0, code: int = 0) -> Any:
    answer = Answer()
    answer.target_change.target_change_type = kind
    answer.target_change.target_ids.extend(numbers)
    if read_time:
        answer.target_change.read_time.seconds = read_time
    answer.target_change.cause.code = code
    return answer


def settled(at: int) -> Any:
    return target(Kind.NO_CHANGE, read_time=at)


def current(*numbers: int) -> Any:
    return target(Kind.CURRENT, *numbers, read_time=1)


def sights(picture: Picture, answers: Iterable[Any]) -> list[Sight]:
    return [sight for sight in map(picture.take, answers) if sight is not None]


@pytest.fixture
def picture() -> Picture:
    """One that has seen two instances and a lease."""
    picture = Picture(Reader())
    start = [
        *(target(Kind.ADD, number) for number in (INSTANCES, LEASES)),
        *(told(document, 10) for document in (heartbeat(), heartbeat(SOUTH), lease())),
        current(INSTANCES, LEASES),
        settled(11),
    ]
    [first] = sights(picture, start)
    assert first.whole
    return picture


def test_both_collections_are_listened_to_whole() -> None:
    found = [(each.target_id, each.query.structured_query.from_[0].collection_id) for each in targets(NAMES)]
    assert found == [(INSTANCES, "instances"), (LEASES, "leases")]
    assert {each.query.parent for each in targets(NAMES)} == {NAMES.root}


def test_nothing_is_passed_on_before_both_collections_are_known() -> None:
    answers = [told(heartbeat(), 10), current(INSTANCES), settled(11), told(lease(), 9), current(LEASES)]
    picture = Picture(Reader())
    assert sights(picture, answers) == []
    [first] = sights(picture, [settled(12)])
    assert (first.whole, set(first.instances), set(first.leases)) == (True, {NORTH}, {ACCOUNT})


def test_only_what_changed_comes_and_only_once_it_is_consistent(picture: Picture) -> None:
    assert sights(picture, [told(heartbeat(beat=2), 20), told(lease(generation=2), 20)]) == []
    [sight] = sights(picture, [settled(21)])
    assert (sight.whole, set(sight.instances), set(sight.leases)) == (False, {NORTH}, {ACCOUNT})
    seen = sight.leases[ACCOUNT]
    assert seen is not None
    assert (seen.lease.generation, seen.version) == (2, (20, 0))


def test_a_sign_of_life_of_the_stream_is_no_change(picture: Picture) -> None:
    assert sights(picture, [settled(30), target(Kind.NO_CHANGE, INSTANCES, read_time=31), settled(32)]) == []


def test_a_read_time_of_one_collection_alone_passes_nothing_on(picture: Picture) -> None:
    assert sights(picture, [told(heartbeat(beat=2), 20), target(Kind.NO_CHANGE, INSTANCES, read_time=21)]) == []


@pytest.mark.parametrize("kind", ["document_delete", "document_remove", "document_change"])
def test_a_document_that_goes_is_told_once(picture: Picture, kind: str) -> None:
    gone = Answer()
    if kind == "document_change":
        gone.document_change.document.name = lease_name(NAMES, ACCOUNT)
        gone.document_change.removed_target_ids.append(LEASES)
    else:
        getattr(gone, kind).document = lease_name(NAMES, ACCOUNT)
        getattr(gone, kind).removed_target_ids.append(LEASES)
    [sight] = sights(picture, [gone, settled(20), gone, settled(21)])
    assert (sight.instances, sight.leases) == ({}, {ACCOUNT: None})


def test_what_a_reset_does_not_tell_again_is_gone_and_what_it_tells_again_no_news(picture: Picture) -> None:
    reset = [target(Kind.RESET, INSTANCES), told(heartbeat(), 10), settled(20), current(INSTANCES)]
    assert sights(picture, reset) == [], "half a reset is no state"
    [sight] = sights(picture, [settled(21)])
    assert (sight.instances, sight.leases, sight.whole) == ({SOUTH: None}, {}, False)


def test_a_reset_that_names_no_collection_means_both(picture: Picture) -> None:
    answers = [target(Kind.RESET), told(heartbeat(), 10), told(heartbeat(SOUTH), 10), target(Kind.CURRENT), settled(20)]
    [sight] = sights(picture, answers)
    assert (sight.instances, sight.leases) == ({}, {ACCOUNT: None})


@pytest.mark.parametrize(("count", "believed"), [(2, True), (1, False)])
def test_a_count_that_differs_ends_the_stream(picture: Picture, count: int, *, believed: bool) -> None:
    counted = Answer()
    counted.filter.target_id = INSTANCES
    counted.filter.count = count
    if believed:
        assert sights(picture, [counted, settled(20)]) == []
    else:
        with pytest.raises(StoreUnavailable):
            picture.take(counted)


def test_a_collection_that_is_taken_away_ends_the_stream_with_what_to_do(picture: Picture) -> None:
    with pytest.raises(StoreUnavailable, match="Cloud Datastore User"):
        picture.take(target(Kind.REMOVE, LEASES, code=7))


def test_what_cannot_be_read_is_said_once_and_neither_told_nor_taken_for_missing(picture: Picture) -> None:
    broken = told(lease(OTHER), 20)
    fill(broken.document_change.document, {"holder": 5})
    spoilt = told(heartbeat(SOUTH), 20)
    fill(spoilt.document_change.document, {"schemaVersion": 99})
    with capture_logs() as logs:
        [sight] = sights(picture, [broken, spoilt, settled(21)])
        assert (sight.instances, sight.leases) == ({}, {})
        spoilt.document_change.document.update_time.seconds = 22
        [again] = sights(picture, [spoilt, settled(23)])
        assert again.instances == {}
    assert [(line["event"], line["document"]) for line in logs] == [
        ("cluster_document_unreadable", f"leases/{OTHER}"),
        ("cluster_document_unreadable", f"instances/{SOUTH}"),
    ]
    [sight] = sights(picture, [told(heartbeat(SOUTH, 3), 24), settled(25)])
    seen = sight.instances[SOUTH]
    assert seen is not None
    assert seen.instance.beat == 3


def test_what_cannot_be_read_and_is_deleted_is_gone(picture: Picture) -> None:
    broken = told(heartbeat(SOUTH), 20)
    fill(broken.document_change.document, {"beat": ""})
    gone = Answer()
    gone.document_delete.document = instance_name(NAMES, SOUTH)
    assert sights(picture, [broken, settled(21), gone, settled(22)])[-1].instances == {SOUTH: None}
