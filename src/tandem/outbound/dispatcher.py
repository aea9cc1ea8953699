"""Sends what an account accepted: in order within a chat, a few chats at a time, at its pace, each message once.

The call to the library stands between two commits: ``sending`` before it, its result after it. What lies between them
when a process dies is ``unknown``, and is settled by what WhatsApp says later, never by sending again. So is a call
that has no answer in time; it goes on holding its slot, and may still bring proof, until it comes back or its host is
ended for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from tandem.clock import Clock, Random, until_told
from tandem.errors import Conflict, Transient
from tandem.model.event import EventType, Publish
from tandem.model.ids import AccountId, ChatId
from tandem.model.outbox import MarkRead, OutboxRow, SendResult
from tandem.model.states import OutboxState, Slot
from tandem.model.views import SendingView
from tandem.outbound.calls import Calls, Sender
from tandem.outbound.pacing import Pacer, Rates
from tandem.outbound.port import Waiting
from tandem.policy.backoff import full_jitter
from tandem.policy.pacing import refusal_of
from tandem.queue.outbox_rows import Move

LAST_SECOND = 1.0
"""Seconds that sends under way have to finish when an account is handed on or removed."""

_log = structlog.get_logger(__name__)
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 30.0
_LONGEST_CHAT_WAIT = 300.0  # of a chat whose messages the library has been silent about again and again
_CALL_WAIT = 1.0
_LOOK_AGAIN = 30.0  # seconds after which an idle dispatcher looks by itself, in case nobody woke it


class Dispatcher:
    """One per account; ``run`` is its task. ``wake`` it when the account comes online.

    It wakes by itself when something is accepted. ``patience``: seconds a send has to be answered before its message
    counts as unknown; ``send_timeout``: seconds after which a call is over in any case. ``hold`` is how many seconds a
    message whose fate is unknown keeps those behind it in its chat waiting: in that time it is settled, or sent again
    in its place, if the other device can testify. ``last_seconds`` is asked at the end, how many seconds sends under
    way have to finish.
    """

    def __init__(
        self,
        account: AccountId,
        outbox: Waiting,
        sender: Sender,
        *,
        clock: Clock,
        random: Random,
        publish: Publish,
        rates: Rates | None = None,
        patience: float = 2.0,
        send_timeout: float = 80.0,
        hold: float = 30.0,
        last_seconds: Callable[[], float] = lambda: LAST_SECOND,
    ) -> None:
        self.unsettled: Callable[[], None] = _nobody
        """Called when a message has become unknown, or its overdue call is over: the reconciler's. Must not block."""
        self._account = account
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._random = random
        self._publish = publish
        self._pacer = Pacer(rates or Rates(), clock)
        self._calls = Calls(sender, clock, self._proven_late, self._call_over, patience=patience, timeout=send_timeout)
        self._hold = hold
        self._last_seconds = last_seconds
        self._news = asyncio.Event()
        self._under_way: dict[ChatId, asyncio.Task[None]] = {}
        self._later: dict[ChatId, float] = {}
        self._silences: Counter[ChatId] = Counter()
        self._due = 0.0
        self._held_until = 0.0
        self._not_before = 0.0
        self._failures = 0
        self._wakes = 0
        self._stuck = False

    @property
    def sending(self) -> SendingView:
        """At what pace the account sends, and why."""
        return self._pacer.view(self._sender.banned_until)

    def wake(self) -> None:
        """Look for something to send now: the account has come online, or its role has moved."""
        self._wakes += 1
        self._failures = 0
        self._not_before = 0.0
        self._news.set()

    def call_ended(self, outbox_id: str) -> float | None:
        """When the last call for a message came back, in Unix seconds; None says nothing."""
        return self._calls.ended(outbox_id)

    async def run(self) -> None:
        """Send what comes, until cancelled; then sends under way have their last seconds to finish.

        What does not finish is unknown from the next start on.
        """
        unsubscribe = self._outbox.subscribe(self._accepted)
        try:
            await self._settle_interrupted()
            while True:
                await self._start_what_can()
                await self._wait()
        finally:
            unsubscribe()
            await self._finish()

    def _accepted(self, account: AccountId) -> None:
        if account == self._account:
            self._news.set()

    async def _settle_interrupted(self) -> None:
        """An earlier run, or a defect, may have left sends behind whose fate nobody knows. Only while none runs."""
        while True:
            try:
                await self._outbox.interrupted(self._account)
            except Transient as error:
                self._back_off(error)
                await self._clock.sleep(max(0.0, self._not_before - self._clock.monotonic()))
            else:
                self._stuck = False
                self._held_until = self._clock.monotonic() + self._hold
                self._news.set()
                return

    async def _start_what_can(self) -> None:
        """Start a send for every chat that is free, as far as the slot, the pace and the ban allow."""
        self._due = 0.0
        if self._clock.monotonic() < self._not_before:
            return
        if self._stuck:
            if not self._under_way:
                await self._settle_interrupted()
            return
        try:
            while (slot := self._free_slot()) is not None and (row := await self._next()) is not None:
                if not isinstance(row.content, MarkRead):
                    self._pacer.took(row.chat)
                self._calls.begin(slot)
                self._under_way[row.chat] = asyncio.create_task(self._send(row, slot), name=f"send {row.id}")
        except Transient as error:
            self._back_off(error)

    def _free_slot(self) -> Slot | None:
        """Return the active slot if a call may be made now. A slot with an overdue call is stuck in the library."""
        waits = max(self._pacer.wait(), self._sender.banned_until - self._clock.now())
        if waits > 0:
            self._look_in(waits)
            return None
        slot = self._sender.active
        return slot if self._calls.free(slot) else None

    async def _next(self) -> OutboxRow | None:
        """Return the oldest message of a chat that need not wait. Who has to wait is left out until it may go."""
        now = self._clock.monotonic()
        self._later = {chat: due for chat, due in self._later.items() if due > now}
        while True:
            row = await self._outbox.sendable(self._account, self._hold, {*self._under_way, *self._later})
            if row is None:
                if self._later:
                    self._look_in(min(self._later.values()) - now)
                return None
            waits = await self._chat_waits(row)
            if waits <= 0:
                return row
            self._later[row.chat] = self._clock.monotonic() + waits

    async def _chat_waits(self, row: OutboxRow) -> float:
        """Seconds that this chat has to wait for its pace, or for a call whose message an operator has sent again.

        A read mark is no message, nobody is bothered by it.
        """
        if self._calls.is_overdue(row.id):
            return _CALL_WAIT
        if isinstance(row.content, MarkRead):
            return 0.0
        strangers = self._pacer.strangers_wait()
        if strangers and not await self._outbox.conversed(self._account, row.chat):
            return strangers
        return self._pacer.chat_wait(row.chat)

    def _look_in(self, seconds: float) -> None:
        due = self._clock.monotonic() + seconds
        self._due = min(self._due, due) if self._due else due

    async def _wait(self) -> None:
        """Wait for news, at most until something is due: a pace's, a backoff's or a held chat's end, or anyway."""
        now = self._clock.monotonic()
        due = [moment for moment in (self._due, self._not_before, self._held_until) if moment > now]
        longest = min((moment - now for moment in due), default=_LOOK_AGAIN)
        await until_told(self._news, self._clock, longest)

    async def _send(self, row: OutboxRow, slot: Slot) -> None:
        """One message, from queued to the commit of its result. Whatever happens, the chat is free afterwards."""
        wakes = self._wakes
        try:
            claimed = await self._outbox.mark_sending(row.id, slot)
            result = await self._calls.answer(slot, claimed)
            move = await self._record(claimed, result)
            self._tell(move)
            self._learn(move, result, wakes)
        except Conflict:
            self._give_back(row)
            _log.debug("row_moved_meanwhile", outbox_id=row.id)
        except Transient as error:
            self._back_off(error)
        except Exception as error:  # noqa: BLE001 - a defect may cost this message a while, the others nothing
            _log.exception("send_failed", outbox_id=row.id)
            self._stuck = True
            self._back_off(error)
        finally:
            self._under_way.pop(row.chat, None)
            self._calls.end(slot)
            self._news.set()

    async def _proven_late(self, row: OutboxRow, result: SendResult) -> None:
        self._tell(await self._record(row, result))

    def _call_over(self) -> None:
        self._news.set()
        self.unsettled()

    async def _record(self, row: OutboxRow, result: SendResult) -> Move:
        """Commit the result. It exists nowhere else: the disk's refusal is waited out."""
        failures = 0
        while True:
            try:
                return await self._outbox.record(row.id, result)
            except Transient as error:
                failures += 1
                if failures == 1:
                    _log.warning("result_waits", outbox_id=row.id, reason=str(error))
                await self._clock.sleep(self._jitter(failures))

    def _learn(self, move: Move, result: SendResult, wakes: int) -> None:
        """Draw the conclusions for what is sent next."""
        chat, now = move.after.chat, self._clock.monotonic()
        if (refusal := refusal_of(result.code)) is not None:
            self._say(EventType.RATE_LIMIT_DETECTED, self._pacer.refused(refusal), move.after)
        if not self._calls.is_overdue(move.after.id):
            self._silences.pop(chat, None)
        elif self._silences[chat] > 0:
            self._later[chat] = now + min(_LONGEST_CHAT_WAIT, 2.0 ** self._silences[chat])
            self._silences[chat] += 1
        else:
            self._silences[chat] = 1
        if move.after.state is OutboxState.UNKNOWN:
            self._held_until = now + self._hold
            self.unsettled()
        if move.after.state is not OutboxState.QUEUED:
            self._failures = 0
            return
        self._give_back(move.after)
        if wakes == self._wakes:
            self._failures += 1
            self._not_before = now + self._jitter(self._failures)

    def _give_back(self, row: OutboxRow) -> None:
        if not isinstance(row.content, MarkRead):
            self._pacer.gave_back(row.chat)

    def _tell(self, move: Move) -> None:
        if move.newly_sent:
            self._say(EventType.MESSAGE_SENT, "message sent", move.after)
        elif move.entered is OutboxState.FAILED:
            self._say(EventType.MESSAGE_SEND_FAILED, f"message not sent: {move.after.reason}", move.after)
        elif move.entered is OutboxState.UNKNOWN:
            self._say(EventType.MESSAGE_SEND_UNKNOWN, f"message possibly sent: {move.after.reason}", move.after)

    def _say(self, what: EventType, words: str, row: OutboxRow) -> None:
        self._publish(what, words, account=row.account, slot=row.slot, reason=row.reason, outbox_id=row.id)

    def _back_off(self, error: Exception) -> None:
        self._failures += 1
        self._not_before = self._clock.monotonic() + self._jitter(self._failures)
        if self._failures == 1:
            _log.warning("outbox_waits", account=self._account, reason=str(error))

    def _jitter(self, failures: int) -> float:
        return full_jitter(failures, self._random.uniform(0.0, 1.0), _FIRST_WAIT, _LONGEST_WAIT)

    async def _finish(self) -> None:
        ends = self._clock.monotonic() + self._last_seconds()
        while tasks := [*self._under_way.values(), *self._calls.overdue]:  # the former may yet turn into the latter
            if (left := ends - self._clock.monotonic()) <= 0:
                break
            await asyncio.wait(tasks, timeout=left)
        for task in (tasks := [*self._under_way.values(), *self._calls.overdue]):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _nobody() -> None:
    """Nobody waits."""
