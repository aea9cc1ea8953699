from __future__ import annotations

from typing import Any

import pytest

from tandem.errors import Misconfigured
from tandem.model.event import EventType
from tandem.policy.survival import DAY, OLD_LIBRARY
from tandem.settings import load
from tandem.surroundings import is_shared, tell_of_old_library
from unit.queue.parts import Told

NOW = 1_800_000_000.0


def test_a_library_within_its_limit_is_not_spoken_of() -> None:
    told = Told()
    tell_of_old_library(NOW - OLD_LIBRARY, NOW, told)
    assert told.events == []


def test_a_library_beyond_its_limit_is_told_once_with_what_to_do() -> None:
    told = Told()
    tell_of_old_library(NOW - OLD_LIBRARY - 7 * DAY, NOW, told)
    (event,) = told.of(EventType.LIBRARY_OLD)
    assert "97 days old" in event["message"]
    assert "upgrade Tandem" in event["next_step"]


NORTH, SOUTH = {"primary_region_url": "https://north.example"}, {"backup_region_url": "https://south.example"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PRIMARY_REGION_URL", "BACKUP_REGION_URL", "TANDEM_CLUSTER__MODE", "TANDEM_CLUSTER__SLOTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("store", "mode", "urls", "shared"),
    [
        ("sqlite", "off", {}, False),
        ("sqlite", "off", NORTH, False),
        ("sqlite", "auto", {}, False),
        ("sqlite", "auto", NORTH | SOUTH, False),
        ("firestore", "off", NORTH | SOUTH, False),
        ("firestore", "auto", {}, False),
        ("firestore", "auto", NORTH, True),
        ("firestore", "auto", SOUTH, True),
        ("firestore", "on", {}, True),
        ("firestore", "on", NORTH, True),
    ],
)
def test_accounts_are_shared_if_it_is_said_or_a_region_is_named_and_there_is_a_place_to_meet(
    store: str,
    mode: str,
    urls: dict[str, str],
    shared: bool,  # noqa: FBT001 - the table's
) -> None:
    settings: dict[str, Any] = {"cluster": {"mode": mode}, **urls}
    assert is_shared(load(settings), store) is shared


@pytest.mark.parametrize("slots", ["primary", "backup"])
@pytest.mark.parametrize(
    ("store", "mode", "urls", "allowed"),
    [
        ("firestore", "on", {}, True),
        ("firestore", "auto", NORTH, True),
        ("firestore", "auto", {}, False),
        ("firestore", "off", NORTH, False),
        ("sqlite", "auto", NORTH, False),
    ],
)
def test_an_instance_that_shares_nothing_runs_both_slots(
    store: str,
    mode: str,
    urls: dict[str, str],
    slots: str,
    allowed: bool,  # noqa: FBT001 - the table's
) -> None:
    settings = load({"cluster": {"mode": mode, "slots": slots}, **urls})
    if allowed:
        assert is_shared(settings, store)
        return
    with pytest.raises(Misconfigured, match="TANDEM_CLUSTER__SLOTS"):
        is_shared(settings, store)


@pytest.mark.parametrize("slots", ["both", "primary"])
def test_leases_without_firestore_are_refused_with_what_to_do(slots: str) -> None:
    with pytest.raises(Misconfigured, match="MODE=on needs Firestore"):
        is_shared(load({"cluster": {"mode": "on", "slots": slots}}), "sqlite")
