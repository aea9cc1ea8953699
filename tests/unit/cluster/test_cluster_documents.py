from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.cluster.documents import Unreadable, instance_of, lease_of, write_of
from tandem.cluster.port import Put
from tandem.model.cluster import AccountStanding, Fitness, Instance, InstanceId, Lease, SlotStanding
from tandem.model.ids import AccountId
from tandem.model.states import SessionState, Slot
from tandem.store.firestore.documents import Names
from tandem.store.firestore.values import fields_of, fill
from unit.cluster.meeting_places import ACCOUNT, NORTH, heartbeat, lease

NAMES = Names("projects/demo/databases/(default)")
VERSION = (1_795_000_000, 123_456_000)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBER = st.integers(0, 2**62)
SECONDS = st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)
QUARTERS = st.integers(0, 16_000_000_000).map(lambda quarters: quarters / 4)  # exact in milliseconds, however rounded
ID = st.text("0123456789abcdef-", min_size=1, max_size=30)
SLOTS = st.builds(SlotStanding, st.sampled_from(SessionState), TEXT, TEXT, SECONDS)
STANDINGS = st.builds(
    AccountStanding,
    st.sampled_from(Fitness),
    st.dictionaries(st.sampled_from(Slot), SLOTS),
    QUARTERS,
)
INSTANCES = st.builds(
    Instance,
    id=ID.map(InstanceId),
    name=TEXT,
    term=NUMBER,
    beat=NUMBER,
    every=SECONDS,
    region=TEXT,
    url=TEXT,
    version=TEXT,
    origin=TEXT,
    deposed=st.booleans(),
    draining=st.booleans(),
    at=SECONDS,
    accounts=st.dictionaries(ID.map(AccountId), STANDINGS, max_size=3),
)
LEASES = st.builds(
    Lease,
    account=ID.map(AccountId),
    holder=ID.map(InstanceId),
    term=NUMBER,
    generation=NUMBER,
    wanted=st.just("") | ID,
    reason=TEXT,
    since=SECONDS,
    removed=st.booleans(),
)


def stored(document: Instance | Lease) -> Any:
    """The document as Firestore returns it after it was written."""
    update = write_of(NAMES, Put(document, None)).update
    update.update_time.seconds, update.update_time.nanos = VERSION
    return update


def changed(document: Any, values: Mapping[str, object]) -> Any:
    fields = {**fields_of(document), **values}
    document.ClearField("fields")
    fill(document, {name: value for name, value in fields.items() if value is not ...})
    return document


@given(INSTANCES)
def test_a_heartbeat_comes_back_as_it_was(instance: Instance) -> None:
    seen = instance_of(stored(instance))
    assert (seen.instance, seen.version) == (instance, VERSION)


@given(LEASES)
def test_a_lease_comes_back_as_it_was(one: Lease) -> None:
    seen = lease_of(stored(one))
    assert (seen.lease, seen.version) == (one, VERSION)


@given(st.floats(0, 4_000_000_000))
def test_a_mark_never_comes_back_later_than_it_was(mark: float) -> None:
    sent = replace(heartbeat(), accounts={ACCOUNT: AccountStanding(durable_through=mark)})
    back = instance_of(stored(sent)).instance.accounts[ACCOUNT].durable_through
    assert mark - 0.0011 < back <= mark


def test_where_documents_are_and_on_which_condition_they_are_written() -> None:
    created = write_of(NAMES, Put(heartbeat(), None))
    assert created.update.name == f"projects/demo/databases/(default)/documents/instances/{NORTH}"
    assert created.current_document.exists is False
    assert created.current_document.HasField("exists")
    later = write_of(NAMES, Put(lease(), VERSION))
    assert later.update.name == f"projects/demo/databases/(default)/documents/leases/{ACCOUNT}"
    time = later.current_document.update_time
    assert (time.seconds, time.nanos) == VERSION
    assert not later.HasField("update_mask"), "the whole document is written, not some fields of it"


def test_a_text_that_firestore_cannot_hold_does_not_stop_a_heartbeat() -> None:
    back = instance_of(stored(replace(heartbeat(), name="odd \udc80 name"))).instance
    assert back.name == "odd ? name"


BROKEN: dict[str, tuple[Callable[[], Any], dict[str, object]]] = {
    "lease without a holder": (lambda: stored(lease()), {"holder": ...}),
    "lease with a holder that is a number": (lambda: stored(lease()), {"holder": 5}),
    "lease with a generation that is a bool": (lambda: stored(lease()), {"generation": True}),
    "lease of a later release": (lambda: stored(lease()), {"schemaVersion": 2}),
    "lease without a version": (lambda: stored(lease()), {"schemaVersion": ...}),
    "heartbeat with a text for its beat": (lambda: stored(heartbeat()), {"beat": "1"}),
    "heartbeat without accounts": (lambda: stored(heartbeat()), {"accounts": ...}),
    "heartbeat with an account that is no map": (lambda: stored(heartbeat()), {"accounts": {"x": 1}}),
    "heartbeat with an account without a mark": (
        lambda: stored(heartbeat()),
        {"accounts": {"x": {"fitness": "online", "slots": {}}}},
    ),
    "heartbeat with a fitness of a later release": (
        lambda: stored(heartbeat()),
        {"accounts": {"x": {"fitness": "splendid", "slots": {}, "durableThroughMs": 0}}},
    ),
    "heartbeat with a slot that is no map": (
        lambda: stored(heartbeat()),
        {"accounts": {"x": {"fitness": "online", "slots": {"primary": []}, "durableThroughMs": 0}}},
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_cannot_be_understood_is_unreadable_and_its_content_is_not_repeated(broken: str) -> None:
    whole, change = BROKEN[broken]
    read = lease_of if broken.startswith("lease") else instance_of
    with pytest.raises(Unreadable) as caught:
        read(changed(whole(), change))
    assert "splendid" not in str(caught.value)


def test_what_a_later_release_adds_disturbs_nobody() -> None:
    standing: dict[str, object] = {
        "fitness": "linked",
        "durableThroughMs": 5_000,
        "mood": "good",
        "slots": {
            "third": {"state": "online", "reason": "", "device": "", "sinceMs": 0},
            "primary": {"state": "dreaming", "reason": "", "device": "", "sinceMs": 0},
            "backup": {"state": "online", "reason": "fine", "device": "d", "sinceMs": 1_500},
        },
    }
    seen = instance_of(changed(stored(heartbeat()), {"accounts": {"x": standing}, "colour": "blue"}))
    expected = AccountStanding(Fitness.LINKED, {Slot.BACKUP: SlotStanding(SessionState.ONLINE, "fine", "d", 1.5)}, 5.0)
    assert seen.instance == replace(heartbeat(), accounts={AccountId("x"): expected})
