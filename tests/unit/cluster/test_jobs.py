from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import structlog

from tandem.cluster.jobs import Jobs
from unit.cluster.lease_parts import KIOSK, SHOP, now
from unit.supervision.test_supervisor import virtual


class Diary:
    """What was begun and what was ended, in order."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def work(self, name: str, seconds: float = 1.0, error: Exception | None = None) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            self.entries.append(f"{name} begins")
            await asyncio.sleep(seconds)
            if error:
                raise error
            self.entries.append(f"{name} ends")

        return work


@virtual
async def test_one_thing_after_the_other_is_done_for_an_account_and_accounts_do_not_wait_for_each_other() -> None:
    jobs, diary = Jobs(), Diary()
    jobs.add(SHOP, diary.work("take up", 2.0))
    last = jobs.add(SHOP, diary.work("lay down", 2.0))
    jobs.add(KIOSK, diary.work("other", 0.5))
    assert SHOP in jobs
    await last
    assert diary.entries == ["take up begins", "other begins", "other ends", "take up ends", "lay down begins",
                             "lay down ends"]  # fmt: skip
    assert now() == 4.0
    assert SHOP not in jobs
    assert KIOSK not in jobs


@virtual
async def test_what_has_to_be_done_at_once_ends_what_is_under_way_and_waits_until_it_has_ended() -> None:
    jobs, diary = Jobs(), Diary()

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.3)
            diary.entries.append("tidied up")

    jobs.add(SHOP, slow_to_end)
    await asyncio.sleep(1)
    await jobs.add(SHOP, diary.work("lay down"), at_once=True)
    assert diary.entries == ["tidied up", "lay down begins", "lay down ends"]
    assert now() == pytest.approx(2.3)


@virtual
async def test_what_has_to_be_done_at_once_waits_for_nothing_that_was_to_be_done_before() -> None:
    jobs, diary = Jobs(), Diary()
    jobs.add(SHOP, diary.work("discover", 60.0))
    jobs.add(SHOP, diary.work("take up", 60.0))
    await asyncio.sleep(1)
    await jobs.add(SHOP, diary.work("lay down"), at_once=True)
    assert now() == 2.0
    await asyncio.sleep(100)
    assert diary.entries == ["discover begins", "lay down begins", "lay down ends"]


@virtual
async def test_a_failure_is_logged_and_stops_nobody() -> None:
    jobs, diary = Jobs(), Diary()
    with structlog.testing.capture_logs() as logs:
        jobs.add(SHOP, diary.work("take up", error=RuntimeError("a defect")))
        await jobs.add(SHOP, diary.work("lay down"))
    assert diary.entries == ["take up begins", "lay down begins", "lay down ends"]
    assert [(line["event"], line["account"]) for line in logs] == [("lease_job_failed", SHOP)]


@virtual
async def test_the_end_cancels_what_is_under_way_and_what_waits() -> None:
    jobs, diary = Jobs(), Diary()
    jobs.add(SHOP, diary.work("take up", 60.0))
    jobs.add(SHOP, diary.work("lay down"))
    jobs.add(KIOSK, diary.work("other", 60.0))
    await asyncio.sleep(1)
    await jobs.end()
    await asyncio.sleep(100)
    assert diary.entries == ["take up begins", "other begins"]
    assert SHOP not in jobs
    assert KIOSK not in jobs
