"""Sends what an account accepted: in order within a chat, a few chats at a time, each message once.

The call to the library stands between two commits: ``sending`` before it, its result after it. What lies between them
when a process dies is ``unknown``, and is settled by what WhatsApp says later, never by sending again.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from tandem.clock import Clock, Random
from tandem.errors import Conflict, NotOnline, Transient
from tandem.model.event import EventType, Publish
from tandem.model.ids import AccountId, ChatId
from tandem.model.outbox import Content, OutboxRow, SendOutcome, SendResult
from tandem.model.states import OutboxState, Slot
from tandem.policy.backoff import full_jitter
from tandem.queue.outbox import Outbox
from tandem.queue.outbox_rows import Move

_log = structlog.get_logger(__name__)
_GRACE = 2.0  # beyond the call's own deadline: a sender that breaks its promise must not stop the chat
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 30.0
_LOOK_AGAIN = 30.0  # seconds after which an idle dispatcher looks by itself, in case nobody woke it
_LAST_SECOND = 1.0  # what sends under way have to finish when the dispatcher is ended


class Sender(Protocol):
    """Whoever sends for the account: the pair. ``active`` is the slot that sends now."""

    @property
    def active(self) -> Slot: ...

    async def send(self, slot: Slot, chat: ChatId, content: Content, secret: bytes, timeout: float) -> SendResult:
        """Raise NotOnline when that slot cannot send; everything else is in the result. ``timeout`` in seconds."""
        ...


class Dispatcher:
    """One per account; ``run`` is its task. ``wake`` it when the account comes online.

    It wakes by itself when something is accepted. ``send_timeout`` is for one send, in seconds; ``chats_at_once``
    bounds the sends under way; ``hold`` is how many seconds a message whose fate is unknown keeps those behind it in
    its chat waiting: in that time it is settled, or sent again in its place, if the other device can testify.
    """

    def __init__(
        self,
        account: AccountId,
        outbox: Outbox,
        sender: Sender,
        *,
        clock: Clock,
        random: Random,
        publish: Publish,
        send_timeout: float = 10.0,
        chats_at_once: int = 4,
        hold: float = 30.0,
    ) -> None:
        self._account = account
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._random = random
        self._publish = publish
        self._send_timeout = send_timeout
        self._chats_at_once = chats_at_once
        self._hold = hold
        self._news = asyncio.Event()
        self._under_way: dict[ChatId, asyncio.Task[None]] = {}
        self._held_until = 0.0
        self._not_before = 0.0
        self._failures = 0
        self._wakes = 0
        self._stuck = False

    def wake(self) -> None:
        """Look for something to send now: the account has come online, or its role has moved."""
        self._wakes += 1
        self._failures = 0
        self._not_before = 0.0
        self._news.set()

    async def run(self) -> None:
        """Send what comes, until cancelled; then sends under way have a second to finish.

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
        """Start a send for every chat that is free, as far as the bound allows."""
        free = self._chats_at_once - len(self._under_way)
        if free <= 0 or self._clock.monotonic() < self._not_before:
            return
        if self._stuck:
            if not self._under_way:
                await self._settle_interrupted()
            return
        try:
            rows = await self._outbox.sendable(self._account, 2 * self._chats_at_once, self._hold)
        except Transient as error:
            self._back_off(error)
            return
        for row in [row for row in rows if row.chat not in self._under_way][:free]:
            self._under_way[row.chat] = asyncio.create_task(self._send(row), name=f"send {row.id}")

    async def _wait(self) -> None:
        """Wait for news, at most until something is due: a backoff's end, a held chat's, or the next look anyway."""
        now = self._clock.monotonic()
        due = [moment for moment in (self._not_before, self._held_until) if moment > now]
        timer = asyncio.create_task(self._clock.sleep(min((moment - now for moment in due), default=_LOOK_AGAIN)))
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait({timer, news}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            news.cancel()
        self._news.clear()

    async def _send(self, row: OutboxRow) -> None:
        """One message, from queued to the commit of its result. Whatever happens, the chat is free afterwards."""
        wakes = self._wakes
        try:
            slot = self._sender.active
            claimed = await self._outbox.mark_sending(row.id, slot)
            move = await self._record(claimed, await self._call(slot, claimed))
            self._tell(move)
            self._learn(move, wakes)
        except Conflict:
            _log.debug("row_moved_meanwhile", outbox_id=row.id)
        except Transient as error:
            self._back_off(error)
        except Exception as error:  # noqa: BLE001 - a defect may cost this message a while, the others nothing
            _log.exception("send_failed", outbox_id=row.id)
            self._stuck = True
            self._back_off(error)
        finally:
            self._under_way.pop(row.chat, None)
            self._news.set()

    async def _call(self, slot: Slot, row: OutboxRow) -> SendResult:
        """Call the sender. What it raises in spite of its promise leaves the fate of the message open."""
        try:
            async with asyncio.timeout(self._send_timeout + _GRACE):
                return await self._sender.send(slot, row.chat, row.content, row.secret, self._send_timeout)
        except NotOnline as error:
            return SendResult(SendOutcome.NOT_SENT, error=str(error))
        except TimeoutError:
            return SendResult(SendOutcome.UNKNOWN, error="the device host did not answer")
        except Exception as error:  # noqa: BLE001 - it may have been sent before it failed
            _log.exception("sender_failed", outbox_id=row.id)
            return SendResult(SendOutcome.UNKNOWN, error=type(error).__name__)

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

    def _learn(self, move: Move, wakes: int) -> None:
        """After a send that could not leave, wait; unless somebody came online while it tried."""
        if move.after.state is OutboxState.UNKNOWN:
            self._held_until = self._clock.monotonic() + self._hold
        if move.after.state is not OutboxState.QUEUED:
            self._failures = 0
        elif wakes == self._wakes:
            self._failures += 1
            self._not_before = self._clock.monotonic() + self._jitter(self._failures)

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
        tasks = list(self._under_way.values())
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=_LAST_SECOND)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
