"""From what is wrong now to what somebody is told: held, once, throttled, resolved. Pure.

    nothing ──found──► pending ──it held──► firing ──gone──► clearing ──still gone──► nothing

Invariants: nobody is told of an alert more than once per ``throttle``; whoever is told that it fires is told once when
it is over; what is not found makes no noise, ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from tandem.policy.alert_rules import Finding


class Phase(StrEnum):
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"  # remembered until the throttle has passed


class NoticeKind(StrEnum):
    FIRED = "fired"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """Times in seconds of the caller's clock. ``told_at``: when somebody was last told that it fires, None if never.

    ``gone_since`` is set while a firing alert's cause is not found; ``announced`` while somebody is owed its end.
    """

    finding: Finding
    phase: Phase
    since: float
    gone_since: float | None = None
    told_at: float | None = None
    announced: bool = False

    @property
    def key(self) -> str:
        return key_of(self.finding)


@dataclass(frozen=True, slots=True)
class Notice:
    """Somebody is to be told. ``lasted`` is in seconds, for a resolved one."""

    kind: NoticeKind
    alert: Alert
    lasted: float = 0.0


@dataclass(frozen=True, slots=True)
class Manners:
    """Seconds: ``settle``, that a cause must be gone for; ``throttle``, between two notices that one alert fires."""

    settle: float = 60.0
    throttle: float = 3600.0


def key_of(finding: Finding) -> str:
    """What makes two findings the same alert."""
    return f"{finding.rule.name}:{finding.subject}"


def step(
    alerts: Mapping[str, Alert], found: Iterable[Finding], now: float, manners: Manners
) -> tuple[dict[str, Alert], list[Notice]]:
    """Return the alerts as they are afterwards, and what to tell."""
    present = {key_of(finding): finding for finding in found}
    after: dict[str, Alert] = {}
    notices: list[Notice] = []
    for key in {**alerts, **present}:
        alert, notice = _one(alerts.get(key), present.get(key), now, manners)
        if alert is not None:
            after[key] = alert
        if notice is not None:
            notices.append(notice)
    return after, notices


def _one(
    alert: Alert | None, finding: Finding | None, now: float, manners: Manners
) -> tuple[Alert | None, Notice | None]:
    if finding is not None:
        return _found(alert, finding, now, manners)
    if alert is None or alert.phase is Phase.PENDING:
        return _remembered(alert, now, manners), None
    if alert.phase is Phase.RESOLVED:
        return _remembered(alert, now, manners), None
    gone_since = now if alert.gone_since is None else alert.gone_since
    if now - gone_since < manners.settle:
        return replace(alert, gone_since=gone_since), None
    over = replace(alert, phase=Phase.RESOLVED, gone_since=gone_since, announced=False)
    lasted = gone_since - alert.since
    return over, Notice(NoticeKind.RESOLVED, over, lasted) if alert.announced else None


def _found(alert: Alert | None, finding: Finding, now: float, manners: Manners) -> tuple[Alert, Notice | None]:
    if alert is None or alert.phase is Phase.RESOLVED:
        told_at = alert.told_at if alert else None
        alert = Alert(finding, Phase.PENDING, now, told_at=told_at)
    alert = replace(alert, finding=finding, gone_since=None)
    if alert.phase is Phase.PENDING and now - alert.since >= finding.rule.hold:
        alert = replace(alert, phase=Phase.FIRING)
    throttled = alert.told_at is not None and now - alert.told_at < manners.throttle
    if alert.phase is not Phase.FIRING or alert.announced or throttled:
        return alert, None
    alert = replace(alert, told_at=now, announced=True)
    return alert, Notice(NoticeKind.FIRED, alert)


def _remembered(alert: Alert | None, now: float, manners: Manners) -> Alert | None:
    """Keep what was told of a moment ago, so that it is not told again at once."""
    if alert is None or alert.told_at is None or now - alert.told_at >= manners.throttle:
        return None
    return replace(alert, phase=Phase.RESOLVED)
