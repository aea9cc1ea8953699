"""Rules for Prometheus and the runbook say what the daemon's own rules say, and promtool runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.promtool import check
from tandem.cli import alert_documents, main
from tandem.cli.alert_documents import INSTANCE_DOWN, NOT_MIRRORED
from tandem.policy import alert_rules
from tandem.policy.alert_rules import RULES, Thresholds
from unit.monitoring.test_metrics import Scene

ROOT = Path(__file__).parents[3]
FILE = ROOT / "config" / "prometheus-rules.yml"
_HOUR, _DAY = 60, 1440  # minutes, the interval of the series below
_SLOT = 'account="a",slot="primary"'

Series = Mapping[str, str]
_ACCOUNT_STATUS = 'tandem_account_status{account="a",tandem_account_status="%s"}'
_STATE = f'tandem_session_state{{{_SLOT},tandem_session_state="%s"}}'

FIRING: Mapping[str, tuple[Series, int, list[dict[str, str]]]] = {
    "account_offline": (
        {_ACCOUNT_STATUS % "offline": "0x2 1x20"}, 5,
        [{"account": "a", "tandem_account_status": "offline"}],
    ),
    "backup_missing": (
        {_ACCOUNT_STATUS % "degraded": "0x2 1x20"}, 15,
        [{"account": "a", "tandem_account_status": "degraded"}],
    ),
    "slot_stopped": (
        {_STATE % "parked": "0x2 1x20"}, 3,
        [{"account": "a", "slot": "primary", "tandem_session_state": "parked"}],
    ),
    "slot_conflict": (
        {_STATE % "conflict": "0x2 1x20"}, 3,
        [{"account": "a", "slot": "primary", "tandem_session_state": "conflict"}],
    ),
    "account_banned": ({_STATE % "banned": "0x2 1x20"}, 3, [{"account": "a", "tandem_session_state": "banned"}]),
    "client_outdated": (
        {_STATE % "outdated": "0x2 1x20"}, 3,
        [{"account": "a", "slot": "primary", "tandem_session_state": "outdated"}],
    ),
    "session_deaf": (
        {f'tandem_proactive_reconnects_total{{{_SLOT},reason="deaf"}}': "0x5 1x20"}, 10,
        [{"account": "a", "slot": "primary", "reason": "deaf"}],
    ),
    "fleet_held": ({"tandem_fleet_held": "0x2 1x20"}, 3, [{}]),
    "disconnects_high": (
        {'tandem_disconnects_total{account="a"}': "0x5 6x90", 'tandem_disconnects_total{account="b"}': "0x9 5x90"},
        30, [{}],
    ),
    "reconnects_failing": (
        {
            'tandem_reconnects_total{account="a"}': "0x5 3x90",
            'tandem_reconnect_failures_total{account="a"}': "0x5 3x90",
        },
        30, [{}],
    ),
    "rate_limited": ({'tandem_rate_limits_total{account="a"}': "0x5 6x90"}, 30, [{}]),
    "messages_lost": (
        {
            'tandem_messages_lost_total{account="a"}': "0x5 2x90",
            'tandem_messages_received_total{account="a"}': "0x5 90x90",
            'tandem_messages_sent_total{account="a"}': "0x5 10x90",
        },
        30, [{}],
    ),
    "dead_letters": ({"tandem_dead_letters": "0x2 1x20"}, 3, [{}]),
    "queue_old": ({'tandem_queue_oldest_age_seconds{queue="inbox"}': "120x2 121x20"}, 5, [{"queue": "inbox"}]),
    "store_degraded": ({"tandem_store_degraded": "0x2 1x20"}, 5, [{}]),
    "lease_trouble": ({"tandem_lease_trouble": "0x2 1x20"}, 4, [{}]),
    "disk_low": ({"tandem_disk_free_ratio": "0.1x2 0.09x20"}, 3, [{}]),
    "phone_unseen": ({'tandem_phone_seen_timestamp_seconds{account="a"}': "-863850x20"}, 3, [{"account": "a"}]),
    "phone_nearly_gone": (
        {'tandem_phone_seen_timestamp_seconds{account="a"}': "-1036650x20"}, 3, [{"account": "a"}],
    ),
    "error_budget_fast": (
        {'tandem_account_downtime_seconds_total{account="a"}': "0x2 60+60x60"}, 60, [{"account": "a"}],
    ),
    "error_budget_slow": (
        {'tandem_account_downtime_seconds_total{account="a"}': "0+0.07x4400"}, 4330, [{"account": "a"}],
    ),
    "instance_down": ({'up{job="tandem",instance="x"}': "1x2 0x20"}, 5, [{"job": "tandem", "instance": "x"}]),
}  # fmt: skip

HEALTHY = {
    _ACCOUNT_STATUS % "online": "1x1500",
    _ACCOUNT_STATUS % "offline": "0x1500",
    _ACCOUNT_STATUS % "degraded": "0x1500",
    _STATE % "online": "1x1500",
    _STATE % "parked": "0x1500",
    f'tandem_proactive_reconnects_total{{{_SLOT},reason="deaf"}}': "0x1500",
    f'tandem_proactive_reconnects_total{{{_SLOT},reason="quality"}}': "0x700 1x800",
    "tandem_fleet_held": "0x1500",
    'tandem_phone_seen_timestamp_seconds{account="a"}': "0x1500",
    "tandem_store_degraded": "0x1500",
    "tandem_lease_trouble": "0x1500",
    "tandem_dead_letters": "0x1500",
    "tandem_disk_free_ratio": "0.5x1500",
    'tandem_queue_oldest_age_seconds{queue="inbox"}': "0x700 100x5 0x800",
    'tandem_disconnects_total{account="a"}': "0x100 10x1400",
    'tandem_reconnects_total{account="a"}': "0x100 10x1400",
    'tandem_reconnect_failures_total{account="a"}': "0x100 2x1400",
    'tandem_rate_limits_total{account="a"}': "0x100 5x1400",
    'tandem_messages_lost_total{account="a"}': "0x100 1x1400",
    'tandem_messages_received_total{account="a"}': "0x100 99x1400",
    'tandem_messages_sent_total{account="a"}': "0x100 1x1400",
    'tandem_account_downtime_seconds_total{account="a"}': "0x100 30x1400",
    'up{job="tandem",instance="x"}': "1x1500",
}
"""A day in which there is something of everything, at its threshold or below."""


def _rule(name: str) -> alert_rules.Rule:
    return INSTANCE_DOWN if name == INSTANCE_DOWN.name else RULES[name]


def _alert(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    rule = _rule(name)
    annotations = {"summary": rule.meaning, "todo": rule.todo, "runbook": f"ARCHITECTURE.md#alert-{name}"}
    return {"exp_labels": {**labels, "severity": str(rule.severity)}, "exp_annotations": annotations}


def _case(series: Series, expected: Mapping[str, tuple[int, list[dict[str, Any]]]]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"alertname": name, "eval_time": f"{minute}m", "exp_alerts": alerts}
            for name, (minute, alerts) in expected.items()
        ],
    }


def _run(tmp_path: Path, *cases: dict[str, Any]) -> tuple[int, str]:
    path = tmp_path / "rules.test.yml"
    path.write_text(json.dumps({"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": cases}))
    code, out, err = check("test", "rules", str(path))
    return code, out + err


def test_promtool_accepts_the_rules() -> None:
    code, out, err = check("check", "rules", str(FILE))
    assert (code, err) == (0, "")
    assert "SUCCESS" in out


def test_each_rule_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    cases = []
    for name, (series, minute, labels) in FIRING.items():
        cases.append(_case(series, {name: (minute, [_alert(name, each) for each in labels])}))
        hold = int(_rule(name).hold / 60)
        cases.append(_case(series, {name: (2 + hold if hold else 2, [])}))
    code, told = _run(tmp_path, *cases)
    assert code == 0, told


def test_a_rule_that_does_not_fire_would_be_noticed(tmp_path: Path) -> None:
    code, told = _run(tmp_path, _case(HEALTHY, {"fleet_held": (5, [_alert("fleet_held", {})])}))
    assert code == 1
    assert "fleet_held" in told


def test_a_healthy_day_raises_nothing(tmp_path: Path) -> None:
    cases = [_case(HEALTHY, {name: (minute, []) for name in FIRING}) for minute in (2, 110, 160, 705, _DAY)]
    code, told = _run(tmp_path, *cases)
    assert code == 0, told


def test_every_rule_is_mirrored_or_it_is_said_why_not() -> None:
    named = re.findall(r"- alert: (\w+)", FILE.read_text())
    assert set(named) == set(FIRING)
    assert set(named) | set(NOT_MIRRORED) == {*RULES, INSTANCE_DOWN.name}
    assert not set(named) & set(NOT_MIRRORED)


def test_stopped_states_are_those_of_the_daemons_rule() -> None:
    stopped = (state for state, (rule, _) in alert_rules._STOPPED.items() if rule == "slot_stopped")
    states = "|".join(sorted(map(str, stopped)))
    assert f'tandem_session_state=~\\"{states}\\"' in FILE.read_text()


def test_the_file_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["alerts", "rules"]) == 0
    assert capsys.readouterr().out == FILE.read_text(), "run: tandem alerts rules > config/prometheus-rules.yml"
    monkeypatch.setenv("TANDEM_ALERT__QUEUE_AGE", "77")
    monkeypatch.setenv("TANDEM_ALERT__OBJECTIVE", "0.99")
    assert main(["alerts", "rules"]) == 0
    own = capsys.readouterr().out
    assert "tandem_queue_oldest_age_seconds > 77" in own
    assert "[1h]) / 0.01" in own


async def test_rules_ask_for_metrics_that_exist() -> None:
    scene = Scene()
    await scene.pair()
    text = (await scene.metrics.exposition()).decode()
    told = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    told |= set(re.findall(r"^# TYPE (\S+)", text, flags=re.MULTILINE))
    rules = alert_documents.prometheus(Thresholds(), 0.999)
    asked = set(re.findall(r"(?<![:\w])(tandem_\w+)(?=[\[{ )])", rules)) - {
        "tandem_session_state",
        "tandem_account_status",
    }
    recorded = set(re.findall(r"record: (\S+)", rules))
    assert len(asked) > 12
    assert asked <= told
    assert set(re.findall(r"tandem:\w+:\w+", rules)) == recorded


def test_the_runbook_is_what_the_rules_make() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    found = re.search(
        r"<!-- written by `tandem alerts runbook` -->\n\n(.*?)\n<!-- until here -->", text, flags=re.DOTALL
    )
    assert found is not None
    assert found[1] == alert_documents.runbook(), "run: tandem alerts runbook, and put it into ARCHITECTURE.md"
    for name in (*RULES, INSTANCE_DOWN.name):
        assert f'<a id="alert-{name}">' in found[1]
