"""The JSON shapes of alerts and reports. All times are whole Unix milliseconds."""

from __future__ import annotations

from pydantic import Field, field_validator

from tandem.api.masking import mask
from tandem.api.views import Done, Json, unix_ms
from tandem.model.states import Slot
from tandem.policy.alert_rules import Severity
from tandem.policy.alerting import Alert


class AlertJson(Json):
    rule: str
    severity: Severity
    account: str | None
    slot: Slot | None
    detail: str
    todo: str = Field(description="The human's next step.")
    since: int

    @classmethod
    def of(cls, alert: Alert) -> AlertJson:
        finding = alert.finding
        account, _, slot = finding.subject.partition("/")
        return cls(
            rule=finding.rule.name,
            severity=finding.rule.severity,
            account=account or None,
            slot=next((each for each in Slot if each.value == slot), None),
            detail=mask(finding.words),
            todo=finding.rule.todo,
            since=unix_ms(alert.since),
        )


class AlertsAnswer(Done):
    alerts: list[AlertJson]


class IncidentJson(Json):
    began: int
    ended: int | None
    seconds: float = Field(description="Of it, in this day.")
    cause: str
    recovered: int | None = Field(description="Messages that came late because of it; null while that is open.")

    @field_validator("began", "ended", mode="before")
    @classmethod
    def _milliseconds(cls, seconds: float | None) -> int | None:
        return None if seconds is None else unix_ms(seconds)


class LatencyJson(Json):
    """Upper bounds in seconds; null without any message, or beyond an hour."""

    count: int
    p50: float | None
    p90: float | None
    p99: float | None


class AccountDayJson(Json):
    account: str
    uptime: float | None = Field(description="Ratio; null when less than 80 % of the day was observed.")
    coverage: float = Field(description="Ratio of the day that was observed.")
    downtime: float = Field(description="Seconds without any session online.")
    incidents: list[IncidentJson]
    counts: dict[str, int]
    inbound: LatencyJson = Field(description="From a message's arrival on this machine to the store.")
    outbound: LatencyJson = Field(description="From the 202 to WhatsApp's ack.")
    detected: LatencyJson = Field(description="Silence before a fault was noticed that nothing told of.")
    role_moved: LatencyJson = Field(description="From the loss of the active slot to the other one being active.")
    recovered: LatencyJson = Field(description="From a slot's loss to its being online again.")


class ReportJson(Json):
    version: int
    date: str
    zone: str
    begins: int
    ends: int = Field(description="The end of the day, or how far it has come.")
    accounts: list[AccountDayJson]
    inbox_high_water: int
    outbox_high_water: int
    writes: int = Field(description="Documents written to the store for messages.")
    cost: float = Field(description="Their list price in dollars, if the store is Firestore.")
    alerts: int

    @field_validator("begins", "ends", mode="before")
    @classmethod
    def _milliseconds(cls, seconds: float) -> int:
        return unix_ms(seconds)


class ReportAnswer(Done):
    report: ReportJson
