"""Two instances that share an outbox, under everything that can happen to them: takeovers at any point, lost answers,
partitions, crashes of either. WhatsApp is simulated beside them: what it was given, and what it told whom.

No message is given to it twice unless an instance could prove that it did not have it, and every message ends.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.virtual_time import VirtualLoop
from tandem.errors import Conflict, Transient
from tandem.model.ids import ChatId
from tandem.model.outbox import OutboxRow, SendOutcome, SendResult
from tandem.model.states import OutboxState, Slot
from tandem.policy.shared_outbox import OPEN
from unit.cluster.outbox_scene import PROVEN, Instance, Scene
from unit.queue.parts import ACCOUNT

T = TypeVar("T")
CHATS = [ChatId(f"1202555010{number}@s.whatsapp.net") for number in range(3)]
LEASE = 8.0
INSTANCES = st.sampled_from([0, 1])


@dataclass
class Sent:
    """The truth about one message. ``calling``: the instance whose library is at it."""

    row: OutboxRow
    order: int
    calling: int | None = None
    at_server: int = 0
    cancelled: bool = False
    unwanted: bool = False  # an operator tried to have it cancelled

    @property
    def message_id(self) -> str:
        return f"3EB0{self.order}"


class SharedOutboxMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.truth: dict[str, Sent] = {}
        self.generation = 0
        self.holder: int | None = None
        self.scene = self.run(self._begin)
        self.instances: list[Instance] = [self.scene.here, self.scene.there]
        for chat in CHATS:
            self.accept(at=1, chat=chat, key=None)
        self._acquire(0)

    async def _begin(self) -> Scene:
        scene = Scene(Path(self.folder.name))
        await scene.here.start()
        await scene.there.start()
        return scene

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(work())

    @rule(at=INSTANCES, chat=st.sampled_from(CHATS), key=st.none() | st.integers(0, 3).map(str))
    def accept(self, at: int, chat: ChatId, key: str | None) -> None:
        async def work() -> OutboxRow | None:
            try:
                scoped = None if key is None else f"{chat}-{key}"
                return await self.instances[at].accept(f"text {key}", scoped, chat)
            except Transient:
                return None  # a document may have come of it all the same, and is as good as any then

        row = self.run(work)
        if row is not None and row.id not in self.truth:
            self.truth[row.id] = Sent(row, len(self.truth))
        for seen in self.scene.ground.rows.values():
            self.truth.setdefault(seen.row.id, Sent(seen.row, len(self.truth)))

    @rule(at=INSTANCES, way=st.sampled_from(["released", "lost", "crashed"]), lose=st.booleans())
    def the_lease_comes_to(self, at: int, way: str, lose: bool) -> None:  # noqa: FBT001 - hypothesis's
        """The last holder hands over, or is fenced by its own clock, or is dead."""
        if self.holder is not None:
            self.run(lambda: self._end_lease(way))
        self._acquire(at, lose=lose)

    async def _end_lease(self, way: str) -> None:
        instance = self.instances[self.holder or 0]
        self._calls_end(self.holder)
        if way == "crashed":
            await instance.crash()
        else:
            await instance.release(lost=way == "lost")
        self.holder = None

    def _acquire(self, at: int, *, lose: bool = False) -> None:
        self.generation += 1
        instance = self.instances[at]
        instance.weather.lose = int(lose)

        async def work() -> None:
            await instance.acquire(self.generation, LEASE)

        try:
            self.run(work)
            self.holder = at
        except Transient:
            assert instance.weather.cut
            instance.rights.clear()

    def _calls_end(self, at: int | None) -> None:
        """A call that nobody waits for any more may have reached the server: who is even does."""
        for sent in self.truth.values():
            if sent.calling is not None and sent.calling == at:
                sent.at_server += 1 - sent.order % 2
                sent.calling = None

    @precondition(lambda self: self.holder is not None)
    @rule()
    def the_lease_is_renewed(self) -> None:
        async def work() -> None:
            self.instances[self.holder or 0].grant(self.generation, LEASE)

        if self.instances[self.holder or 0].weather.cut is False:
            self.run(work)

    @precondition(lambda self: self.holder is not None)
    @rule(lose=st.booleans(), taken_over=st.booleans(), at=INSTANCES)
    def calls_begin(self, lose: bool, taken_over: bool, at: int) -> None:  # noqa: FBT001 - hypothesis's
        """All that may go is begun; perhaps it is interrupted by a takeover at once."""
        instance = self.instances[self.holder or 0]
        instance.weather.lose = int(lose)
        for row in self.run(lambda: self._sendable(instance)):
            self._call(row)
        if taken_over:
            self.run(lambda: self._end_lease("lost"))
            self._acquire(at)

    @precondition(lambda self: self.holder is not None)
    @rule(at=INSTANCES, claimed=st.booleans())
    def a_claim_lands_after_the_lease_has_gone(self, at: int, claimed: bool) -> None:  # noqa: FBT001 - hypothesis's
        instance = self.instances[self.holder or 0]
        rows = self.run(lambda: self._sendable(instance))
        if not rows:
            return

        async def late() -> asyncio.Task[OutboxRow]:
            instance.weather.slow = 1.5
            task = asyncio.create_task(instance.shared.claiming.mark_sending(rows[0].id, Slot.PRIMARY))
            await asyncio.sleep(0.1)
            instance.weather.slow = 0.0
            return task

        task = self.run(late)
        self.run(lambda: self._end_lease("lost"))
        self._acquire(at)
        if claimed and self.holder is not None:
            for row in self.run(lambda: self._sendable(self.instances[at])):
                self._call(row)
        (result,) = self.run(lambda: _outcome(task))
        assert isinstance(result, Conflict | Transient)

    async def _sendable(self, instance: Instance) -> list[OutboxRow]:
        try:
            rows = await instance.sendable()
        except Transient:
            return []
        assert len({row.chat for row in rows}) == len(rows)
        return rows

    def _call(self, row: OutboxRow) -> bool:
        """Claim a message at the holder; what is claimed is as good as sent."""
        instance = self.instances[self.holder or 0]

        async def claim() -> OutboxRow | None:
            try:
                return await instance.shared.claiming.mark_sending(row.id, Slot.PRIMARY)
            except (Conflict, Transient):
                return None

        claimed = self.run(claim)
        if claimed is None:
            return False
        sent = self.truth[row.id]
        assert sent.at_server == 0  # the one thing that must never be
        assert sent.calling is None
        assert not sent.cancelled
        assert claimed.secret == sent.row.secret
        sent.calling = self.holder
        return True

    @precondition(lambda self: any(sent.calling is not None for sent in self.truth.values()))
    @rule(data=st.data(), reaches=st.booleans(), answered=st.booleans())
    def a_call_ends(self, data: st.DataObject, reaches: bool, answered: bool) -> None:  # noqa: FBT001 - hypothesis's
        sent = data.draw(st.sampled_from([sent for sent in self.truth.values() if sent.calling is not None]))
        at, sent.calling = sent.calling, None
        sent.at_server += reaches
        outcome = (SendOutcome.ACCEPTED if reaches else SendOutcome.NOT_SENT) if answered else SendOutcome.UNKNOWN
        result = SendResult(outcome, sent.message_id if outcome is SendOutcome.ACCEPTED else "")
        self.run(lambda: self.instances[at or 0].shared.claiming.record(sent.row.id, result))

    @precondition(lambda self: any(sent.at_server for sent in self.truth.values()))
    @rule(data=st.data(), at=INSTANCES, what=st.sampled_from(["echo", "delivered", "read"]))
    def evidence_comes(self, data: st.DataObject, at: int, what: str) -> None:
        sent = data.draw(st.sampled_from([sent for sent in self.truth.values() if sent.at_server]))
        if what == "echo":
            self.run(lambda: self.instances[at].echo(sent.row, sent.message_id))
        else:
            self.run(lambda: self.instances[at].receipt(sent.message_id, what))

    @precondition(lambda self: self.holder is not None)
    @rule(data=st.data())
    def a_proof_of_absence_is_found(self, data: st.DataObject) -> None:
        absent = [sent for sent in self.truth.values() if not sent.at_server and sent.calling is None]
        if absent:
            self._send_again(data.draw(st.sampled_from(absent)))

    def _send_again(self, sent: Sent) -> None:
        instance = self.instances[self.holder or 0]

        async def work() -> None:
            row = await instance.local(sent.row)
            if row is not None and row.state is OutboxState.UNKNOWN:
                await instance.unknown.send_again(row, "nobody has seen it", left=False)

        self.run(work)

    @rule(data=st.data(), at=INSTANCES, act=st.sampled_from(["cancel", "give_up"]))
    def an_operator_acts(self, data: st.DataObject, at: int, act: str) -> None:
        if not self.truth:
            return
        sent = data.draw(st.sampled_from(list(self.truth.values())))

        async def work() -> OutboxRow | None:
            try:
                done: OutboxRow = await getattr(self.instances[at].shared, act)(sent.row.id)
            except (Conflict, Transient):
                return None
            return done

        row = self.run(work)
        sent.unwanted |= self.holder == at
        if row is not None and row.state is OutboxState.CANCELLED:
            assert self.holder == at
            assert sent.calling is None
            sent.cancelled = True

    @rule(at=INSTANCES, cut=st.sampled_from([False, False, True]))
    def the_weather_changes(self, at: int, cut: bool) -> None:  # noqa: FBT001 - hypothesis's
        self.instances[at].weather.cut = cut

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0, 30.0]), lose=st.booleans(), at=INSTANCES)
    def time_passes(self, seconds: float, lose: bool, at: int) -> None:  # noqa: FBT001 - hypothesis's
        self.instances[at].weather.lose += lose
        self.run(lambda: asyncio.sleep(seconds))

    @rule(at=INSTANCES)
    def an_instance_crashes(self, at: int) -> None:
        self._calls_end(at)
        self.run(self.instances[at].crash)
        if self.holder == at:
            self.holder = None

    @invariant()
    def documents_tell_the_truth(self) -> None:
        for seen in self.scene.ground.rows.values():
            sent = self.truth[seen.row.id]
            assert sent.at_server <= 1
            if seen.row.state in PROVEN:
                assert sent.at_server
            if seen.row.state is OutboxState.QUEUED:
                assert not sent.at_server or sent.calling is not None or self._known_better(seen.row)

    def _known_better(self, row: OutboxRow) -> bool:
        """Only the instance that knows of the proof may have sent it, and has not come to write it up yet."""
        return any(self.run(lambda each=each: each.local_state(row)) in PROVEN for each in self.instances)  # type: ignore[misc]

    def teardown(self) -> None:
        try:
            self._everything_ends()
        finally:
            self.run(self._stop)
            self.runner.close()
            self.folder.cleanup()

    def _everything_ends(self) -> None:
        """In fair weather, with all that WhatsApp has told, a holder brings every message to its end."""
        for instance in self.instances:
            instance.weather.cut, instance.weather.lose = False, 0
        if self.holder is not None:
            self.run(lambda: self._end_lease("lost"))
        self.generation += 1
        self.run(lambda: self.instances[0].acquire(self.generation))
        self.holder = 0
        for _ in range(len(self.truth) + 2):
            for row in self.run(lambda: self._sendable(self.instances[0])):
                assert self._call(row)
                self._calls_end_well(self.truth[row.id])
            self.run(lambda: asyncio.sleep(40))
            for sent in self.truth.values():
                if sent.at_server:
                    self.run(lambda sent=sent: self.instances[0].echo(sent.row, sent.message_id))  # type: ignore[misc]
                elif sent.calling is None:
                    self._send_again(sent)
        self.run(lambda: asyncio.sleep(40))
        for sent in self.truth.values():
            row = self.scene.ground.rows[ACCOUNT, sent.row.id].row
            assert row.state not in OPEN
            # Proof of what an operator gave up elsewhere is known to nobody who still has the row.
            assert row.state in PROVEN or (row.state is OutboxState.CANCELLED and sent.unwanted)
            assert sent.at_server or row.state not in PROVEN

    def _calls_end_well(self, sent: Sent) -> None:
        result = SendResult(SendOutcome.ACCEPTED, sent.message_id)
        self.run(lambda: self.instances[0].shared.claiming.record(sent.row.id, result))
        sent.calling, sent.at_server = None, sent.at_server + 1

    async def _stop(self) -> None:
        for instance in self.instances:
            await instance.stop()


async def _outcome(task: asyncio.Task[OutboxRow]) -> tuple[OutboxRow | BaseException]:
    return await asyncio.gather(task, return_exceptions=True)


TestSharedOutbox = SharedOutboxMachine.TestCase
TestSharedOutbox.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
