"""What the settings mean for those who work by them."""

from __future__ import annotations

from tandem.outbound.pacing import Rates
from tandem.policy import keepalive
from tandem.policy import session_machine as machine
from tandem.policy.pacing import Rate
from tandem.settings import Settings
from tandem.supervision.vitals import VitalLimits


def vital_limits(settings: Settings) -> VitalLimits:
    session = settings.session
    limits = keepalive.Limits(floor=session.ping_interval, answer=session.ping_answer)
    return VitalLimits(limits, self_probe=session.self_probe_interval)


def rates(settings: Settings) -> Rates:
    pacing = settings.pacing
    return Rates(
        account=Rate(pacing.account_per_minute, pacing.account_burst),
        chat=Rate(pacing.chat_per_minute, pacing.chat_burst),
        paced=settings.paced,
    )


def session_limits(settings: Settings) -> machine.Limits:
    session = settings.session
    return machine.Limits(
        connect_timeout=settings.device.connect_timeout,
        library_retry=session.library_retry,
        backoff_first=session.backoff_first,
        backoff_max=session.backoff_max,
        stable_after=session.stable_after,
        restart_intensity=session.restart_intensity,
        restart_period=session.restart_period,
    )
