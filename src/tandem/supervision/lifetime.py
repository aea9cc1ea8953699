"""What one life of a device host came to: the one line that is left of it in the log."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from tandem.model import signals
from tandem.model.ids import AccountId
from tandem.model.signals import Signal
from tandem.model.states import Slot

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Lifetime:
    """``began`` in monotonic seconds. ``received`` are messages and receipts, ``sent`` acknowledged messages.

    ``pings`` were answered, ``pings_missed`` were not.
    """

    account: AccountId
    slot: Slot
    generation: int
    began: float
    received: int = 0
    sent: int = 0
    pings: int = 0
    pings_missed: int = 0
    over: bool = False

    def heard(self, signal: Signal) -> None:
        """Count what the host says of its pings."""
        self.pings += isinstance(signal, signals.PingTimed)
        self.pings_missed += isinstance(signal, signals.KeepAliveTimeout)

    def end(self, now: float, why: str) -> None:
        """Leave the line, once. ``now`` in monotonic seconds, ``why`` in words."""
        if self.over:
            return
        self.over = True
        seconds = now - self.began
        _log.info(
            "session_ended",
            message=f"{self.slot}: the session ended after {seconds:.0f} s: {why}",
            account=self.account,
            slot=str(self.slot),
            generation=self.generation,
            seconds=round(seconds, 1),
            received=self.received,
            sent=self.sent,
            pings=self.pings,
            pings_missed=self.pings_missed,
            reason=why,
        )
