"""The outbox under everything that can happen to it: never lost, never twice, in order.

The world is simulated beside it: what the library was asked to send, what the server has, what was echoed. The row must
never claim less than was proven, and nothing that the server has may ever be sent again.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.virtual_time import SeededRandom, VirtualClock, VirtualLoop
from tandem.errors import Conflict
from tandem.model.ids import ChatId, Jid
from tandem.model.message import DecodedMessage, DecodedReceipt
from tandem.model.outbox import OutboxRow, SendOutcome, SendResult
from tandem.model.states import OutboxState, Slot
from tandem.queue.queue import Queue
from tandem.queue.settlement import settle_echo, settle_receipt
from tandem.queue.unknown import UnknownSends
from tandem.settings import QueueSettings
from unit.queue.parts import ACCOUNT, Told, accept_text, sendable

T = TypeVar("T")
CHATS = [ChatId(f"1202555010{number}@s.whatsapp.net") for number in range(3)]
PROVEN = {OutboxState.SENT, OutboxState.DELIVERED, OutboxState.READ}
ANN = Jid("12025550101", "s.whatsapp.net")
ENDED = {OutboxState.EXPIRED, OutboxState.CANCELLED, OutboxState.FAILED}
LIFE = 50.0
HOLD = 1e9  # an unknown message blocks its chat for ever: then order must hold in every history


@dataclass
class Sent:
    """The truth about one row."""

    row: OutboxRow
    order: int
    calling: bool = False
    at_server: int = 0
    proven: OutboxState | None = None
    ended: OutboxState | None = None
    dared: int = 0  # how often an operator had it sent again without a proof

    @property
    def message_id(self) -> str:
        return f"ID{self.order}"


class OutboxMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.place = Path(self.folder.name) / "0"
        self.place.mkdir()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.random = SeededRandom(11)
        self.truth: dict[str, Sent] = {}
        self.server: dict[ChatId, list[int]] = {}
        self.queue = self.make()
        self.run(self.queue.open)

    def make(self) -> Queue:
        return Queue(self.place, QueueSettings(), VirtualClock(), self.random, Told())

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(work())

    @rule(chat=st.sampled_from(CHATS), key=st.none() | st.integers(0, 5).map(str), life=st.sampled_from([None, LIFE]))
    def accept(self, chat: ChatId, key: str | None, life: float | None) -> None:
        text = f"text {key}"
        scoped = None if key is None else f"{chat}-{key}"
        row, new = self.run(lambda: accept_text(self.queue, chat, text, scoped, expires_in=life))
        assert new is (row.id not in self.truth)
        if new:
            self.truth[row.id] = Sent(row, len(self.truth))

    @rule(data=st.data())
    def call_begins(self, data: st.DataObject) -> None:
        rows = self.run(lambda: sendable(self.queue, HOLD))
        assert len({row.chat for row in rows}) == len(rows)
        for row in rows:
            sent = self.truth[row.id]
            assert sent.at_server <= sent.dared  # what the server has is never offered again, unless somebody dared
            assert not sent.calling
            assert sent.ended is None
        if rows:
            row = data.draw(st.sampled_from(rows))
            claimed = self.run(lambda: self.queue.outbox.mark_sending(row.id, Slot.PRIMARY))
            assert claimed.secret == self.truth[row.id].row.secret
            self.truth[row.id].calling = True

    @precondition(lambda self: any(sent.calling for sent in self.truth.values()))
    @rule(data=st.data(), reaches=st.booleans(), answered=st.booleans())
    def call_ends(self, data: st.DataObject, reaches: bool, answered: bool) -> None:  # noqa: FBT001 - hypothesis's
        sent = data.draw(st.sampled_from([sent for sent in self.truth.values() if sent.calling]))
        if reaches:
            self._arrive(sent)
        outcome = (SendOutcome.ACCEPTED if reaches else SendOutcome.NOT_SENT) if answered else SendOutcome.UNKNOWN
        result = SendResult(outcome, sent.message_id if outcome is SendOutcome.ACCEPTED else "")
        move = self.run(lambda: self.queue.outbox.record(sent.row.id, result))
        sent.calling = False
        if outcome is SendOutcome.ACCEPTED:
            self._prove(sent, OutboxState.SENT)
        assert move.after.id == sent.row.id

    @precondition(lambda self: any(sent.at_server for sent in self.truth.values()))
    @rule(data=st.data(), what=st.sampled_from(["echo", "delivered", "read"]))
    def evidence_comes(self, data: st.DataObject, what: str) -> None:
        sent = data.draw(st.sampled_from([sent for sent in self.truth.values() if sent.at_server]))
        if what == "echo":
            echo = _echo(sent)
            moves = self.run(lambda: self.queue.database.write(lambda c: settle_echo(c, ACCOUNT, echo, 1.0)))
            self._prove(sent, OutboxState.SENT)
        else:
            receipt = DecodedReceipt((sent.message_id,), ANN, ANN, from_me=False, kind=what, timestamp=1)
            moves = self.run(lambda: self.queue.database.write(lambda c: settle_receipt(c, ACCOUNT, receipt, 1.0)))
            # Without its message id the row cannot be named yet; the receipt is kept until it can.
            if sent.proven is not None:
                self._prove(sent, OutboxState(what))  # type: ignore[call-arg]
            else:
                self.early.setdefault(sent.row.id, []).append(OutboxState(what))  # type: ignore[call-arg]
        self.queue.outbox.moved(moves)

    @rule(data=st.data(), act=st.sampled_from(["cancel", "resend", "give_up"]))
    def an_operator_acts(self, data: st.DataObject, act: str) -> None:
        if not self.truth:
            return
        sent = data.draw(st.sampled_from(list(self.truth.values())))
        before = self.row(sent)
        possible = before.state is (OutboxState.QUEUED if act == "cancel" else OutboxState.UNKNOWN)
        try:
            after = self.run(lambda: getattr(self.queue.outbox, act)(before.id))
        except Conflict:
            assert not possible
            assert self.row(sent) == before
            return
        assert possible
        if act == "resend":
            sent.dared = sent.at_server
            assert after.state is OutboxState.QUEUED
        else:
            sent.ended = OutboxState.CANCELLED

    @rule(data=st.data())
    def a_proof_of_absence_is_found(self, data: st.DataObject) -> None:
        absent = [sent for sent in self.truth.values() if not sent.at_server and not sent.calling]
        if not absent:
            return
        sent = data.draw(st.sampled_from(absent))
        before = self.row(sent)
        unknown = UnknownSends(self.queue.database, self.queue.outbox, VirtualClock())
        move = self.run(lambda: unknown.send_again(before, "it never left", left=False))
        again = before.state is OutboxState.UNKNOWN
        assert move.after.state is (OutboxState.QUEUED if again else before.state)

    @rule(seconds=st.sampled_from([1.0, LIFE]))
    def time_passes(self, seconds: float) -> None:
        self.run(lambda: asyncio.sleep(seconds))
        for move in self.run(self.queue.outbox.expire):
            assert move.before.state is OutboxState.QUEUED
            assert move.after.expires_at <= move.after.ended_at
            self.truth[move.after.id].ended = OutboxState.EXPIRED

    @rule()
    def the_machine_loses_power(self) -> None:
        """What is on the disk, with its log as it lies there, is all that a new start has."""
        image = self.place.with_name(str(int(self.place.name) + 1))
        shutil.copytree(self.place, image)
        for sent in self.truth.values():
            sent.calling = False
        self.run(self.queue.close)
        self.place = image
        self.queue = self.make()
        self.run(self.queue.open)

    def row(self, sent: Sent) -> OutboxRow:
        return self.run(lambda: self.queue.outbox.get(sent.row.id))

    @rule()
    def the_daemon_is_killed(self) -> None:
        """A call under way may still reach the server: nobody is there to see it."""
        for sent in self.truth.values():
            if sent.calling and sent.order % 2:
                self._arrive(sent)
            sent.calling = False
        self.run(self.queue.close)
        self.queue = self.make()
        self.run(self.queue.open)

    @invariant()
    def rows_tell_the_truth(self) -> None:
        waiting = 0
        for identifier, sent in self.truth.items():
            row = self.run(lambda identifier=identifier: self.queue.outbox.get(identifier))  # type: ignore[misc]
            assert sent.at_server <= 1 + sent.dared
            if sent.proven is not None:
                assert row.state is sent.proven
            else:
                assert row.state not in PROVEN
                assert row.state is sent.ended or (sent.ended is None and row.state not in ENDED)
            assert (row.state is OutboxState.SENDING) is (sent.calling and sent.proven is None)
            waiting += row.state in {OutboxState.QUEUED, OutboxState.SENDING}
        assert self.queue.outbox.depth == waiting

    @invariant()
    def order_holds_in_every_chat(self) -> None:
        for arrived in self.server.values():
            assert arrived == sorted(arrived)

    def teardown(self) -> None:
        self.run(self.queue.close)
        self.runner.close()
        self.folder.cleanup()

    def __init__(self) -> None:
        super().__init__()
        self.early: dict[str, list[OutboxState]] = {}

    def _arrive(self, sent: Sent) -> None:
        sent.at_server += 1
        self.server.setdefault(sent.row.chat, []).append(sent.order)

    def _prove(self, sent: Sent, state: OutboxState) -> None:
        """What is proven only grows; receipts that came early count as soon as the row can be named."""
        states = [state, *self.early.pop(sent.row.id, [])]
        if sent.proven is not None:
            states.append(sent.proven)
        sent.proven = max(states, key=lambda each: each.number)


def _echo(sent: Sent) -> DecodedMessage:
    return DecodedMessage(
        message_id=sent.message_id,
        chat=ANN,
        sender=Jid("12025550100", "s.whatsapp.net", 2),
        sender_alt=None,
        recipient_alt=None,
        from_me=True,
        is_group=False,
        push_name="",
        timestamp=1,
        kind="text",
        text="",
        has_media=False,
        reply_to="",
        secret=sent.row.secret,
        raw=b"",
    )


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
