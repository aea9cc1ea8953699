from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from tandem.model.ids import AccountId
from tandem.model.outage import Observation, Outage
from tandem.policy.report import DOLLARS_PER_WRITE, DayReport, Latency, bounds, bucket, compose, document, latency

ACCOUNT = AccountId("0123456789abcdef")
DAY = date(2026, 3, 3)
BEGIN, END = bounds(DAY, UTC)


def figures(**more: float) -> Mapping[str, Mapping[str, float]]:
    return {ACCOUNT: more, "": {"writes": 1000, "inbox_high_water": 7, "alerts": 2}}


def composed(outages: list[Outage], observed: tuple[float, float] = (BEGIN, END), **more: float) -> DayReport:
    seen = [Observation(*observed)]
    return compose(DAY, UTC, figures(**more), {ACCOUNT: outages}, seen, until=END + 3600)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", date(2026, 3, 3), 24),
        ("Europe/Bucharest", date(2026, 3, 29), 23),
        ("Europe/Bucharest", date(2026, 10, 25), 25),
        ("America/New_York", date(2026, 11, 1), 25),
    ],
)
def test_a_day_is_as_long_as_its_zone_has_it(zone: str, day: date, hours: int) -> None:
    begin, end = bounds(day, ZoneInfo(zone))
    assert end - begin == hours * 3600
    assert datetime.fromtimestamp(begin, ZoneInfo(zone)).hour == 0


def test_a_perfect_day() -> None:
    report = composed([], received=10, sent=5)
    (account,) = report.accounts
    assert (account.uptime, account.downtime, account.incidents) == (1.0, 0.0, ())
    assert account.counts["received"] == 10
    assert report.cost == pytest.approx(1000 * DOLLARS_PER_WRITE)
    assert (report.inbox_high_water, report.outbox_high_water, report.alerts) == (7, 0, 2)


def test_outages_count_only_as_far_as_they_lie_in_the_day() -> None:
    outages = [
        Outage(ACCOUNT, BEGIN - 600, "the network was away", BEGIN + 60, 3),
        Outage(ACCOUNT, BEGIN + 7200, "both slots were killed", BEGIN + 7201, 0),
        Outage(ACCOUNT, END - 30, "it lasts", None, None),
        Outage(ACCOUNT, BEGIN - 900, "the day before", BEGIN - 800, 0),
    ]
    (account,) = composed(outages).accounts
    assert [round(each.seconds) for each in account.incidents] == [60, 1, 30]
    assert account.downtime == 91
    assert account.uptime == pytest.approx(1 - 91 / 86_400)


def test_a_day_that_was_hardly_observed_has_no_uptime() -> None:
    (account,) = composed([], observed=(BEGIN, BEGIN + 3600)).accounts
    assert account.uptime is None
    assert account.coverage == pytest.approx(1 / 24)


def test_a_day_that_lasts_is_reported_as_far_as_it_has_come() -> None:
    noon = BEGIN + 12 * 3600
    report = compose(DAY, UTC, {}, {ACCOUNT: []}, [Observation(BEGIN, noon)], until=noon)
    assert report.ends == noon
    assert report.accounts[0].uptime == 1.0


@pytest.mark.parametrize(
    ("seconds", "name"), [(0.0, "le_0.01"), (0.01, "le_0.01"), (0.011, "le_0.025"), (9e9, "le_inf")]
)
def test_latencies_are_counted_in_buckets(seconds: float, name: str) -> None:
    assert bucket(seconds) == name


def test_percentiles_are_upper_bounds() -> None:
    counted = {"inbound_le_0.01": 89.0, "inbound_le_1": 10.0, "inbound_le_inf": 1.0}
    assert latency(counted, "inbound") == Latency(100, 0.01, 1.0, 1.0)
    assert latency(counted, "outbound") == Latency(0, None, None, None)
    assert latency({"inbound_le_inf": 1.0}, "inbound") == Latency(1, None, None, None)


def test_a_stored_report_says_its_version() -> None:
    stored = document(composed([]))
    assert stored["version"] == 1
    assert stored["date"] == "2026-03-03"
