from __future__ import annotations

import asyncio
from dataclasses import replace
from math import inf

import pytest

from support.virtual_time import VirtualClock
from tandem.cluster.memory import Act, MemoryGround
from tandem.cluster.port import LostRace, Put
from tandem.cluster.term import Term
from tandem.errors import StoreUnavailable
from tandem.model.cluster import Instance, InstanceId
from tandem.policy.lease import end_of_right
from unit.cluster.lease_parts import LIMITS, NORTH, SOUTH, TIMEOUT, Way, beat_at, meeting_at, now
from unit.cluster.meeting_places import heartbeat
from unit.supervision.test_supervisor import virtual


class Rig:
    """A directory's instances on one ground: each process of it has a term of its own."""

    def __init__(self) -> None:
        self.ground = MemoryGround()

    async def process(self, origin: str = "origin", way: Way | None = None, me: InstanceId = NORTH) -> Process:
        return Process(Term(me, origin, await meeting_at(self.ground, me, way), VirtualClock(), LIMITS), origin, me)

    async def depose(self, name: InstanceId = NORTH) -> None:
        document, version = self.ground.documents[Instance, name]
        assert isinstance(document, Instance)
        meeting = await meeting_at(self.ground, SOUTH)
        await meeting.commit([Put(replace(document, deposed=True), version)], TIMEOUT)


class Process:
    def __init__(self, term: Term, origin: str, me: InstanceId) -> None:
        self.term = term
        self._origin, self._me = origin, me

    def body(self, term: int, beat: int, every: float) -> Instance:
        return replace(heartbeat(self._me, beat), term=term, every=every, origin=self._origin)

    async def begin(self) -> str:
        return await self.term.begin(self.body)

    async def beat(self) -> None:
        await self.term.beat(self.body, LIMITS.renew)

    async def begun(self) -> Process:
        assert await self.begin() == ""
        return self


@virtual
async def test_a_term_begins_at_one_and_its_heartbeat_gives_a_right_from_when_it_was_sent() -> None:
    rig, way = Rig(), Way(slow={Act.COMMIT: 0.4, Act.COMMITTED: 0.5})
    process = await rig.process(way=way)
    assert (process.term.begun, process.term.until) == (False, -inf)
    await process.begun()
    assert (process.term.begun, process.term.number) == (True, 1)
    assert now() == pytest.approx(0.9)
    assert process.term.until == end_of_right(0.0, LIMITS)
    assert process.term.last is not None
    assert (process.term.last.instance, beat_at(rig.ground, NORTH).beat) == (beat_at(rig.ground, NORTH), 1)


@virtual
async def test_the_next_term_of_the_same_directory_has_the_next_number_at_once() -> None:
    rig = Rig()
    await (await rig.process()).begun()
    successor = await (await rig.process()).begun()
    assert successor.term.number == 2
    assert now() == 0.0


@virtual
async def test_a_heartbeat_whose_answer_is_lost_is_read_back_and_counts_from_its_own_sending() -> None:
    rig, way = Rig(), Way()
    process = await (await rig.process(way=way)).begun()
    await asyncio.sleep(3)
    way.refuses = {Act.COMMITTED}
    with pytest.raises(StoreUnavailable):
        await process.beat()
    assert process.term.until == end_of_right(0.0, LIMITS)
    way.heal()
    await asyncio.sleep(2)
    await process.beat()
    assert (process.term.until, process.term.written_at) == (end_of_right(3.0, LIMITS), 3.0)
    assert (process.term.begun, beat_at(rig.ground, NORTH).beat) == (True, 2)
    await process.beat()
    assert process.term.until == end_of_right(5.0, LIMITS)
    assert beat_at(rig.ground, NORTH).beat == 4


@virtual
async def test_a_heartbeat_that_never_arrived_counts_nothing_and_the_next_one_does() -> None:
    rig, way = Rig(), Way()
    process = await (await rig.process(way=way)).begun()
    await asyncio.sleep(3)
    way.refuses = {Act.COMMIT}
    with pytest.raises(StoreUnavailable):
        await process.beat()
    way.heal()
    await asyncio.sleep(2)
    await process.beat()
    assert process.term.until == end_of_right(5.0, LIMITS)


@virtual
async def test_a_heartbeat_that_arrives_after_nobody_waits_any_more_ends_no_term() -> None:
    rig, way = Rig(), Way()
    process = await (await rig.process(way=way)).begun()
    await asyncio.sleep(3)
    way.slow = {Act.COMMIT: process.term.timeout + 1}
    with pytest.raises(StoreUnavailable, match="in time"):
        await process.beat()
    way.slow = {}
    await asyncio.sleep(1.5)
    assert beat_at(rig.ground, NORTH).beat == 2
    await process.beat()
    assert process.term.until == end_of_right(3.0, LIMITS)


@virtual
async def test_an_answer_to_an_earlier_heartbeat_shortens_no_right() -> None:
    rig = Rig()
    process = await (await rig.process()).begun()
    early, _ = process.term.put(process.body, LIMITS.renew)
    await asyncio.sleep(4)
    late, put = process.term.put(process.body, LIMITS.renew)
    [version] = rig.ground.commit([put])
    process.term.acknowledged(late, version)
    process.term.acknowledged(early, version)
    assert process.term.until == end_of_right(4.0, LIMITS)
    process.term.acknowledged(999, version)
    assert process.term.until == end_of_right(4.0, LIMITS)


@virtual
async def test_a_deposed_term_is_over_and_the_next_one_has_another_number() -> None:
    rig = Rig()
    process = await (await rig.process()).begun()
    await rig.depose()
    with pytest.raises(LostRace, match="ended this term"):
        await process.beat()
    assert (process.term.begun, process.term.until) == (False, -inf)
    await process.begun()
    assert process.term.number == 2
    assert not beat_at(rig.ground, NORTH).deposed


@virtual
async def test_a_term_whose_document_was_deleted_is_over() -> None:
    rig = Rig()
    process = await (await rig.process()).begun()
    rig.ground.remove(beat_at(rig.ground, NORTH))
    with pytest.raises(LostRace, match="deleted"):
        await process.beat()
    assert not process.term.begun
    await process.begun()
    assert process.term.number == 2


@virtual
async def test_a_process_of_another_origin_waits_for_the_whole_time_to_live_of_the_one_before() -> None:
    rig = Rig()
    await (await rig.process("old container")).begun()
    await asyncio.sleep(60)
    successor = await rig.process("new container")
    while reason := await successor.begin():
        assert "another process has run on this data directory" in reason
        assert not successor.term.begun
        await asyncio.sleep(0.5)
    assert now() == 60 + LIMITS.ttl
    assert successor.term.number == 2


@virtual
async def test_a_copy_of_the_directory_waits_as_long_as_the_original_beats() -> None:
    rig = Rig()
    original = await (await rig.process("here")).begun()
    copy = await rig.process("there")
    for _ in range(20):
        assert await copy.begin()
        await asyncio.sleep(4)
        await original.beat()
    assert (original.term.begun, copy.term.begun) == (True, False)


@virtual
async def test_a_successor_of_another_origin_need_not_wait_for_one_that_ended_gracefully() -> None:
    rig = Rig()
    process = await (await rig.process("old container")).begun()
    _, put = process.term.put(lambda *of: replace(process.body(*of), deposed=True), 0.0)
    rig.ground.commit([put])
    successor = await (await rig.process("new container")).begun()
    assert (now(), successor.term.number) == (0.0, 2)
    with pytest.raises(LostRace):
        await process.beat()


@virtual
async def test_a_beginning_whose_answer_is_lost_is_tried_again_under_another_number() -> None:
    rig, way = Rig(), Way(refuses={Act.COMMITTED})
    process = await rig.process(way=way)
    with pytest.raises(StoreUnavailable):
        await process.begin()
    assert (process.term.begun, process.term.number) == (False, 1)
    way.heal()
    await process.begun()
    assert process.term.number == beat_at(rig.ground, NORTH).term == 2


@pytest.mark.parametrize(
    ("term", "origin", "deposed", "over"),
    [(1, "origin", False, False), (1, "origin", True, True), (1, "other", False, True), (2, "origin", False, True),
     (0, "other", True, False)],
)  # fmt: skip
def test_a_document_ends_a_term_if_it_is_of_a_later_one_another_origin_or_deposed(
    term: int, origin: str, deposed: bool, over: bool  # noqa: FBT001 - the table's
) -> None:  # fmt: skip
    @virtual
    async def check() -> None:
        process = await (await Rig().process()).begun()
        shown = replace(heartbeat(NORTH, deposed=deposed), term=term, origin=origin)
        assert process.term.ended_by(shown) is over

    check()


def test_a_call_gives_up_while_its_right_can_still_be_renewed() -> None:
    @virtual
    async def check() -> None:
        process = await Rig().process()
        assert LIMITS.renew + process.term.timeout < end_of_right(0.0, LIMITS)

    check()
