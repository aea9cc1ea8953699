"""The session machine: what one slot does about everything that can happen to it.

Pure: ``decide(session, input, now, chance, limits, admission)`` returns the session as it is afterwards, the effects
to carry out and one sentence that says what was decided and why. Invariants, held for every input in every state:

* every state that is not at rest has a deadline, and its passing leads somewhere;
* a terminal state starts no host; only ``Restart`` (an operator), ``Linked`` (a pairing) or a ban's end leaves it;
* a host is started only in CONNECTING, and one at a time: starting follows the end of the one before;
* a login that the fleet does not admit now becomes WAITING with the reason and a deadline.
"""

from __future__ import annotations

from dataclasses import replace

from tandem.model import signals
from tandem.model.states import SessionState as S
from tandem.policy.backoff import full_jitter
from tandem.policy.fleet import FREE, Admission, Cause
from tandem.policy.session_values import (
    ActorFailed,
    Command,
    Decision,
    Effect,
    Expired,
    Hurry,
    Input,
    Limits,
    Linked,
    NumberBanned,
    Recycle,
    Released,
    Removed,
    Restart,
    SendUnanswered,
    Session,
    Start,
    StartFailed,
    Unwell,
)

__all__ = [
    "ActorFailed",
    "Command",
    "Decision",
    "Effect",
    "Expired",
    "Hurry",
    "Input",
    "Limits",
    "Linked",
    "NumberBanned",
    "Recycle",
    "Released",
    "Removed",
    "Restart",
    "SendUnanswered",
    "Session",
    "Start",
    "StartFailed",
    "Unwell",
    "decide",
    "wants_login",
]

_HOSTED = frozenset({S.CONNECTING, S.SYNCING, S.ONLINE, S.DEGRADED, S.RECONNECTING})
"""The states with a host. In any other, what a host says is of the past."""


def decide(  # noqa: C901, PLR0911 - the table of tables
    session: Session, event: Input, now: float, chance: float, limits: Limits, *, admission: Admission = FREE
) -> Decision:
    """Return what becomes of the session; ``chance`` in [0, 1) is drawn by the caller for jitter.

    ``admission`` is the fleet's word on a login now; it need be asked for only if ``wants_login``.
    """
    match event:
        case Start() | Linked() | Restart():
            return _command(session, event, now, limits, admission)
        case Expired():
            return _expired(session, now, chance, limits, admission)
        case Hurry():
            return _hurry(session, now, chance, limits)
        case NumberBanned(seconds=seconds):
            return _number_banned(session, seconds, now)
        case Released():
            return _released(session, now, limits, admission)
        case Removed():
            return _removed(session, now)
        case _ if session.state not in _HOSTED:
            return Decision(session)
        case signals.HostEnded(code=code, reason=reason, unreachable=unreachable):
            crashed = code < 0 or session.state.connected
            cause = Cause.NETWORK if unreachable else None
            return _host_lost(session, reason, now, chance, limits, crashed=crashed, cause=cause)
        case StartFailed(reason=reason):
            return _host_lost(session, reason, now, chance, limits, crashed=False)
        case Recycle(reason=reason):
            return _recycle(session, reason, now, chance, limits)
        case ActorFailed():
            return _host_lost(session, "a defect in Tandem ended its task", now, chance, limits, crashed=True)
        case _:
            return _verdict(session, event, now, chance, limits) or _link(session, event, now, chance, limits)


def wants_login(session: Session, event: Input) -> bool:
    """Whether ``decide`` may answer with a login that the fleet has to admit."""
    match event:
        case Start():
            return session.paired and session.state is S.STOPPED
        case Expired():
            return session.state in {S.WAITING, S.CONFLICT, S.BANNED}
        case Released():
            return session.state is S.WAITING and session.held
    return False


def _command(  # noqa: PLR0911 - a table, one row a return
    session: Session, command: Input, now: float, limits: Limits, admission: Admission
) -> Decision:
    match command:
        case Linked():
            sentence = "linked: logging in"
            fresh = Session(paired=True, state=session.state, reason=session.reason, since=session.since)
            connecting = _connecting(fresh, sentence, now, limits)
            return Decision(connecting, (Effect.STOP_HOST, Effect.START_HOST), sentence)
        case Start() if session.state.terminal:
            return Decision(session, (), f"not started: {session.reason}")
        case Start() if session.state is not S.STOPPED:
            return Decision(session)
        case Start() if not session.paired:
            return Decision(_moved(session, S.UNPAIRED, "not linked yet", now), (), "not linked yet: scan its QR")
        case Start():
            return _log_in(session, "starting", now, limits, admission)
        case Restart() if not session.paired:
            return Decision(session, (), "cannot be restarted: it is not linked, scan its QR instead")
    clean = Session(paired=True, state=session.state, reason=session.reason, since=session.since)
    connecting = _connecting(clean, "restarted by an operator", now, limits)
    return Decision(connecting, (Effect.STOP_HOST, Effect.START_HOST), "starting afresh: an operator asked for it")


def _log_in(session: Session, sentence: str, now: float, limits: Limits, admission: Admission) -> Decision:
    """Start a host, or wait until the fleet admits it. Only from states without a host."""
    if admission.wait <= 0:
        return Decision(_connecting(session, sentence, now, limits), (Effect.START_HOST,), sentence)
    since = session.since if session.state is S.WAITING else now
    waiting = _moved(session, S.WAITING, admission.reason, since)
    waiting = replace(waiting, deadline=now + admission.wait, held=admission.held)
    return Decision(waiting, (), f"{sentence}, but not yet: {admission.reason}")


def _released(session: Session, now: float, limits: Limits, admission: Admission) -> Decision:
    if session.state is S.WAITING and session.held:
        return _log_in(session, "trying again", now, limits, admission)
    return Decision(session)


def _expired(session: Session, now: float, chance: float, limits: Limits, admission: Admission) -> Decision:
    match session.state:
        case S.WAITING | S.CONFLICT | S.BANNED:
            text = {S.WAITING: "trying again", S.CONFLICT: "taking the keys back", S.BANNED: "the ban has ended"}
            return _log_in(session, text[session.state], now, limits, admission)
        case S.SYNCING if not session.syncing:
            return _online(session, now, "online: no offline messages were announced")
        case S.SYNCING:
            reason = "offline messages announced but not completed in time"
            return _recycle(session, reason, now, chance, limits)
        case S.CONNECTING:
            reason = f"not online within {now - session.since:.0f} s"
        case S.RECONNECTING:
            reason = f"the library's own retry did not succeed within {now - session.since:.1f} s"
        case S.DEGRADED if session.stalled:
            reason = f"{session.reason} and nothing since"
        case S.DEGRADED:
            return _recycle(session, session.reason, now, chance, limits)
        case _:
            return Decision(session)
    return _recycle(session, reason, now, chance, limits, cause=Cause.NETWORK)


def _hurry(session: Session, now: float, chance: float, limits: Limits) -> Decision:
    """Nobody of the pair is well: cut short what may be. A hold, a ban, the number of take-backs stay as they are."""
    match session.state:
        case S.WAITING if not session.held:
            return Decision(replace(session, deadline=min(session.deadline, now)), (), "not waiting any longer")
        case S.CONFLICT:
            soon = max(now, session.since + limits.hurried_wait)
            return Decision(replace(session, deadline=min(session.deadline, soon)), (), "not waiting any longer")
        case S.DEGRADED if session.stalled:
            hurries = session.hurries.add(now, limits.conflict_period)
            if hurries.count <= limits.hurries:
                hurried = replace(session, hurries=hurries)
                return _recycle(hurried, f"{session.reason} and the partner is not well", now, chance, limits)
    return Decision(session)


def _removed(session: Session, now: float) -> Decision:
    if not session.paired:
        return Decision(session)
    gone = replace(_moved(session, S.LOGGED_OUT, "the account was removed", now), paired=False)
    return Decision(gone, (Effect.KILL_HOST, Effect.QUARANTINE_KEYS), "logged out: the account was removed")


def _number_banned(session: Session, seconds: float, now: float) -> Decision:
    """A ban is of the number, not of one device: this slot neither logs in nor sends before its end."""
    keeps = session.state.terminal and (session.state is not S.BANNED or session.deadline >= now + seconds)
    if not session.paired or keeps:
        return Decision(session)
    if session.state is S.BANNED:
        return Decision(replace(session, deadline=now + seconds))
    banned = _moved(session, S.BANNED, "the number is banned by WhatsApp", now, seconds)
    return Decision(banned, (Effect.STOP_HOST,), f"the number is banned for {seconds:.0f} s: no login before its end")


def _verdict(session: Session, signal: Input, now: float, chance: float, limits: Limits) -> Decision | None:
    """What the server says about the device itself."""
    match signal:
        case signals.LoggedOut(reason=reason):
            gone = replace(_moved(session, S.LOGGED_OUT, reason, now), paired=False)
            return Decision(gone, (Effect.KILL_HOST, Effect.QUARANTINE_KEYS), f"logged out: {reason}; link it again")
        case signals.Banned(code=code, seconds=seconds):
            lasts = seconds or limits.unknown_ban
            moved = _moved(session, S.BANNED, f"banned by WhatsApp (code {code})", now, lasts)
            return Decision(
                moved, (Effect.STOP_HOST,), f"banned by WhatsApp for {lasts:.0f} s: no login before its end"
            )
        case signals.Outdated():
            moved = _moved(session, S.OUTDATED, "WhatsApp refuses this release of the library", now)
            sentence = "this release of the library is outdated: upgrade Tandem"
            return Decision(moved, (Effect.STOP_HOST,), sentence, Cause.OUTDATED)
        case signals.Replaced():
            return _replaced(session, now, chance, limits)
        case signals.ConnectFailed(reason=reason):
            return _recycle(session, f"login refused: {reason}", now, chance, limits, cause=Cause.REFUSED)
    return None


def _replaced(session: Session, now: float, chance: float, limits: Limits) -> Decision:
    reason = "somebody else connected with this device's keys"
    conflicts = session.conflicts.add(now, limits.conflict_period)
    if not limits.lease_held or conflicts.count > limits.conflict_takebacks:
        sentence = f"parked: {reason}, {conflicts.count} times within {limits.conflict_period:g} s"
        return Decision(_moved(session, S.PARKED, f"conflict: {reason}", now), (Effect.STOP_HOST,), sentence)
    wait = limits.conflict_wait * (1 + chance)
    moved = replace(_moved(session, S.CONFLICT, reason, now, wait), conflicts=conflicts)
    return Decision(moved, (Effect.STOP_HOST,), f"conflict: {reason}; taking them back in {wait:.1f} s")


def _link(  # noqa: PLR0911 - a table, one row a return
    session: Session, signal: Input, now: float, chance: float, limits: Limits
) -> Decision:
    """The condition of the connection."""
    match signal:
        case signals.SyncPreviewed() | signals.SyncCompleted() | signals.Connected() if session.state is not S.ONLINE:
            return _catching_up(session, signal, now, limits)
        case Unwell(reason=reason) if session.state.connected and not session.unwell:
            unwell = _moved(_settled(session, now, limits), S.DEGRADED, reason, now, limits.unwell_grace)
            return Decision(replace(unwell, unwell=True), (), reason)
        case signals.KeepAliveRestored() | signals.PingTimed() if session.state is S.DEGRADED and not session.unwell:
            return _online(session, now)
        case signals.KeepAliveTimeout(errors=errors) if session.state.connected:
            return _ping_missed(session, errors, now, chance, limits)
        case SendUnanswered() if session.state is S.ONLINE:
            return _stalled(session, "a send went unanswered", now, limits)
        case signals.Disconnected() if session.state in {S.ONLINE, S.DEGRADED, S.SYNCING}:
            lost = _moved(_settled(session, now, limits), S.RECONNECTING, "connection lost", now, limits.library_retry)
            return Decision(lost, (), "connection lost: the library tries again by itself")
        case signals.Disconnected():
            return Decision(replace(session, synced=False))
    return Decision(session)


def _catching_up(session: Session, signal: Input, now: float, limits: Limits) -> Decision:
    """Logged in is not online: what arrived meanwhile is announced, comes, and is said to be complete.

    The library tells of the login and of the announcement from two threads, in either order. So a login waits for
    word of the offline messages too, and goes on without only if there is none for ``sync_grace``.
    """
    match signal:
        case signals.SyncPreviewed():
            deadline = now + limits.sync_timeout if session.state is S.SYNCING else session.deadline
            return Decision(replace(session, syncing=True, synced=False, deadline=deadline))
        case signals.SyncCompleted() if session.state is not S.SYNCING:
            return Decision(replace(session, syncing=False, synced=True))
        case signals.Connected() if session.state is S.SYNCING:
            return Decision(session)
        case signals.Connected() if not session.synced:
            reason = "receiving what arrived while offline"
            lasts = limits.sync_timeout if session.syncing else limits.sync_grace
            return Decision(_moved(session, S.SYNCING, reason, now, lasts), (), reason)
    return _online(session, now)


def _ping_missed(session: Session, errors: int, now: float, chance: float, limits: Limits) -> Decision:
    if errors > 1:
        reason = f"{errors} pings in a row went unanswered"
        return _recycle(session, reason, now, chance, limits, cause=Cause.NETWORK)
    if session.stalled or session.unwell:
        return Decision(session)  # its deadline runs already
    return _stalled(session, "a ping went unanswered", now, limits)


def _stalled(session: Session, reason: str, now: float, limits: Limits) -> Decision:
    degraded = _degraded(session, reason, now, limits)
    return replace(degraded, session=replace(degraded.session, stalled=True))


def _degraded(session: Session, reason: str, now: float, limits: Limits) -> Decision:
    moved = _moved(_settled(session, now, limits), S.DEGRADED, reason, now, limits.degraded_timeout)
    return Decision(moved, (), reason)


def _online(session: Session, now: float, sentence: str = "online") -> Decision:
    return Decision(_moved(session, S.ONLINE, "", now), (), sentence)


def _recycle(
    session: Session, reason: str, now: float, chance: float, limits: Limits, *, cause: Cause | None = None
) -> Decision:
    """End the host and start another: what the library does not manage by itself is a new process."""
    lost = _host_lost(session, reason, now, chance, limits, crashed=False, cause=cause)
    return replace(lost, effects=(Effect.KILL_HOST, *lost.effects))


def _host_lost(
    session: Session,
    reason: str,
    now: float,
    chance: float,
    limits: Limits,
    *,
    crashed: bool,
    cause: Cause | None = None,
) -> Decision:
    """Start again: at once if the session was fine until its host died, with backoff if it could not be reached.

    Crashes count towards the restart intensity; an outage, however long, never parks a slot.
    """
    settled = _settled(session, now, limits)
    restarts = settled.restarts.add(now, limits.restart_period) if crashed else settled.restarts
    if restarts.count > limits.restart_intensity:
        sentence = f"parked: {restarts.count} crashes within {limits.restart_period:g} s, at last because: {reason}"
        return Decision(replace(_moved(settled, S.PARKED, reason, now), restarts=restarts), (), sentence)
    failures = settled.failures + (not session.state.connected)
    wait = full_jitter(failures, chance, limits.backoff_first, limits.backoff_max) if failures else 0.0
    waiting = _moved(settled, S.WAITING, reason, now)
    waiting = replace(waiting, restarts=restarts, failures=failures, deadline=now + wait)
    return Decision(waiting, (), f"{reason}; starting again in {wait:.1f} s", cause)


def _settled(session: Session, now: float, limits: Limits) -> Session:
    """After a stable time online, earlier failures count no more."""
    stable = session.state.connected and now - session.since >= limits.stable_after
    return replace(session, failures=0) if stable else session


def _connecting(session: Session, reason: str, now: float, limits: Limits) -> Session:
    return _moved(session, S.CONNECTING, reason, now, limits.connect_timeout)


def _moved(session: Session, state: S, reason: str, now: float, lasts: float = 0.0) -> Session:
    return replace(
        session,
        state=state,
        reason=reason,
        since=now,
        deadline=now + lasts if lasts else 0.0,
        unwell=False,
        syncing=session.syncing and state in {S.CONNECTING, S.SYNCING, S.RECONNECTING},
        synced=False,
        stalled=False,
        held=False,
    )
