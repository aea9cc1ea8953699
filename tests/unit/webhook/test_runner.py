"""The runner on virtual time: what it does when an endpoint fails, and that one endpoint is nobody else's business."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.delivery.runner import Outcome, Runner
from tandem.model.event import EventType
from tandem.policy.delivery import DeliveryLimits, next_wait, pause
from tandem.queue.delivery_rows import Parcel
from tandem.queue.queue import Queue
from unit.queue.parts import Told, open_queue

TAKEN, FAILED = Outcome(True, "it answered 200"), Outcome(False, "it answered 500")


@dataclass
class Receiver:
    """Notes what it is sent, when, and answers as it is told."""

    answer: Callable[[Parcel], Outcome] = lambda _: TAKEN
    seconds: Callable[[Parcel], float] = lambda _: 0.0
    attempts: list[tuple[float, str]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    async def __call__(self, parcel: Parcel) -> Outcome:
        self.attempts.append((asyncio.get_running_loop().time(), parcel.id))
        await asyncio.sleep(self.seconds(parcel))
        outcome = self.answer(parcel)
        if outcome.taken:
            self.taken.append(parcel.id)
        return outcome


def parcel(number: int, lane: str = "ann") -> Parcel:
    return Parcel(f"{lane} {number}", lane, "", b"{}")


def run(
    directory: Path,
    scenario: Callable[[Queue, Told], Awaitable[None]],
    receivers: dict[str, Receiver],
    **options: Any,
) -> None:
    async def whole() -> None:
        told = Told()
        async with open_queue(directory, told) as queue:
            await queue.deliveries.configure("webhook", list(receivers))
            jobs: list[Coroutine[Any, Any, None]] = [
                Runner(
                    name,
                    queue.deliveries,
                    receiver,
                    lanes=4,
                    most_waiting=options.get("most_waiting", 1000),
                    limits=DeliveryLimits(max_age=options.get("max_age", 86_400.0)),
                    clock=VirtualClock(),
                    random=SeededRandom(3),
                    publish=told,
                ).run()
                for name, receiver in receivers.items()
            ]
            tasks = [asyncio.create_task(job) for job in jobs]
            try:
                await scenario(queue, told)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    run_virtually(whole())


def test_a_lone_event_goes_at_once_and_silence_costs_nothing(tmp_path: Path) -> None:
    receiver = Receiver()

    async def scenario(queue: Queue, told: Told) -> None:
        await asyncio.sleep(3600)
        before = asyncio.get_running_loop().time()
        await queue.deliveries.put("webhook", [parcel(1)])
        await asyncio.sleep(0.5)
        assert receiver.attempts == [(before, "ann 1")]
        assert told.of(EventType.DELIVERY_DEGRADED) == []

    run(tmp_path, scenario, {"a": receiver})


def test_an_outage_is_waited_out_with_order_and_few_attempts(tmp_path: Path) -> None:
    receiver = Receiver(answer=lambda _: FAILED)

    async def scenario(queue: Queue, told: Told) -> None:
        await queue.deliveries.put("webhook", [parcel(n, lane) for n in range(20) for lane in ("ann", "bob", "eve")])
        await asyncio.sleep(3600)
        assert 60 < len(receiver.attempts) < 600  # one at a time, in pauses of at most 30 s
        [degraded] = told.of(EventType.DELIVERY_DEGRADED)
        assert degraded["reason"] == "it answered 500"
        receiver.answer = lambda _: TAKEN
        await asyncio.sleep(400)
        assert len(told.of(EventType.DELIVERY_RESTORED)) == 1
        for lane in ("ann", "bob", "eve"):
            assert [each for each in receiver.taken if each.startswith(lane)] == [f"{lane} {n}" for n in range(20)]
        assert await queue.dead_letters.count() == 0

    run(tmp_path, scenario, {"a": receiver})


def test_one_slow_and_one_dead_endpoint_hold_up_no_other(tmp_path: Path) -> None:
    good, slow, dead = Receiver(), Receiver(seconds=lambda _: 10.0), Receiver(answer=lambda _: FAILED)

    async def scenario(queue: Queue, told: Told) -> None:
        await queue.deliveries.put("webhook", [parcel(n) for n in range(50)])
        await asyncio.sleep(5)
        assert len(good.taken) == 50
        assert (slow.taken, dead.taken) == ([], [])
        del told

    run(tmp_path, scenario, {"good": good, "slow": slow, "dead": dead})


def test_one_event_that_is_never_taken_holds_up_its_lane_alone_and_dies_of_age(tmp_path: Path) -> None:
    receiver = Receiver(answer=lambda each: FAILED if each.id == "ann 1" else TAKEN)

    async def scenario(queue: Queue, told: Told) -> None:
        await queue.deliveries.put("webhook", [parcel(n, lane) for lane in ("ann", "bob") for n in range(3)])
        await asyncio.sleep(60)
        assert sorted(receiver.taken) == ["ann 0", "bob 0", "bob 1", "bob 2"]
        await asyncio.sleep(1500)
        assert receiver.taken[-1] == "ann 2"
        [letter] = await queue.dead_letters.list()
        assert letter.reason == "a: it answered 500"
        [failed] = told.of(EventType.DELIVERY_FAILED)
        assert failed["count"] == 1

    run(tmp_path, scenario, {"a": receiver}, max_age=600.0)


def test_at_the_bound_the_oldest_give_way_and_it_is_said(tmp_path: Path) -> None:
    receiver = Receiver(answer=lambda _: FAILED)

    async def scenario(queue: Queue, told: Told) -> None:
        await queue.deliveries.put("webhook", [parcel(n, f"lane {n}") for n in range(30)])
        await asyncio.sleep(60)
        await queue.deliveries.refresh()
        figures = queue.deliveries.figures["a"]
        assert (figures.waiting, figures.dead) == (10, 20)
        assert await queue.dead_letters.count() == 20
        assert sum(each["count"] for each in told.of(EventType.DELIVERY_FAILED)) == 20

    run(tmp_path, scenario, {"a": receiver}, most_waiting=10)


def test_waits_grow_to_their_bound_and_what_the_endpoint_asks_is_granted() -> None:
    limits = DeliveryLimits()
    assert [next_wait(n, 0, 0, 1.0, limits) for n in (1, 2, 5, 9, 50)] == [1, 2, 16, 256, 300]
    assert next_wait(1, 0, 120, 0.5, limits) == 120
    assert next_wait(1, 0, 10_000, 0.5, limits) == 300
    assert next_wait(1, limits.max_age, 0, 0.5, limits) is None
    assert (pause(0, 1.0, limits), pause(1, 1.0, limits), pause(50, 1.0, limits)) == (0, 1, 30)
