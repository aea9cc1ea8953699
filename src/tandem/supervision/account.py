"""An account: the pair of its two sessions, and which of them is active."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from math import inf

from tandem.clock import Clock
from tandem.errors import Conflict, NotOnline
from tandem.model.account import Account
from tandem.model.cluster import Fitness, SlotStanding
from tandem.model.cluster_view import LeaseView
from tandem.model.event import EventType, Publish
from tandem.model.ids import ChatId, Number
from tandem.model.outbox import Content, SendOutcome, SendResult
from tandem.model.phone import Presence
from tandem.model.states import AccountStatus, Role, SessionState, Slot
from tandem.model.views import AccountView, PairingView, PairMethod, SendingView, SlotView
from tandem.policy import failover
from tandem.policy import session_machine as machine
from tandem.policy.next_step import next_step
from tandem.supervision.hearing import Hearing
from tandem.supervision.pairing import Pairing
from tandem.supervision.session import Session

_DWELL = 5.0
_LOGOUT_DEADLINE = 5.0


class Pair:
    """Moves the active role, sends through whoever has it, and answers for the account as a whole."""

    def __init__(
        self,
        account: Account,
        clock: Clock,
        publish: Publish,
        suspect_after: float,
        here: Collection[Slot] = tuple(Slot),
    ) -> None:
        """``suspect_after``: seconds without the server's answer to a send that make a slot suspect.

        ``here``: the slots that this instance runs.
        """
        self.account = account
        self.active = next(iter(here))
        self._here = here
        self.sessions: dict[Slot, Session] = {}
        self.pairings: dict[Slot, Pairing] = {}
        self._clock = clock
        self._publish = publish
        self._suspect_after = suspect_after
        self.wake: Callable[[], None] = _nobody
        """Called whenever a slot has come online or the role has moved: the dispatcher's. It must not block."""
        self.watch: Callable[[Pair], None] = lambda _pair: None
        """Called after every move of a session. It must not block."""
        self.sending: Callable[[], SendingView] = SendingView
        """At what pace the account sends: the dispatcher's."""
        self.phone: Callable[[], Presence | None] = lambda: None
        """When the number's own phone was last seen."""
        self.may_send_until: Callable[[], float] = lambda: inf
        """The end of this instance's right to send, in monotonic seconds; long past if it has none."""
        self.lease: Callable[[], LeaseView | None] = lambda: None
        """Who runs the account, where there are several instances."""
        self.elsewhere: Callable[[Slot], tuple[str, SlotStanding] | None] = lambda _slot: None
        """A slot that another instance runs and not this one: that instance's name, and how the slot stands there."""
        self._switched_at = float("-inf")
        self._lost_at: float | None = None
        self._looking_again: asyncio.TimerHandle | None = None
        self._abandoned: set[Slot] = set()

    def adopt(self, primary: Session, backup: Session, behind: Callable[[Slot], bool]) -> None:
        """``behind`` says whether a slot has received what was not looked at yet."""
        self.sessions = {Slot.PRIMARY: primary, Slot.BACKUP: backup}
        backup.hears_receipts = lambda: not primary.paired or primary.state.terminal  # nobody else would
        for slot, session in self.sessions.items():
            session.vitals.condemn = partial(self._condemn, slot)
        vitals = {slot: session.vitals for slot, session in self.sessions.items()}
        self.hearing = Hearing(vitals, behind, self._clock)
        if backup.paired and not primary.paired:
            self.active = Slot.BACKUP

    @property
    def can_send(self) -> bool:
        return any(session.state.connected for session in self.sessions.values())

    @property
    def fitness(self) -> Fitness:
        """How well this instance could run the account."""
        if any(session.state is SessionState.ONLINE for session in self.sessions.values()):
            return Fitness.ONLINE
        return Fitness.LINKED if any(session.paired for session in self.sessions.values()) else Fitness.UNLINKED

    @property
    def standings(self) -> dict[Slot, SlotStanding]:
        """How the slots stand that run here."""
        views = [self._slot_view(slot) for slot in self._here]
        return {view.slot: SlotStanding(view.state, view.reason, view.device, view.since) for view in views}

    def changed(self, session: Session, before: machine.Session) -> None:
        """React to a session's move: the role first, then everybody who waits for somebody to be online."""
        self.hearing.listen(session.slot, listening=session.state.connected)
        if session.slot is self.active and before.state.connected and not session.state.connected:
            self._lost_at = self._clock.monotonic()
        self._look()
        self._hurry(session, before)
        self._share_ban(session)
        if session.state is SessionState.ONLINE:
            self._announce_ready(session)
            self.wake()
        self.watch(self)

    def _look(self) -> None:
        """Let policy say who is active; look again when the dwell that keeps a shaky slot active is over."""
        verdict = failover.choose(self._standing(), self._clock.monotonic(), _DWELL)
        if self._looking_again is not None:
            self._looking_again.cancel()
            self._looking_again = None
        if verdict.moved:
            self._move(verdict)
        elif verdict.look_again:
            self._looking_again = asyncio.get_running_loop().call_later(verdict.look_again, self._look)

    def _hurry(self, session: Session, before: machine.Session) -> None:
        """When a slot that could send gets worse and nobody is well, nobody waits longer than must be.

        Only then: two slots that fail to log in must not drive each other on. And a shaky active goes on while the
        standby is made anew.
        """
        if session.due and session.slot is not self.active:
            return
        if before.state.connected and failover.fitness(session.state) < failover.fitness(before.state):
            for slot in failover.to_hurry(self._standing()):
                self.sessions[slot].tell(machine.Hurry())

    def _share_ban(self, session: Session) -> None:
        if session.banned_for:
            self.sessions[session.slot.partner].tell(machine.NumberBanned(session.banned_for))

    async def send(self, slot: Slot, chat: ChatId, content: Content, secret: bytes, timeout: float) -> SendResult:
        """Send through a slot. Raises NotOnline when it cannot send.

        An answer that is overdue degrades the slot, so that the role moves, while this call goes on waiting for it.
        """
        session = self.sessions[slot]
        generation, began = session.generation, self._clock.monotonic()
        until = self.may_send_until()
        if began >= until:
            raise NotOnline("another instance runs this account")
        call = asyncio.create_task(session.device.send(chat, content, secret, timeout, until))
        over = False
        try:
            done, _ = await asyncio.wait({call}, timeout=self._suspect_after)
            if not done and session.generation == generation:
                session.tell(machine.SendUnanswered())
            result = await call
            over = True
            if result.outcome is SendOutcome.ACCEPTED and session.generation == generation:
                session.sent((self._clock.monotonic() - began) * 1000)
            return result
        finally:
            call.cancel()
            if not over:
                self._abandoned.add(slot)

    @property
    def number(self) -> Number:
        return self.account.number

    def both_online(self) -> bool:
        return all(session.state is SessionState.ONLINE for session in self.sessions.values())

    def deaf(self, slot: Slot, reason: str) -> None:
        """A slot does not hear what its partner sends."""
        self.sessions[slot].vitals.deaf(reason)

    @property
    def banned_until(self) -> float:
        """When a ban of the number ends, in Unix seconds; 0 if there is none. It concerns both slots."""
        lasts = max(session.banned_for for session in self.sessions.values())
        return self._clock.now() + lasts if lasts else 0.0

    def host_started_at(self, slot: Slot) -> float | None:
        """When the slot's running host was started, in Unix seconds; None if there is none."""
        return self.sessions[slot].host_started_at

    def online_since(self, slot: Slot) -> float | None:
        """Since when the slot is online and caught up, in Unix seconds; None if it is not."""
        session = self.sessions[slot]
        return session.since if session.state is SessionState.ONLINE else None

    def linked_since(self, slot: Slot) -> float:
        """Since when a slot is linked, in Unix seconds; 0 if it was before anybody noted it, infinity if it is not."""
        session = self.sessions[slot]
        return session.linked_since if session.paired else inf

    def end_calls(self) -> None:
        """End the hosts of calls that nobody waits for any more, so that nothing is sent by them later."""
        abandoned, self._abandoned = self._abandoned, set()
        for slot in abandoned:
            self.recycle(slot)

    def recycle(self, slot: Slot) -> None:
        """End the slot's running host and start another. Without one it does nothing: no ban or wait ends by it."""
        self.sessions[slot].tell(machine.Recycle("what it was doing is not certain"))

    def switch(self) -> None:
        """Move the role because an operator asked. Raises Conflict, with the reason, if the standby cannot take it."""
        verdict = failover.manual(self._standing())
        if not verdict.moved:
            raise Conflict(verdict.reason)
        self._move(verdict)

    def pair(self, slot: Slot, method: PairMethod) -> tuple[PairingView, bool]:
        """Start linking a slot, or return the pairing under way and False. Raises Conflict if it is linked, TooSoon."""
        return self.pairings[slot].begin(method)

    def cannot_pair(self, slot: Slot) -> str:
        """Return why a slot cannot be linked now, empty if it can."""
        if slot not in self._here:
            return f"the {slot} does not run on this instance (TANDEM_CLUSTER__SLOTS): link it on the one that runs it"
        if self.sessions[slot].device_jid:
            return f"the {slot} is linked already: unlink it on the phone, or remove the account, first"
        if banned := max(session.banned_for for session in self.sessions.values()):
            return f"the number is banned by WhatsApp for another {banned / 60:.0f} min: nothing can be linked before"
        return ""

    def pair_by_itself(self, slot: Slot) -> None:
        """Start linking a slot by QR because the account is new; nobody asked for it in so many words."""
        self.pairings[slot].begin(PairMethod.QR, by_itself=True)

    def cancel_pairing(self, slot: Slot) -> bool:
        """Return whether there was one."""
        return self.pairings[slot].cancel()

    def linked(self, slot: Slot, device: str, method: PairMethod) -> None:
        """Let the session take the slot over, and offer the other slot while the phone is still at hand."""
        self.sessions[slot].link(device)
        other = slot.partner
        if method is PairMethod.QR and not self.cannot_pair(other):
            why = f"; it started by itself, since the {slot} has just been linked"
            self.pairings[other].begin(method, by_itself=True, why=why)

    def restart(self, slot: Slot) -> None:
        """Start a slot's host afresh, out of a parked or conflicting state too. Raises Conflict if it is not linked."""
        session = self.sessions[slot]
        if slot not in self._here:
            raise Conflict(f"the {slot} does not run on this instance: restart it on the one that runs it")
        if not session.paired:
            raise Conflict(f"the {slot} is not linked: pair it instead")
        session.tell(machine.Restart())

    async def logout(self) -> None:
        await asyncio.gather(*(session.logout(_LOGOUT_DEADLINE) for session in self.sessions.values()))

    @property
    def status(self) -> AccountStatus:
        """Of the account, wherever its slots run."""
        states = [session.state for session in self.sessions.values() if session.slot in self._here]
        others = [self.elsewhere(slot) for slot in Slot if slot not in self._here]
        states += [other[1].state if other else SessionState.UNPAIRED for other in others]
        if all(state is SessionState.ONLINE for state in states):
            return AccountStatus.ONLINE
        if any(state.connected for state in states):
            return AccountStatus.DEGRADED
        paired = any(session.paired for session in self.sessions.values())
        terminal = any(state.terminal for state in states)
        return AccountStatus.OFFLINE if paired or terminal else AccountStatus.UNPAIRED

    def view(self) -> AccountView:
        slots = (self._slot_view(Slot.PRIMARY), self._slot_view(Slot.BACKUP))
        return AccountView(self.account, self.status, slots, self.sending(), self.phone(), self.lease())

    def _condemn(self, slot: Slot, reason: str) -> bool:
        """Start a bad session afresh while the other one carries the account: the role moves first."""
        session = self.sessions[slot]
        if not session.state.connected or self.sessions[slot.partner].state is not SessionState.ONLINE:
            return False
        sentence = f"the {slot} is started afresh: {reason}"
        session.publish(EventType.PROACTIVE_RECONNECT, sentence, reason, deaf=session.vitals.quality.is_deaf)
        session.tell(machine.Unwell(reason))
        return True

    def _standing(self) -> failover.Pair:
        return failover.Pair(
            self.active,
            self._switched_at,
            {slot: session.state for slot, session in self.sessions.items()},
            {slot: session.reason for slot, session in self.sessions.items()},
        )

    def _move(self, verdict: failover.Verdict) -> None:
        now = self._clock.monotonic()
        gap = 0.0 if self._lost_at is None else now - self._lost_at
        self.active, self._switched_at, self._lost_at = verdict.active, now, None
        name = EventType.SWITCHED_TO_BACKUP if self.active is Slot.BACKUP else EventType.SWITCHED_TO_PRIMARY
        self._publish(
            name,
            f"switched to {self.active}: {verdict.reason}",
            account=self.account.id,
            slot=self.active,
            generation=self.sessions[self.active].generation,
            reason=verdict.reason,
            cause=verdict.cause,
            role_gap_ms=round(gap * 1000, 3),
        )
        self.wake()

    def _announce_ready(self, session: Session) -> None:
        if session.slot is self.active:
            return
        self._publish(
            EventType.BACKUP_CONNECTION_READY,
            "Backup connection ready",
            account=self.account.id,
            slot=session.slot,
            generation=session.generation,
        )

    def _slot_view(self, slot: Slot) -> SlotView:
        if slot not in self._here:
            return self._view_elsewhere(slot)
        session, pairing = self.sessions[slot], self.pairings[slot]
        sends = slot is self.active and self._clock.monotonic() < self.may_send_until()
        role = Role.ACTIVE if sends else Role.STANDBY
        state, reason, step = session.state, session.reason, next_step(session.state)
        if pairing.view is not None:
            state, reason, step = SessionState.PAIRING, "waiting for the phone", next_step(SessionState.PAIRING)
        elif session.device_jid and not session.paired:  # linked a moment ago, and the session does not know it yet
            state, reason = SessionState.CONNECTING, "linked"
        elif pairing.failure is not None and not session.paired:
            state, reason, step = SessionState.UNPAIRED, pairing.failure.words, pairing.failure.next_step
        return SlotView(
            slot=slot,
            device=session.device_jid,
            role=role if session.paired else Role.NONE,
            state=state,
            reason=reason,
            next_step=step,
            banned_until=self._clock.now() + session.banned_for if session.banned_for else 0.0,
            logins=session.logins,
            since=session.since,
            generation=session.generation,
            quality=session.vitals.quality.score if session.state.connected else None,
            quality_detail=session.vitals.quality.detail if session.state.connected else "",
            ping_ms=session.vitals.ping_ms,
            restarts=max(0, session.starts - 1),
            pairing=pairing.view,
            keep_alive=session.vitals.keep_alive,
        )

    def _view_elsewhere(self, slot: Slot) -> SlotView:
        """A slot of another instance, as that one tells of it."""
        name, stands = self.elsewhere(slot) or ("", SlotStanding(SessionState.UNPAIRED, "no instance tells of it"))
        paired = bool(stands.device)
        return SlotView(
            slot=slot, device=stands.device, role=Role.STANDBY if paired else Role.NONE, state=stands.state,
            reason=stands.reason, since=stands.since, generation=0, quality=None, ping_ms=None, restarts=0,
            pairing=None, next_step=next_step(stands.state), instance=name,
        )  # fmt: skip


def _nobody() -> None:
    """Nobody waits yet."""
