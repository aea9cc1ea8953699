from __future__ import annotations

from tandem.model.event import EventType
from tandem.policy.survival import DAY, OLD_LIBRARY
from tandem.surroundings import tell_of_old_library
from unit.queue.parts import Told

NOW = 1_800_000_000.0


def test_a_library_within_its_limit_is_not_spoken_of() -> None:
    told = Told()
    tell_of_old_library(NOW - OLD_LIBRARY, NOW, told)
    assert told.events == []


def test_a_library_beyond_its_limit_is_told_once_with_what_to_do() -> None:
    told = Told()
    tell_of_old_library(NOW - OLD_LIBRARY - 7 * DAY, NOW, told)
    (event,) = told.of(EventType.LIBRARY_OLD)
    assert "97 days old" in event["message"]
    assert "upgrade Tandem" in event["next_step"]
