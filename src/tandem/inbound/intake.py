"""One transaction for a batch of events: messages into the inbox, echoes and receipts to the outbox, junk aside."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tandem.clock import Clock
from tandem.errors import NotFound, PoisonMessage
from tandem.inbound.canonical import canonical, pairs_of
from tandem.model.ids import AccountId, Number
from tandem.model.message import DecodedMessage, DecodedReceipt, RawEvent
from tandem.model.signals import Signal
from tandem.queue import delivery_rows
from tandem.queue.dead_letters import LetterKind, bury_event, drop
from tandem.queue.inbox import Arrival, Copy, Entry, Lookup, Verdict, put, put_again
from tandem.queue.outbox_rows import Move
from tandem.queue.own_messages import keep_proven
from tandem.queue.queue import Queue
from tandem.queue.settlement import settle_echo, settle_receipt
from tandem.queue.standings import receipt_came

Decoded = DecodedMessage | DecodedReceipt | Signal | None
Decode = Callable[[RawEvent], Decoded]
"""Raises for what it cannot understand. Anything but messages and receipts is none of the queue's business."""


@dataclass(frozen=True, slots=True)
class Work:
    """An event and what it says; ``fault`` is why it cannot be understood, if so."""

    event: RawEvent
    decoded: Decoded
    own: Number | None
    fault: str = ""

    def buried(self, fault: str) -> Work:
        return replace(self, decoded=None, fault=fault)


@dataclass(frozen=True, slots=True)
class Result:
    """What a committed batch came to. ``advanced`` own messages have come further by its receipts.

    Accounts run ``elsewhere`` had some that did, too; those do not count. ``kept``: messages that came in by other ways
    than an event of their own.
    """

    verdicts: list[tuple[Work, Verdict]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    buried: list[tuple[RawEvent, str]] = field(default_factory=list)
    receipts: int = 0
    advanced: int = 0
    kept: list[Verdict] = field(default_factory=list)
    elsewhere: set[AccountId] = field(default_factory=set)


def work_of(event: RawEvent, decode: Decode, own: Number | None) -> Work:
    """Decode an event. Whatever the decoder raises is the event's fault; foreign texts may hold content."""
    try:
        return Work(event, decode(event), own)
    except PoisonMessage as error:
        return Work(event, None, own, str(error))
    except Exception as error:  # noqa: BLE001 - one event must not stop those behind it
        return Work(event, None, own, f"it cannot be decoded ({type(error).__name__})")


def here(_account: AccountId) -> bool:
    """With one instance: it runs every account."""
    return True


class Intake:
    """Writes batches to the queue. ``holds`` says whether this instance runs an account at the moment."""

    def __init__(self, queue: Queue, clock: Clock, holds: Callable[[AccountId], bool] = here) -> None:
        self._queue = queue
        self._clock = clock
        self._holds = holds

    async def commit(self, batch: Sequence[Work], committed: Callable[[Result], None], *, bounded: bool) -> None:
        """Make a batch durable, whole or not at all. Raises Transient if the queue refuses it now."""
        if bounded:
            self._queue.inbox.refuse_when_full()
        wanted = [work for work in batch if work.fault or isinstance(work.decoded, DecodedMessage | DecodedReceipt)]
        if not wanted:
            return
        now, others = self._clock.now(), self._others(wanted)

        def done(result: Result) -> None:
            self._account_for(result)
            committed(result)

        shared = self._queue.outbox.shared
        await self._queue.database.write(
            lambda connection: _apply(connection, wanted, now, others, shared=shared), done
        )

    async def replay(self, identifier: int, understand: Callable[[RawEvent], Work]) -> None:
        """Process a dead letter again and drop it, in one transaction. Raises NotFound, PoisonMessage."""
        letter = await self._queue.dead_letters.get(identifier)
        now = self._clock.now()
        work = understand(letter.event()) if letter.kind is LetterKind.EVENT else None
        if work is not None and not isinstance(work.decoded, DecodedMessage | DecodedReceipt):
            raise PoisonMessage(work.fault or "it is neither a message nor a receipt")
        if work is not None and isinstance(work.decoded, DecodedMessage) and work.decoded.undecryptable:
            raise PoisonMessage("it is encrypted: only the sender can send it again")
        others = self._others([work] if work else [])

        def operation(connection: sqlite3.Connection) -> Result:
            if not drop(connection, identifier):
                raise NotFound("there is no such dead letter")
            if letter.kind is LetterKind.DELIVERY:
                delivery_rows.put_again(connection, letter.payload, now)
                return Result()
            if work is None:
                put_again(connection, letter.message())
                return Result(kept=[Verdict(Copy.FIRST)])
            return _apply(connection, [work], now, others)

        await self._queue.database.write(operation, self._account_for)

    def _account_for(self, result: Result) -> None:
        self._queue.inbox.came_in([*result.kept, *(verdict for _, verdict in result.verdicts)])
        self._queue.outbox.moved(result.moves)
        self._queue.standings.came_in(result.advanced, result.elsewhere)
        self._queue.deliveries.rouse()

    def _others(self, batch: Sequence[Work]) -> frozenset[AccountId]:
        """The accounts that another instance runs, as it is before the batch is committed."""
        accounts = {work.event.account for work in batch}
        return frozenset(account for account in accounts if not self._holds(account))


def _apply(
    connection: sqlite3.Connection,
    batch: Sequence[Work],
    now: float,
    others: frozenset[AccountId] = frozenset(),
    *,
    shared: bool = False,
) -> Result:
    verdicts, moves, buried, receipts, advanced = [], [], [], 0, 0
    kept: list[Verdict] = []
    elsewhere: set[AccountId] = set()
    for work in batch:
        event, decoded = work.event, work.decoded
        held = event.account in others
        if work.fault:
            bury_event(connection, event, work.fault, now)
            buried.append((event, work.fault))
        elif isinstance(decoded, DecodedMessage):
            verdicts.append((work, put(connection, [_arrival(work, decoded, held=held)], now)[0]))
            moves.extend(settle_echo(connection, event.account, decoded, now, shared=shared))
        elif isinstance(decoded, DecodedReceipt):
            receipts += 1
            proven = settle_receipt(connection, event.account, decoded, now)
            moves.extend(proven)
            kept.extend(keep_proven(connection, proven, now))
            changed = receipt_came(connection, event.account, decoded, now, held=held)
            if not held:
                advanced += changed
            elif changed:
                elsewhere.add(event.account)
    return Result(verdicts, moves, buried, receipts, advanced, kept, elsewhere)


def _arrival(work: Work, decoded: DecodedMessage, *, held: bool) -> Arrival:
    event = work.event
    received_at = int(event.arrived_at * 1000)

    def entry(number_of: Lookup) -> Entry:
        form = canonical(decoded, event.account, work.own, received_at, number_of)
        kept = event if decoded.undecryptable else None
        return Entry(form.message, event.slot, form.aliases, decoded.undecryptable, kept)

    return Arrival(event.account, pairs_of(decoded), entry, held)
