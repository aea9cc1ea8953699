"""The inbox against a model: whatever comes in which order from whom, each message once, in order, nothing lost."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from support.virtual_time import VirtualLoop
from tandem.model.message import Message
from tandem.model.states import Slot
from tandem.queue.inbox import Arrival, Copy, Pending
from tandem.queue.queue import Queue
from unit.queue.parts import ANN, BOB, arrival, everything, make_queue, message

T = TypeVar("T")
NUMBERS = st.integers(0, 25)


class InboxMachine(RuleBasedStateMachine):
    """Known: keys that were ever readable. Waiting: the texts that the store has not taken, in order of arrival."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.known: set[int] = set()
        self.unreadable: set[int] = set()
        self.waiting: list[int] = []
        self.dead: list[int] = []
        self.queue = self.make()
        self.run(self.queue.open)

    def make(self) -> Queue:
        return make_queue(Path(self.folder.name))

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(work())

    @rule(batch=st.lists(st.tuples(NUMBERS, st.sampled_from(Slot), st.booleans()), min_size=1, max_size=12))
    def arrive(self, batch: list[tuple[int, Slot, bool]]) -> None:
        expected = [self._expect(number, readable=readable) for number, _, readable in batch]
        arrivals = [_arrival(number, slot, readable=readable) for number, slot, readable in batch]
        verdicts = self.run(lambda: self.queue.inbox.put(arrivals))
        assert [verdict.copy for verdict in verdicts] == expected

    @rule(numbers=st.lists(NUMBERS, min_size=2, max_size=8))
    def arrive_together(self, numbers: list[int]) -> None:
        """Separate calls in one group commit, one of which fails in the middle."""
        expected = [self._expect(number, readable=True) for number in numbers]

        async def together() -> list[Any]:
            calls = [self.queue.inbox.put([_arrival(number, Slot.BACKUP, readable=True)]) for number in numbers]
            calls.insert(1, self.queue.inbox.put([_arrival(99, Slot.BACKUP, readable=True), _broken()]))
            return await asyncio.gather(*calls, return_exceptions=True)

        results = self.run(together)
        assert isinstance(results.pop(1), UnicodeEncodeError)
        assert [verdicts[0].copy for verdicts in results] == expected

    @rule(limit=st.integers(1, 7), poison=st.sets(st.integers(0, 6)))
    def store_takes(self, limit: int, poison: set[int]) -> None:
        batch = self.run(lambda: self.queue.inbox.pending(limit, everything))
        assert [_number(pending) for pending in batch] == self.waiting[:limit]
        dead = [(pending, "poison") for index, pending in enumerate(batch) if index in poison]
        written = [pending for index, pending in enumerate(batch) if index not in poison]
        self.run(lambda: self.queue.inbox.settle(written, dead))
        self.waiting = self.waiting[limit:]
        self.dead += [_number(pending) for pending, _ in dead]

    @rule()
    def restart(self) -> None:
        self.run(self.queue.close)
        self.queue = self.make()
        self.run(self.queue.open)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        found = self.run(lambda: self.queue.inbox.pending(1_000, everything))
        assert [_number(pending) for pending in found] == self.waiting
        assert self.queue.inbox.depth == len(self.waiting)
        assert (self.queue.inbox._oldest_ms is not None) is bool(self.waiting)
        assert self.run(self.queue.inbox.undecryptable) == len(self.unreadable)
        letters = self.run(self.queue.dead_letters.list)
        assert [letter.message().message_id for letter in letters] == [_message(n).message_id for n in self.dead]

    def teardown(self) -> None:
        self.run(self.queue.close)
        self.runner.close()
        self.folder.cleanup()

    def _expect(self, number: int, *, readable: bool) -> Copy:
        if number in self.known:
            return Copy.DUPLICATE
        if not readable:
            self.unreadable.add(number)
            return Copy.UNDECRYPTABLE
        self.known.add(number)
        self.unreadable.discard(number)
        self.waiting.append(number)
        return Copy.FIRST


def _message(number: int) -> Message:
    return message(number, BOB if number % 3 else ANN, received_at=1_600_000_000_000 + number)


def _arrival(number: int, slot: Slot, *, readable: bool) -> Arrival:
    return arrival(_message(number), slot, undecryptable=not readable)


def _broken() -> Arrival:
    return arrival(message(98, text="half an emoji \ud83c"))


def _number(pending: Pending) -> int:
    return int(pending.message.message_id.removeprefix("3EB0"), 16)


TestInbox = InboxMachine.TestCase
TestInbox.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
