from __future__ import annotations

from pathlib import Path

from tandem.model.ids import AccountId
from tandem.model.outage import Observation, Outage
from unit.queue.parts import ACCOUNT, open_queue

DAY = 86_400.0


async def test_outages_and_observations_survive_a_restart(tmp_path: Path) -> None:
    first = Outage(ACCOUNT, 10.0, "connection lost", 20.0, 3, finished=True)
    lasting = Outage(ACCOUNT, 30.0, "both are parked")
    async with open_queue(tmp_path) as queue:
        await queue.outages.save([first, lasting], [Observation(1.0, 5.0), Observation(6.0, 35.0)])
        await queue.outages.save([], [Observation(6.0, 36.0, stopped=True)])
    async with open_queue(tmp_path) as queue:
        assert await queue.outages.recent(ACCOUNT, 9) == [lasting, first]
        assert await queue.outages.last_observation() == Observation(6.0, 36.0, stopped=True)
        assert await queue.outages.observations(0.0, 99.0) == [Observation(1.0, 5.0), Observation(6.0, 36.0, True)]


async def test_between_returns_what_reaches_into_it(tmp_path: Path) -> None:
    outages = [Outage(ACCOUNT, start, "", end, 0, finished=True) for start, end in ((1.0, 4.0), (5.0, 9.0))]
    lasting = Outage(ACCOUNT, 20.0, "")
    async with open_queue(tmp_path) as queue:
        await queue.outages.save([*outages, lasting], [])
        assert await queue.outages.between(ACCOUNT, 4.0, 6.0) == outages[1:]
        assert await queue.outages.between(ACCOUNT, 3.0, 6.0) == outages
        assert await queue.outages.between(ACCOUNT, 50.0, 60.0) == [lasting]
        assert await queue.outages.between(AccountId("b" * 16), 0.0, 99.0) == []


async def test_a_removed_account_takes_its_outages_along(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await queue.outages.save([Outage(ACCOUNT, 10.0, "")], [])
        await queue.registry.remove_account(ACCOUNT)
        await queue.outages.save([Outage(ACCOUNT, 10.0, "late")], [])
        assert await queue.outages.recent(ACCOUNT, 9) == []


async def test_what_is_older_than_400_days_is_forgotten(tmp_path: Path) -> None:
    old, young = Outage(ACCOUNT, 1.0, "", 2.0, 0, finished=True), Outage(ACCOUNT, 300 * DAY, "", 301 * DAY, 0)
    async with open_queue(tmp_path) as queue:
        await queue.outages.save([old, young], [Observation(1.0, 3.0)])
        await queue.outages.save([young], [Observation(4.0, 401 * DAY)])
        assert await queue.outages.recent(ACCOUNT, 9) == [young]
        assert await queue.outages.observations(0.0, 500 * DAY) == [Observation(4.0, 401 * DAY)]
