"""Messages into Firestore, in as few requests as can be, each exactly once.

A request creates a group of messages and, in the same breath, brings their chats up to date. Its writes succeed or
fail each for itself, so what counts is learned document by document: created, or there already (an earlier attempt
whose answer was lost), which is the same success. A request that is refused as a whole has something in it that can
never be stored: its documents may from then on share a request only with half as many, until the one at fault is alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import structlog

from tandem.clock import Clock
from tandem.errors import PoisonMessage, StoreUnavailable
from tandem.model.message import Message, StatusUpdate
from tandem.policy.batching import halves
from tandem.store.firestore.client import Client, Outcome, Refused
from tandem.store.firestore.documents import Names, message_write, position, status_write
from tandem.store.firestore.heads import Candidate, Head, Heads, newest
from tandem.store.firestore.progress import Draft, Fate, Progress, Record, missed, next_group
from tandem.store.firestore.values import fields_of
from tandem.store.firestore.verdicts import Kind, Verdict
from tandem.store.port import Poison

_log = structlog.get_logger(__name__)
MOST_WRITES = 500
"""Most writes in one request, as long as nobody has seen more succeed in production."""
_RACES = 5
CHECK = "tandem-check"
"""An account that does not exist: read to see whether the database answers."""


class Sink:
    """One call at a time. ``deadline`` is how many seconds a call may take, whatever it has to do in them."""

    def __init__(
        self, client: Client, names: Names, clock: Clock, *, deadline: float, documents: int, size: int
    ) -> None:
        self._client = client
        self._names = names
        self._clock = clock
        self._deadline = deadline
        self._documents = self._together = min(documents, MOST_WRITES // 2)
        self._size = size
        self._heads = Heads(names)
        self._progress = Progress()
        self._sequence = 0
        self._ends = 0.0

    async def write(self, messages: Sequence[Message], updates: Sequence[StatusUpdate] = ()) -> list[Poison]:
        """Make all of them durable but those returned. Raises StoreUnavailable; a repeated call goes on from there."""
        self._ends = self._clock.monotonic() + self._deadline
        drafts, poison = self._drafts(messages)
        try:
            await self._load(drafts)
            while group := next_group(drafts, self._together, self._size):
                await self._send(group)
            await self._condemn([draft.record for draft in drafts if draft.record.fate is Fate.SUSPECT])
            await self._settle_heads([draft for draft in drafts if draft.record.fate is not Fate.POISON])
            await self._advance([*updates, *missed(drafts)])
        except Refused as refusal:
            raise refusal.verdict.unavailable() from None
        self._progress.forget(drafts)
        return poison + [_poison(draft.message, draft.record.reason) for draft in drafts if draft.record.reason]

    def next_sequence(self) -> int:
        """Return a number that grows with every call, and over restarts unless the clock was set back."""
        self._sequence = max(self._sequence + 1, int(self._clock.now() * 1_000_000))
        return self._sequence

    def _drafts(self, messages: Sequence[Message]) -> tuple[list[Draft], list[Poison]]:
        """The messages as writes, one for each document, and those that no request needs to try."""
        drafts: dict[str, Draft] = {}
        poison = []
        stored_at = int(self._clock.now() * 1000)
        for message in messages:
            try:
                draft = self._draft(message, stored_at)
            except PoisonMessage as error:
                poison.append(_poison(message, str(error)))
            else:
                drafts.setdefault(draft.name, draft)
        return list(drafts.values()), poison

    def _draft(self, message: Message, stored_at: int) -> Draft:
        name = self._names.message(message.account, message.chat, message.key)
        record = self._progress.record(name, position(message.timestamp, self.next_sequence()))
        write = message_write(self._names, message, record.position, stored_at)
        return Draft(message, name, write, write.ByteSize(), record)

    async def _load(self, drafts: Sequence[Draft]) -> None:
        """Learn the heads of chats that are not known, in one read."""
        places = self._heads.missing((draft.message.account, draft.message.chat) for draft in drafts)
        if places:
            names = [self._names.chat(*place) for place in places]
            self._heads.learn(places, await self._client.get(names, self._left(), self._heads.fields()))

    async def _send(self, group: Sequence[Draft]) -> None:
        """One request: the messages of the group and the chats that they certainly bring forward."""
        touches = list(self._touches(group, certain=True))
        writes = [draft.write for draft in group] + [write for _, _, write in touches]
        try:
            outcomes = await self._client.batch_write(writes, self._left())
        except Refused as refusal:
            self._refused(group, refusal.verdict)
            return
        self._together = min(self._documents, max(self._together, 2 * len(group)))
        self._touched(touches, outcomes[len(group) :])
        _learn(group, outcomes[: len(group)])

    def _refused(self, group: Sequence[Draft], verdict: Verdict) -> None:
        half, _ = halves(len(group))
        if verdict.kind is Kind.SLOW:
            self._together = half  # perhaps the line is too slow for that many: fewer, until some come through
            raise verdict.unavailable()
        if verdict.kind not in {Kind.REFUSED, Kind.TOO_LARGE}:
            raise verdict.unavailable()
        if len(group) > 1:
            for draft in group:
                draft.record.together = half
            return
        group[0].record.fate = Fate.SUSPECT
        group[0].record.reason = _reason(group[0], verdict)

    async def _condemn(self, suspects: Sequence[Record]) -> None:
        """Before a message is given up: a database that refuses anything is at fault itself. Costs one read."""
        if not suspects:
            return
        try:
            await self._client.get([self._names.account(CHECK)], self._left())
        except Refused as refusal:
            if refusal.verdict.kind is not Kind.SLOW:
                for record in suspects:
                    record.fate, record.reason = Fate.OPEN, ""
            raise
        for record in suspects:
            record.fate = Fate.POISON

    async def _advance(self, updates: Sequence[StatusUpdate]) -> None:
        """Bring the status of messages forward that are there. Of one that is not there is nothing to be said."""
        joined: dict[str, StatusUpdate] = {}
        for update in updates:
            name = self._names.message(update.account, update.chat, update.key)
            known = joined.get(name, update)
            joined[name] = replace(update, standing=update.standing.joined(known.standing))
        wanted = list(joined.values())
        for start in range(0, len(wanted), self._documents):
            await self._advance_together(wanted[start : start + self._documents])

    async def _advance_together(self, updates: Sequence[StatusUpdate]) -> None:
        """One request, or several if something in it is refused: one status must not stop the others."""
        try:
            writes = [status_write(self._names, update) for update in updates]
            outcomes = await self._client.batch_write(writes, self._left())
        except Refused as refusal:
            if refusal.verdict.kind not in {Kind.REFUSED, Kind.TOO_LARGE}:
                raise
            if len(updates) == 1:
                _log.error("status_refused", account=updates[0].account, reason=refusal.verdict.text)
                return
            half, _ = halves(len(updates))
            await self._advance_together(updates[:half])
            await self._advance_together(updates[half:])
            return
        for outcome in outcomes:
            if outcome.verdict is not None and outcome.verdict.kind is not Kind.MISSING:
                raise outcome.verdict.unavailable()

    async def _settle_heads(self, drafts: Sequence[Draft]) -> None:
        """See that every chat shows what it should: nearly always nothing is left to do here."""
        for _ in range(_RACES):
            await self._load(drafts)
            await self._locate(drafts)
            touches = list(self._touches(drafts, certain=False))
            if not touches:
                return
            for start in range(0, len(touches), MOST_WRITES):
                part = touches[start : start + MOST_WRITES]
                writes = [write for _, _, write in part]
                outcomes = await self._client.batch_write(writes, self._left())
                self._touched(part, outcomes)
                _raise_trouble(outcomes)
        raise StoreUnavailable("another writer keeps changing the same chats")

    async def _locate(self, drafts: Sequence[Draft]) -> None:
        """Give copies as old as their chat's newest message the position they were first written with."""
        unsure = []
        for draft in drafts:
            head = self._heads.of((draft.message.account, draft.message.chat))
            if draft.record.fate is not Fate.PRESENT or head is None or head.at != draft.message.timestamp:
                continue
            if draft.message.key == head.key:
                draft.record.position = head.position
            else:
                unsure.append(draft)
        if not unsure:
            return
        found = await self._client.get([draft.name for draft in unsure], self._left(), ("position",))
        for draft in unsure:
            if draft.name in found:
                draft.record.position = fields_of(found[draft.name]).get("position", "")

    def _touches(self, drafts: Sequence[Draft], *, certain: bool) -> Iterator[tuple[Candidate, Head, object]]:
        """The writes of chats that these drafts bring forward; ``certain`` leaves out what a copy could feign."""
        arrived = (
            (one.message, one.record.position, one.record.fate is Fate.PRESENT)
            for one in drafts
            if not certain or self._later(one)
        )
        for candidate in newest(arrived):
            head = self._heads.of(candidate.place)
            write = None if head is None else self._heads.write(candidate, head)
            if head is not None and write is not None:
                yield candidate, head, write

    def _later(self, draft: Draft) -> bool:
        """Whether the chat cannot have seen this message: none of its time or later."""
        head = self._heads.of((draft.message.account, draft.message.chat))
        return head is not None and (head.at is None or draft.message.timestamp > head.at)

    def _touched(self, touches: Sequence[tuple[Candidate, Head, object]], outcomes: Sequence[Outcome]) -> None:
        for (candidate, head, _), outcome in zip(touches, outcomes, strict=True):
            if outcome.verdict is None:
                self._heads.written(candidate.place, candidate.head_after(head), outcome.version)
            else:
                self._heads.forget([candidate.place])

    def _left(self) -> float:
        left = self._ends - self._clock.monotonic()
        if left <= 0:
            raise StoreUnavailable(f"not done within {self._deadline:g} s; what was written stays written", 0.1)
        return left


def _learn(group: Sequence[Draft], outcomes: Sequence[Outcome]) -> None:
    """Note what became of each message, then raise if the fate of any is open."""
    unavailable = None
    for draft, outcome in zip(group, outcomes, strict=True):
        verdict = outcome.verdict
        if verdict is None:
            draft.record.fate = Fate.CREATED
        elif verdict.kind is Kind.EXISTS:
            draft.record.fate = Fate.PRESENT
        elif verdict.kind is Kind.REFUSED:
            draft.record.fate = Fate.POISON
            draft.record.reason = _reason(draft, verdict)
        else:
            unavailable = verdict.unavailable()
    if unavailable is not None:
        raise unavailable


def _raise_trouble(outcomes: Sequence[Outcome]) -> None:
    """Raise for what is no race that was lost: those are run again."""
    for outcome in outcomes:
        if outcome.verdict is not None and outcome.verdict.kind not in {Kind.EXISTS, Kind.LOST_RACE}:
            raise outcome.verdict.unavailable()


def _poison(message: Message, reason: str) -> Poison:
    return Poison(message.account, message.key, reason)


def _reason(draft: Draft, verdict: Verdict) -> str:
    return f"{verdict.text} (alone, {draft.size} bytes)"
