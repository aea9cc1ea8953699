"""Whatever fails, and whenever the process dies: nothing is lost and each lane is in order, endpoint by endpoint."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.delivery.runner import Outcome, Runner
from tandem.policy.delivery import DeliveryLimits
from tandem.queue.deliveries import Deliveries
from tandem.queue.delivery_rows import Parcel
from unit.queue.parts import Told, open_queue

ENDPOINTS = ("a", "b")
lives = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["ann", "bob", "eve"]), max_size=6),  # what is put in this life, by lane
        st.lists(st.booleans(), max_size=12),  # how the endpoints answer, in turn; then everything is taken
        st.floats(0.01, 40.0),  # seconds until the process dies
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lives)
def test_every_lane_arrives_whole_and_in_order(taken: list[tuple[list[str], list[bool], float]]) -> None:
    seen: dict[str, list[str]] = {name: [] for name in ENDPOINTS}
    put: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        for life in (*taken, ([], [], 2_000.0)):
            run_virtually(_life(Path(directory), life, put, seen))
    for name in ENDPOINTS:
        firsts = list(dict.fromkeys(seen[name]))
        assert sorted(firsts) == sorted(put)
        for lane in ("ann", "bob", "eve"):
            assert [each for each in firsts if each.startswith(lane)] == [each for each in put if each.startswith(lane)]


async def _life(
    directory: Path, life: tuple[list[str], list[bool], float], put: list[str], seen: dict[str, list[str]]
) -> None:
    lanes, answers, seconds = life
    left = iter(answers)

    async def send(name: str, parcel: Parcel) -> Outcome:
        await asyncio.sleep(0.5)
        outcome = Outcome(next(left, True), "")
        if outcome.taken:
            seen[name].append(parcel.id)
        await asyncio.sleep(0.5)  # it has it, and the answer may be lost in a death here
        return outcome

    async with open_queue(directory) as queue:
        await queue.deliveries.configure("webhook", ENDPOINTS)
        new = [f"{lane} {len(put) + number}" for number, lane in enumerate(lanes)]
        await queue.deliveries.put("webhook", [Parcel(each, each.split()[0], "", b"{}") for each in new])
        put += new
        tasks = [_start(partial(send, name), name, queue.deliveries) for name in ENDPOINTS]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _start(send: Callable[[Parcel], Awaitable[Outcome]], name: str, deliveries: Deliveries) -> asyncio.Task[None]:
    runner = Runner(
        name,
        deliveries,
        send,
        lanes=2,
        most_waiting=1000,
        limits=DeliveryLimits(),
        clock=VirtualClock(),
        random=SeededRandom(1),
        publish=Told(),
    )
    return asyncio.create_task(runner.run())
