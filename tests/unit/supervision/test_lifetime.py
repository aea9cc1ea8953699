from __future__ import annotations

from structlog.testing import capture_logs

from tandem.model import signals
from tandem.model.ids import AccountId
from tandem.model.states import Slot
from tandem.supervision.lifetime import Lifetime


def test_a_life_leaves_one_line_with_what_it_came_to() -> None:
    life = Lifetime(AccountId("b9a1c5f0d2e34f67"), Slot.BACKUP, generation=3, began=100.0, received=7, sent=2)
    for signal in (signals.PingTimed(30.0), signals.PingTimed(31.0), signals.KeepAliveTimeout(1), signals.Connected()):
        life.heard(signal)
    with capture_logs() as logged:
        life.end(160.5, "connection lost")
        life.end(170.0, "it was stopped")
    (line,) = logged
    assert line.pop("message") == "backup: the session ended after 60 s: connection lost"
    assert line == {
        "event": "session_ended", "log_level": "info", "account": "b9a1c5f0d2e34f67", "slot": "backup",
        "generation": 3, "seconds": 60.5, "received": 7, "sent": 2, "pings": 2, "pings_missed": 1,
        "reason": "connection lost",
    }  # fmt: skip
