"""Names, units, help texts and labels keep Prometheus' conventions, and no label can take many values."""

from __future__ import annotations

import asyncio
import re

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from support.promtool import check
from tandem.model.event import EventType
from unit.monitoring.test_metrics import Scene

_LABELS = {
    "account", "slot", "queue", "type", "reason", "outcome", "kind", "endpoint", "rule", "severity", "le",
    "region", "what", "part",
}  # fmt: skip
_STATE_SETS = {"tandem_session_state", "tandem_account_status"}
_WRONG_UNIT = re.compile(r"_(ms|msec|millis\w*|minutes|hours|kb|mb|kilobytes|percent|percentage|count)(_|$)")
_OFF_UNIT = {"tandem_send_rate_per_minute"}  # as operators set it
_MOST_SERIES_OF_A_PAIR = 400


def _own(text: str) -> list[Metric]:
    return [family for family in text_string_to_metric_families(text) if not family.name.startswith("process_")]


async def test_promtool_accepts_the_exposition() -> None:
    _, text = await Scene().busy()
    assert await asyncio.to_thread(check, "check", "metrics", given=text) == (0, "", "")


async def test_names_say_the_unit_and_counters_end_in_total() -> None:
    _, text = await Scene().busy()
    for family in _own(text):
        assert re.fullmatch(r"tandem(_[a-z]+)+", family.name)
        assert not _WRONG_UNIT.search(family.name) or family.name in _OFF_UNIT
        assert family.type in {"counter", "gauge", "histogram"}
        assert not family.name.endswith("_total") or family.type == "counter"
        assert (family.type == "counter") == any(sample.name.endswith("_total") for sample in family.samples)
        if "timestamp" in family.name:
            assert family.name.endswith("_timestamp_seconds")


async def test_every_family_says_what_it_is_in_one_sentence() -> None:
    _, text = await Scene().busy()
    helps = [family.documentation for family in _own(text)]
    assert all(re.fullmatch(r"[A-Z0-9][^\n]{8,140}\.", each) for each in helps)
    assert len(set(helps)) == len(helps)


async def test_labels_are_few_and_hold_no_number() -> None:
    _, text = await Scene().busy()
    assert "2025550123" not in text
    series = 0
    for family in _own(text):
        allowed = {"version", "commit", "instance"} if family.name.startswith("tandem_build") else _LABELS | _STATE_SETS
        for sample in family.samples:
            series += 1
            assert set(sample.labels) <= allowed
            assert not any(re.search(r"\d{8,}|@", value) for key, value in sample.labels.items() if key != "account")
    assert series < _MOST_SERIES_OF_A_PAIR


async def test_sentences_never_become_labels() -> None:
    scene = Scene()
    account, before = await scene.busy()
    for number in range(50):
        scene.events(EventType.SWITCHED_TO_BACKUP, f"{number}", account=account, reason=f"{number} s", cause="waiting")
        scene.events(EventType.SESSION_OFFLINE, f"{number}", account=account, reason=f"for {number} s", state="waiting")
    assert (await scene.metrics.exposition()).decode().count("\n") == before.count("\n")


@pytest.mark.parametrize("wrong", ["tandem_x_ms", "tandem_x_count", "tandem_kb_x"])
def test_the_linter_would_notice(wrong: str) -> None:
    assert _WRONG_UNIT.search(wrong)
