"""The alert rules as documents, made from ``policy.alert_rules`` so that they cannot drift from it.

``prometheus`` mirrors for Prometheus what the daemon itself watches, and adds what only an outsider can see.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from tandem.policy.alert_rules import FEW, RULES, Rule, Severity, Thresholds
from tandem.policy.burn_rate import DAY, HOUR, WINDOWS, Window

RUNBOOK = "ARCHITECTURE.md#alert-"
NOT_MIRRORED: Mapping[str, str] = {}
INSTANCE_DOWN = Rule(
    "instance_down", Severity.CRITICAL, 60.0,
    "Nothing answers at /metrics: the daemon is down, or cannot be reached. Only an outsider can see this.",
    "Look at the platform's log for its last words; start it again. WhatsApp keeps what comes meanwhile.",
)  # fmt: skip
_TALLIED = ("disconnects", "reconnects", "reconnect_failures", "rate_limits", "messages_lost")


def runbook() -> str:
    """Return the table of ARCHITECTURE.md, one anchor an alert."""
    lines = ["| alert | severity, after | what it means | what to do |", "|---|---|---|---|"]
    for rule in (*RULES.values(), INSTANCE_DOWN):
        name = f'<a id="alert-{rule.name}"></a>`{rule.name}`'
        after = f", {rule.hold:g} s" if rule.hold else ""
        lines.append(f"| {name} | {rule.severity}{after} | {rule.meaning} | {rule.todo} |")
    return "\n".join(lines) + "\n"


def prometheus(limits: Thresholds, objective: float) -> str:
    """Return a rules file; ``objective`` is the availability that each account is to have, a ratio."""
    expressions = {**_conditions(limits), **_budget()}
    lines = [
        "# What Tandem watches by itself, for those who watch with Prometheus: the same names, severities and texts.",
        "# Made by: tandem alerts rules. Thresholds are those of the settings; run it again after changing them.",
        "# The scrape job has to be named tandem.",
        "groups:",
        "  - name: tandem_records",
        "    rules:",
        *_records(objective),
        "  - name: tandem_alerts",
        "    rules:",
    ]
    for rule in RULES.values():
        if rule.name not in NOT_MIRRORED:
            lines += _alert(rule, expressions[rule.name])
    lines += _alert(INSTANCE_DOWN, 'up{job="tandem"} == 0')
    return "\n".join(lines) + "\n"


def _conditions(limits: Thresholds) -> dict[str, str]:
    tried = "(tandem:reconnects:increase1h + tandem:reconnect_failures:increase1h)"
    failing = f"tandem:reconnect_failures:increase1h / {tried} > {limits.reconnect_failure_ratio:g}"
    lost = "tandem:messages_lost:increase1h"
    deaf = 'increase(tandem_proactive_reconnects_total{reason="deaf"}[10m]) > 0'
    unseen = "time() - tandem_phone_seen_timestamp_seconds"
    warn, critical = limits.phone_warn_days * DAY, limits.phone_critical_days * DAY
    return {
        "account_offline": 'tandem_account_status{tandem_account_status="offline"} == 1',
        "backup_missing": 'tandem_account_status{tandem_account_status="degraded"} == 1',
        "slot_stopped": 'tandem_session_state{tandem_session_state=~"logged_out|parked"} == 1',
        "slot_conflict": 'tandem_session_state{tandem_session_state="conflict"} == 1',
        "account_banned": 'max without (slot) (tandem_session_state{tandem_session_state="banned"}) == 1',
        "client_outdated": 'tandem_session_state{tandem_session_state="outdated"} == 1',
        "session_deaf": deaf,
        "fleet_held": "tandem_fleet_held == 1",
        "disconnects_high": f"tandem:disconnects:increase1h > {limits.disconnects_per_hour}",
        "reconnects_failing": f"{failing} and {tried} >= {FEW}",
        "rate_limited": f"tandem:rate_limits:increase1h > {limits.rate_limits_per_hour}",
        "messages_lost": f"{lost} / (tandem:messages_processed:increase1h + {lost}) > {limits.loss_ratio:g}",
        "dead_letters": "tandem_dead_letters > 0",
        "queue_old": f"tandem_queue_oldest_age_seconds > {limits.queue_age:g}",
        "store_degraded": "tandem_store_degraded == 1",
        "phone_unseen": f"{unseen} >= {warn:.0f} < {critical:.0f}",
        "phone_nearly_gone": f"{unseen} >= {critical:.0f}",
        "lease_trouble": "tandem_lease_trouble == 1",
        "disk_low": f"tandem_disk_free_ratio < {limits.disk_free:g}",
    }


def _budget() -> dict[str, str]:
    urgent = [window for window in WINDOWS if window.urgent]
    patient = [window for window in WINDOWS if not window.urgent]
    return {"error_budget_fast": _burns(urgent), "error_budget_slow": _burns(patient)}


def _burns(windows: Sequence[Window]) -> str:
    def burns(window: Window) -> str:
        lengths = (_span(window.long), _span(window.short))
        return "(" + " and ".join(f"tandem:account_burn:{each} >= {window.rate:g}" for each in lengths) + ")"

    return " or ".join(burns(window) for window in windows)


def _records(objective: float) -> Iterator[str]:
    for name in _TALLIED:
        increase = f"round(sum without (account) (increase(tandem_{name}_total[1h])))"
        yield from _record(f"tandem:{name}:increase1h", increase)
    counted = " + ".join(f"increase(tandem_messages_{each}_total[1h])" for each in ("received", "sent"))
    yield from _record("tandem:messages_processed:increase1h", f"round(sum without (account) ({counted}))")
    for length in sorted({length for window in WINDOWS for length in (window.long, window.short)}):
        out = f"rate(tandem_account_downtime_seconds_total[{_span(length)}])"
        yield from _record(f"tandem:account_burn:{_span(length)}", f"{out} / {1 - objective:g}")


def _record(name: str, expression: str) -> list[str]:
    return [f"      - record: {name}", f"        expr: {json.dumps(expression)}"]


def _alert(rule: Rule, expression: str) -> list[str]:
    hold = [f"        for: {rule.hold:g}s"] if rule.hold else []
    return [
        f"      - alert: {rule.name}",
        f"        expr: {json.dumps(expression)}",
        *hold,
        f"        labels: {{severity: {rule.severity}}}",
        "        annotations:",
        f"          summary: {json.dumps(rule.meaning)}",
        f"          todo: {json.dumps(rule.todo)}",
        f"          runbook: {RUNBOOK}{rule.name}",
    ]


def _span(seconds: float) -> str:
    """A length as Prometheus writes it."""
    for unit, length in (("d", DAY), ("h", HOUR)):
        if seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds / 60:g}m"
