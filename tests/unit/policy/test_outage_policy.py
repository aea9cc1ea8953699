from __future__ import annotations

import pytest

from tandem.model.ids import AccountId
from tandem.model.outage import Observation, Outage
from tandem.model.states import SessionState, Slot
from tandem.policy.outages import INSUFFICIENT_DATA, Standing, after, at_boot, uptime

ACCOUNT = AccountId("a" * 16)
DAY = 86_400.0
REASONS = {Slot.PRIMARY: "connection lost", Slot.BACKUP: ""}


def states(primary: SessionState, backup: SessionState = SessionState.UNPAIRED) -> dict[Slot, SessionState]:
    return {Slot.PRIMARY: primary, Slot.BACKUP: backup}


def test_a_new_account_is_not_out() -> None:
    standing, outage = after(Standing(), ACCOUNT, states(SessionState.PAIRING), {}, 5.0)
    assert (standing, outage) == (Standing(), None)


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.ONLINE])
def test_only_online_counts_and_an_outage_ends_with_it(state: SessionState) -> None:
    standing, outage = after(Standing(), ACCOUNT, states(SessionState.ONLINE), {}, 5.0)
    assert (standing.online, outage) == (True, None)
    standing, outage = after(standing, ACCOUNT, states(state), REASONS, 7.0)
    assert outage is not None
    assert (outage.began, outage.ended, standing.online) == (7.0, None, False)
    standing, again = after(standing, ACCOUNT, states(SessionState.SYNCING), REASONS, 8.0)
    assert again is None
    standing, ended = after(standing, ACCOUNT, states(SessionState.ONLINE), {}, 9.0)
    assert ended is not None
    assert (ended.began, ended.ended, standing) == (7.0, 9.0, Standing(online=True))


def test_the_partner_online_is_no_outage() -> None:
    both = states(SessionState.ONLINE, SessionState.ONLINE)
    standing, _ = after(Standing(), ACCOUNT, both, {}, 5.0)
    assert after(standing, ACCOUNT, states(SessionState.LOGGED_OUT, SessionState.ONLINE), {}, 6.0) == (standing, None)


def test_the_cause_names_every_linked_slot() -> None:
    online = Standing(online=True)
    _, one = after(online, ACCOUNT, states(SessionState.RECONNECTING), REASONS, 1.0)
    _, both = after(online, ACCOUNT, states(SessionState.RECONNECTING, SessionState.PARKED), REASONS, 1.0)
    assert one is not None
    assert both is not None
    assert one.cause == "primary is reconnecting (connection lost)"
    assert both.cause == "primary is reconnecting (connection lost), backup is parked"


@pytest.mark.parametrize(("stopped", "why"), [(False, "it was killed or crashed"), (True, "it was stopped")])
def test_a_daemon_that_was_away_is_an_outage_since_its_last_sign_of_life(*, stopped: bool, why: str) -> None:
    last = Observation(10.0, 50.0, stopped)
    standing = at_boot(ACCOUNT, 20.0, linked=True, lasting=None, last=last, now=80.0)
    assert standing.outage == Outage(ACCOUNT, 50.0, f"the daemon was not running: {why}")
    younger = at_boot(ACCOUNT, 60.0, linked=True, lasting=None, last=last, now=80.0)
    assert younger.outage is not None
    assert younger.outage.began == 60.0
    set_back = at_boot(ACCOUNT, 20.0, linked=True, lasting=None, last=last, now=40.0)
    assert set_back.outage is not None
    assert set_back.outage.began == 40.0


def test_an_outage_outlives_the_daemon_and_an_unlinked_account_has_none() -> None:
    lasting = Outage(ACCOUNT, 30.0, "both were parked")
    last = Observation(10.0, 50.0)
    assert at_boot(ACCOUNT, 1.0, linked=True, lasting=lasting, last=last, now=80.0) == Standing(outage=lasting)
    assert at_boot(ACCOUNT, 1.0, linked=False, lasting=None, last=last, now=80.0) == Standing()


def test_uptime_is_downtime_over_what_is_known() -> None:
    outages = [
        Outage(ACCOUNT, -100.0, "", 100.0, 0, finished=True),
        Outage(ACCOUNT, 50.0, "", 150.0, 0, finished=True),  # overlaps: counted once
        Outage(ACCOUNT, DAY - 50.0, "lasts"),
    ]
    found = uptime(outages, [Observation(-5.0, 40_000.0), Observation(40_000.0, DAY)], 0.0, DAY)
    assert found.downtime == 200.0
    assert found.coverage == 1.0
    assert found.ratio == pytest.approx(1 - 200.0 / DAY)
    assert found.incidents == 2
    assert found.verdict == "99.769%"


def test_a_time_in_which_nobody_was_running_counts_as_down_when_it_is_known_to_be() -> None:
    outage = Outage(ACCOUNT, 80_000.0, "the daemon was not running", DAY, 0, finished=True)
    found = uptime([outage], [Observation(0.0, 80_000.0)], 0.0, DAY)
    assert found.coverage == pytest.approx(80_000 / DAY)
    assert found.ratio == pytest.approx(80_000 / DAY)


@pytest.mark.parametrize(("observed", "said"), [(0.79, False), (0.81, True), (0.0, False)])
def test_too_little_observed_says_nothing(observed: float, *, said: bool) -> None:
    found = uptime([], [Observation(0.0, observed * DAY)], 0.0, DAY)
    assert (found.ratio is not None) is said
    assert (found.verdict == INSUFFICIENT_DATA) is not said


def test_no_time_at_all_is_no_division_by_zero() -> None:
    assert uptime([], [], 5.0, 5.0).ratio is None
