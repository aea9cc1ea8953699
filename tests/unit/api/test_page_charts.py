"""What the dashboard draws: it claims nothing that was not observed."""

from __future__ import annotations

from dataclasses import replace

from tandem.api.page_charts import WIDTH, spark, timeline
from tandem.api.page_words import percent, span
from tandem.model.account import Account
from tandem.model.event import Event, EventType
from tandem.model.ids import Number, account_id
from tandem.model.states import AccountStatus, Role, SessionState, Slot
from tandem.model.views import AccountView, VitalSample
from unit.api.twins import slot_view

NOW = 1_750_000_000.0
NUMBER = Number("+12025550123")
VIEW = AccountView(
    Account(account_id(NUMBER), NUMBER, "Front desk", 0.0),
    AccountStatus.ONLINE,
    (
        replace(slot_view(Slot.PRIMARY), state=SessionState.ONLINE, role=Role.STANDBY),
        replace(slot_view(Slot.BACKUP), state=SessionState.ONLINE, role=Role.ACTIVE),
    ),
)


def _event(ago: float, state: SessionState, slot: Slot = Slot.PRIMARY, instance: str = "one") -> Event:
    data = {"state": str(state)}
    return Event(f"{ago}{slot}", EventType.SESSION_STATE, "", NOW - ago, slot=slot, data=data, instance=instance)


def test_a_band_shows_each_state_for_as_long_as_it_lasted() -> None:
    events = [_event(7200, SessionState.ONLINE), _event(1800, SessionState.WAITING), _event(900, SessionState.ONLINE)]
    primary, backup = timeline(VIEW, events, NOW, 1).bands
    assert sorted((each.x, each.width, each.tone) for each in primary.stretches) == [
        (0.0, 500.0, "good"),
        (500.0, 250.0, "warn"),
        (750.0, 250.0, "good"),
    ]
    assert primary.words == "Primary: online for 45 min of the 1 h shown"
    assert backup.stretches == []


def test_a_moment_is_wide_enough_to_be_seen_and_lies_on_top() -> None:
    events = [_event(3600, SessionState.ONLINE), _event(60, SessionState.WAITING), _event(59.9, SessionState.ONLINE)]
    stretches = timeline(VIEW, events, NOW, 24).bands[0].stretches
    blip = next(each for each in stretches if each.tone == "warn")
    assert blip.width > 2
    assert stretches.index(blip) > 0
    assert all(0 <= each.x <= WIDTH - each.width for each in stretches)


def test_between_two_runs_of_the_daemon_nothing_is_claimed() -> None:
    events = [
        _event(3600, SessionState.ONLINE),
        _event(2700, SessionState.ONLINE, Slot.BACKUP),
        _event(900, SessionState.CONNECTING, instance="two"),
    ]
    first = next(each for each in timeline(VIEW, events, NOW, 1).bands[0].stretches if each.tone == "good")
    assert (first.x, first.width) == (0.0, 250.0)


def test_who_sends_changes_with_each_switch() -> None:
    switch = Event("s", EventType.SWITCHED_TO_BACKUP, "", NOW - 900, slot=Slot.BACKUP, instance="one")
    drawn = timeline(VIEW, [_event(1800, SessionState.ONLINE), switch], NOW, 1)
    primary, backup = drawn.bands
    assert [(each.x, each.width) for each in primary.sends] == [(500.0, 250.0)]
    assert [(each.x, each.width) for each in backup.sends] == [(750.0, 250.0)]
    assert [each.words for each in drawn.switches] == ["the backup took over"]


def test_a_curve_breaks_where_nothing_was_known_and_stays_in_its_box() -> None:
    values = (1.0, 0.4, None, 0.9, 1.0)
    samples = [VitalSample(NOW + 15 * index, value, 40.0) for index, value in enumerate(values)]
    curve = spark(samples)
    assert curve is not None
    assert curve.path.count("M") == 2
    assert (curve.x, curve.y) == (118.0, 2.0)
    assert "lowest 40 %" in curve.words
    assert spark(samples[:1]) is None
    assert spark(samples[:3]) is None  # it is not connected now


def test_only_all_of_it_reads_as_a_hundred_per_cent() -> None:
    assert [percent(each) for each in (1.0, 0.9999999, 0.9987, 0.5)] == ["100 %", "99.999 %", "99.87 %", "50 %"]


def test_spans_in_words() -> None:
    assert [span(each) for each in (0, 1.25, 42.9, 61, 3599, 7300, 200_000)] == [
        "0 s", "1.2 s", "42 s", "1 min", "59 min", "2 h", "2 days",
    ]  # fmt: skip
