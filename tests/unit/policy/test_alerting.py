from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.model.ids import AccountId
from tandem.model.states import AccountStatus, SessionState, Slot
from tandem.policy.alert_rules import RULES, AccountFacts, Facts, Finding, SlotFacts, Thresholds, findings
from tandem.policy.alerting import Alert, Manners, Notice, NoticeKind, step

ACCOUNT = AccountId("0123456789abcdef")
MANNERS = Manners(settle=60, throttle=3600)
OFFLINE = Finding(RULES["account_offline"], "no session is online", ACCOUNT)
BANNED = Finding(RULES["account_banned"], "banned", ACCOUNT)


def account(status: AccountStatus, primary: SessionState, backup: SessionState, **more: object) -> AccountFacts:
    slots = (SlotFacts(Slot.PRIMARY, primary), SlotFacts(Slot.BACKUP, backup))
    return AccountFacts(ACCOUNT, status, slots, **more)  # type: ignore[arg-type]


HEALTHY = account(AccountStatus.ONLINE, SessionState.ONLINE, SessionState.ONLINE)


def names(facts: Facts) -> set[str]:
    return {finding.rule.name for finding in findings(facts)}


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        (Facts(disconnects=11), "disconnects_high"),
        (Facts(reconnects=7, reconnect_failures=3), "reconnects_failing"),
        (Facts(rate_limits=6), "rate_limited"),
        (Facts(processed=98, lost=2), "messages_lost"),
        (Facts(dead_letters=1), "dead_letters"),
        (Facts(inbox_age=121), "queue_old"),
        (Facts(outbox_age=121), "queue_old"),
        (Facts(store_trouble="it does not answer"), "store_degraded"),
        (Facts(disk_free=0.05), "disk_low"),
        (Facts(fleet_held="20 of 60 sessions failed at once"), "fleet_held"),
        (Facts(lease_trouble="it could not be renewed"), "lease_trouble"),
        (
            Facts((account(AccountStatus.OFFLINE, SessionState.WAITING, SessionState.UNPAIRED),)),
            "account_offline",
        ),
        (Facts((account(AccountStatus.DEGRADED, SessionState.ONLINE, SessionState.UNPAIRED),)), "backup_missing"),
        (Facts((account(AccountStatus.DEGRADED, SessionState.ONLINE, SessionState.PARKED),)), "slot_stopped"),
        (Facts((account(AccountStatus.DEGRADED, SessionState.ONLINE, SessionState.CONFLICT),)), "slot_conflict"),
        (Facts((account(AccountStatus.OFFLINE, SessionState.BANNED, SessionState.BANNED),)), "account_banned"),
        (Facts((account(AccountStatus.OFFLINE, SessionState.OUTDATED, SessionState.ONLINE),)), "client_outdated"),
        (Facts((AccountFacts(ACCOUNT, AccountStatus.ONLINE, (), phone_unseen_days=10),)), "phone_unseen"),
        (Facts((AccountFacts(ACCOUNT, AccountStatus.ONLINE, (), phone_unseen_days=12),)), "phone_nearly_gone"),
        (
            Facts((AccountFacts(ACCOUNT, AccountStatus.ONLINE, (), burning="fast", burning_urgent=True),)),
            "error_budget_fast",
        ),
        (Facts((AccountFacts(ACCOUNT, AccountStatus.ONLINE, (), burning="slow"),)), "error_budget_slow"),
        (
            Facts(
                (
                    AccountFacts(
                        ACCOUNT, AccountStatus.ONLINE, (SlotFacts(Slot.BACKUP, SessionState.ONLINE, deaf=True),)
                    ),
                )
            ),
            "session_deaf",
        ),
    ],
)
def test_each_rule_finds_what_it_is_for(facts: Facts, rule: str) -> None:
    assert rule in names(facts)


def test_every_rule_is_tested_and_says_what_to_do() -> None:
    tested = {
        case[1]
        for case in test_each_rule_finds_what_it_is_for.pytestmark[0].args[1]  # type: ignore[attr-defined]
    }
    assert tested == set(RULES)
    assert all(rule.todo and rule.meaning for rule in RULES.values())


@pytest.mark.parametrize(
    "facts",
    [
        Facts((HEALTHY,)),
        Facts((account(AccountStatus.UNPAIRED, SessionState.UNPAIRED, SessionState.PAIRING),)),
        Facts(
            disconnects=10, rate_limits=5, processed=99, lost=0, inbox_age=120, disk_free=0.1
        ),  # the threshold is no excess
        Facts(reconnects=1, reconnect_failures=1),  # half of two says nothing
        Facts(reconnects=8, reconnect_failures=2),
        Facts((AccountFacts(ACCOUNT, AccountStatus.ONLINE, (), phone_unseen_days=9),)),
    ],
)
def test_healthy_means_silent(facts: Facts) -> None:
    assert findings(facts) == []


def test_thresholds_can_be_set() -> None:
    assert names(Facts(disconnects=11, thresholds=Thresholds(disconnects_per_hour=20))) == set()


class Desk:
    """Plays findings against the policy second by second."""

    def __init__(self) -> None:
        self.alerts: dict[str, Alert] = {}
        self.now = 0.0
        self.told: list[tuple[float, NoticeKind, str]] = []

    def play(self, seconds: float, *found: Finding, every: float = 5.0) -> list[Notice]:
        end, all_notices = self.now + seconds, []
        while self.now < end:
            self.alerts, notices = step(self.alerts, found, self.now, MANNERS)
            self.told += [(self.now, notice.kind, notice.alert.finding.rule.name) for notice in notices]
            all_notices += notices
            self.now += every
        return all_notices


def test_an_alert_fires_when_it_has_held_once_and_resolves_once() -> None:
    desk = Desk()
    desk.play(600, OFFLINE)
    desk.play(600)
    assert [(when, kind) for when, kind, _ in desk.told] == [(60.0, NoticeKind.FIRED), (660.0, NoticeKind.RESOLVED)]


def test_a_short_dip_is_not_told() -> None:
    desk = Desk()
    desk.play(55, OFFLINE)
    desk.play(600)
    assert desk.told == []
    assert desk.alerts == {}


def test_a_ban_is_told_at_once() -> None:
    desk = Desk()
    desk.play(5, BANNED)
    assert desk.told == [(0.0, NoticeKind.FIRED, "account_banned")]


def test_flapping_is_told_once_an_hour_and_one_that_stays_is_told_in_the_end() -> None:
    desk = Desk()
    for _ in range(10):
        desk.play(120, OFFLINE)
        desk.play(120)
    fired = [when for when, kind, _ in desk.told if kind is NoticeKind.FIRED]
    assert fired == [60.0]
    desk.play(3600, OFFLINE)
    fired = [when for when, kind, _ in desk.told if kind is NoticeKind.FIRED]
    assert len(fired) == 2
    assert fired[1] - fired[0] >= 3600


def test_a_gap_in_the_evidence_does_not_end_an_alert() -> None:
    desk = Desk()
    desk.play(120, OFFLINE)
    desk.play(30)
    desk.play(120, OFFLINE)
    assert [kind for _, kind, _ in desk.told] == [NoticeKind.FIRED]


def test_a_day_of_quiet_says_nothing_and_remembers_nothing() -> None:
    desk = Desk()
    desk.play(86_400, *findings(Facts((HEALTHY,))), every=15)
    assert (desk.told, desk.alerts) == ([], {})


@given(
    st.lists(
        st.tuples(st.sampled_from([(), (OFFLINE,), (BANNED,), (OFFLINE, BANNED)]), st.integers(1, 2000)), max_size=40
    )
)
def test_nobody_is_told_twice_within_the_throttle_and_ends_follow_beginnings(
    spells: Iterable[tuple[tuple[Finding, ...], int]],
) -> None:
    desk = Desk()
    for found, seconds in spells:
        desk.play(seconds, *found, every=20)
    for rule in ("account_offline", "account_banned"):
        told = [(when, kind) for when, kind, name in desk.told if name == rule]
        assert [kind for _, kind in told] == [(NoticeKind.FIRED, NoticeKind.RESOLVED)[i % 2] for i in range(len(told))]
        fired = [when for when, kind in told if kind is NoticeKind.FIRED]
        assert all(later - earlier >= MANNERS.throttle for earlier, later in pairwise(fired))
