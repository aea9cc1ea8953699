"""What was told of alerts, kept over restarts, and committed together with the notices that tell it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from tandem.clock import Clock
from tandem.policy.alert_rules import RULES, Finding
from tandem.policy.alerting import Alert, Phase, key_of
from tandem.queue.database import Database
from tandem.queue.deliveries import Deliveries
from tandem.queue.delivery_rows import Parcel, announce
from tandem.sqlite_schema import load_queries, seal

KIND = "alert"
"""The kind of endpoint that alerts are delivered to."""

_SQL = load_queries("tandem.queue", "alerts")


class AlertMemory:
    """Times of alerts in Unix seconds. Raises StoreUnavailable when the disk refuses."""

    def __init__(self, database: Database, deliveries: Deliveries, clock: Clock) -> None:
        self._database = database
        self._deliveries = deliveries
        self._clock = clock

    async def load(self) -> dict[str, Alert]:
        """Return the alerts of the last run. Those of rules that are no more are left out."""
        found = await self._database.read(lambda connection: connection.execute(_SQL["load"]).fetchall())
        alerts = [
            Alert(Finding(RULES[rule], words, subject), Phase(phase), since, gone_since, told_at, bool(announced))
            for _, rule, subject, words, phase, since, gone_since, told_at, announced in found
            if rule in RULES
        ]
        return {key_of(alert.finding): alert for alert in alerts}

    async def save(self, alerts: Mapping[str, Alert], notices: Sequence[Parcel]) -> None:
        """Commit the alerts as they are now and the notices to be delivered, whole or not at all."""
        now = self._clock.now()

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute(_SQL["clear"])
            connection.executemany(_SQL["save"], [_row(key, alert) for key, alert in alerts.items()])
            for notice in notices:
                announce(connection, KIND, notice, now)

        await self._database.write(operation, lambda _: self._deliveries.rouse() if notices else None)


def _row(key: str, alert: Alert) -> tuple[object, ...]:
    finding = alert.finding
    what = (key, finding.rule.name, finding.subject, finding.words, str(alert.phase), float(alert.since))
    values = (*what, alert.gone_since, alert.told_at, int(alert.announced))
    return (*values, seal(*values))
