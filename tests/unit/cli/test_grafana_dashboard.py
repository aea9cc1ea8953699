"""The Grafana dashboard can be imported, and asks for nothing that is not told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.promtool import check
from tandem.model.states import SessionState
from unit.monitoring.test_metrics import Scene

FILE = Path(__file__).parents[3] / "config" / "grafana-dashboard.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
_NAME = re.compile(r"\b((?:tandem|process)_[a-z_]+)(?:\{([^}]*)\})?")


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def _expressions() -> Iterator[str]:
    for panel in _panels():
        yield from (target["expr"] for target in panel["targets"])
    yield from (each["expr"] for each in DASHBOARD["annotations"]["list"])
    yield from (each["definition"] for each in DASHBOARD["templating"]["list"] if "definition" in each)


async def _told() -> dict[str, set[str]]:
    """The label names of every metric that is told, after some traffic."""
    _, text = await Scene().busy()
    told: dict[str, set[str]] = {}
    for line in text.splitlines():
        if found := re.match(r"(?:# TYPE )?([a-z_]+)(?:\{(.*)\})?", line):
            told.setdefault(found[1], set()).update(re.findall(r"(\w+)=", found[2] or ""))
    return told


async def test_every_expression_asks_for_metrics_and_labels_that_exist() -> None:
    told = await _told()
    asked = 0
    for expression in _expressions():
        for name, selector in _NAME.findall(expression):
            asked += 1
            assert name in told, expression
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert labels <= told[name], expression
    assert asked > 50


async def test_nearly_everything_that_is_told_is_shown() -> None:
    shown = " ".join(_expressions())
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in await _told() if name.startswith("tandem_")}
    left_out = {name for name in families if name not in shown}
    assert left_out <= {
        "tandem_build_info", "tandem_account_up", "tandem_session_state", "tandem_session_since_timestamp_seconds",
        "tandem_session_active", "tandem_session_keep_alive_seconds", "tandem_send_state_code",
        "tandem_send_paused_until_timestamp_seconds", "tandem_messages_duplicates_total", "tandem_events_total",
        "tandem_event_failures_total", "tandem_fleet_held", "tandem_queue_commit_operations",
        "tandem_status_updates_total",
    }  # fmt: skip


def test_promtool_can_read_every_expression(tmp_path: Path) -> None:
    known = {"$account": ".*", "$__rate_interval": "5m", "$__range_s": "3600", "$__range": "1h"}
    rules: list[dict[str, str]] = []
    for expression in _expressions():
        if not expression.startswith("label_values"):
            for variable, value in known.items():
                expression = expression.replace(variable, value)  # noqa: PLW2901 - step by step
            rules.append({"record": f"panel:{len(rules)}", "expr": expression})
    path = tmp_path / "panels.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    code, out, err = check("check", "rules", str(path))
    assert (code, err) == (0, ""), out + err


def test_it_can_be_imported_anywhere() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert variables["account"]["includeAll"]
    assert "id" not in DASHBOARD
    for panel in _panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_panels_fill_their_rows_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for grid in [panel["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Overview", "Sessions", "Sending", "Queues", "Store", "Hosts", "Alerts", "Instances"]


def test_states_are_shown_by_their_frozen_numbers() -> None:
    timeline = next(panel for panel in _panels() if panel["type"] == "state-timeline")
    options = timeline["fieldConfig"]["defaults"]["mappings"][0]["options"]
    shown = {int(number): option["text"] for number, option in options.items()}
    assert shown == {state.number: str(state).replace("_", " ") for state in SessionState}
