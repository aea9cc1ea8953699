from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import distribution, version
from pathlib import Path

import pytest

from tandem.model.account import Account
from tandem.model.ids import Number, account_id
from tandem.model.phone import Presence, Proof
from tandem.model.states import AccountStatus, Role, SendingState, SessionState, Slot
from tandem.model.views import AccountView, SendingView, SlotView
from tandem.policy.next_step import next_step
from tandem.policy.survival import DAY, OLD_LIBRARY, problems, restricted_until
from tandem.whatsapp.release import LIBRARY

NUMBER = Number("+12025550123")
NOW = 1_800_000_000.0
FRESH = NOW - DAY


def _slot(slot: Slot, state: SessionState = SessionState.ONLINE, reason: str = "") -> SlotView:
    return SlotView(
        slot, "x", Role.STANDBY, state, reason, NOW - 60, 1, None, None, 0, None, next_step=next_step(state)
    )


def _account(state: SessionState = SessionState.ONLINE, reason: str = "") -> AccountView:
    slots = (_slot(Slot.PRIMARY), _slot(Slot.BACKUP, state, reason))
    return AccountView(Account(account_id(NUMBER), NUMBER, "Shop", 0.0), AccountStatus.ONLINE, slots)


def test_healthy_means_silent() -> None:
    assert problems(_account(), FRESH, NOW) == ()
    assert restricted_until(_account()) is None


@pytest.mark.parametrize(
    "state", [SessionState.UNPAIRED, *(state for state in SessionState if state.terminal)], ids=str
)
def test_every_stop_names_its_cause_and_the_next_step(state: SessionState) -> None:
    (problem,) = problems(_account(state, "the cause"), FRESH, NOW)
    assert problem.reason.key == str(state)
    assert "the cause" in problem.reason.words
    assert problem.reason.next_step
    assert problem.since == NOW - 60


def test_an_old_library_is_told_in_time() -> None:
    assert problems(_account(), NOW - OLD_LIBRARY, NOW) == ()
    (problem,) = problems(_account(), NOW - OLD_LIBRARY - DAY, NOW)
    assert (problem.reason.key, problem.since) == ("library_old", NOW - DAY)


def test_a_phone_that_was_not_seen_is_a_problem_from_the_tenth_day_on() -> None:
    account = replace(_account(), phone=Presence(NOW - 10 * DAY, Proof.MESSAGE))
    assert problems(account, FRESH, NOW - 1) == ()
    (problem,) = problems(account, FRESH, NOW + 3 * DAY)
    assert (problem.reason.key, problem.since) == ("phone_unseen", NOW)
    assert "13 of the 14 days" in problem.reason.words
    assert "today" in problem.reason.next_step


def test_a_restriction_is_a_problem_with_its_end_and_the_next_step() -> None:
    sending = SendingView(
        SendingState.SLOWED, 5.0, NOW + 900, "463", strangers_since=NOW - 9, strangers_until=NOW + 900
    )
    account = replace(_account(), sending=sending)
    (problem,) = problems(account, FRESH, NOW)
    assert (problem.reason.key, problem.since, problem.until) == ("restricted", NOW - 9, NOW + 900)
    assert problem.reason.next_step
    assert problems(account, FRESH, NOW + 900) == ()


def test_more_than_twenty_logins_of_both_devices_in_an_hour_are_unusual() -> None:
    primary, backup = _account().slots
    account = replace(_account(), slots=(replace(primary, logins=12), replace(backup, logins=8)))
    assert problems(account, FRESH, NOW) == ()
    account = replace(account, slots=(replace(primary, logins=13), replace(backup, logins=8)))
    (problem,) = problems(account, FRESH, NOW)
    assert problem.reason.key == "logins_many"
    assert "21 times" in problem.reason.words
    assert problem.reason.next_step


def test_without_a_linked_device_no_phone_is_missed() -> None:
    primary, backup = _account().slots
    unlinked = (replace(primary, device=""), replace(backup, device=""))
    account = replace(_account(), slots=unlinked, phone=Presence(NOW - 20 * DAY, Proof.MESSAGE))
    assert problems(account, FRESH, NOW) == ()


def test_a_ban_has_its_end() -> None:
    account = _account(SessionState.BANNED, "banned")
    slots = (account.slots[0], replace(account.slots[1], banned_until=NOW + 60))
    assert restricted_until(replace(account, slots=slots)) == NOW + 60


def test_the_release_is_the_pinned_and_installed_one_and_its_day_stands_in_the_library() -> None:
    root = Path(__file__).parents[3]
    pins = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"{LIBRARY.name}=={LIBRARY.version}" in pins
    assert version(LIBRARY.name) == LIBRARY.version
    (library,) = Path(str(distribution(LIBRARY.name).locate_file("neonize"))).glob("neonize-*.so")
    stamp = re.search(rb"go\.mau\.fi/whatsmeow\tv0\.0\.0-(\d{8})\d{6}-", library.read_bytes())
    assert stamp is not None
    assert datetime.fromtimestamp(LIBRARY.released, UTC).strftime("%Y%m%d") == stamp[1].decode()
