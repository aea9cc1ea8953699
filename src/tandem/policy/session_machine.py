"""The session machine: what one slot does about everything that can happen to it.

Pure: ``decide(session, input, now, chance, limits)`` returns the session as it is afterwards, the effects to carry out
and one sentence that says what was decided and why. Invariants, held for every input in every state:

* every state that is not at rest has a deadline, and its passing leads somewhere;
* a terminal state starts no host; only ``Restart`` or ``Pair`` (operators) or a ban's end leaves it;
* a host is started only in CONNECTING and PAIRING, and one at a time: starting follows the end of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto

from tandem.model import signals
from tandem.model.states import SessionState as S
from tandem.policy.backoff import full_jitter
from tandem.policy.intensity import Window


@dataclass(frozen=True, slots=True)
class Limits:
    """Durations in seconds; see SessionSettings for the meaning of each. ``lease_held``: the keys are provably ours."""

    connect_timeout: float = 30.0
    first_login_timeout: float = 10.0
    sync_timeout: float = 30.0
    library_retry: float = 3.0
    degraded_timeout: float = 15.0
    unwell_grace: float = 2.0
    pairing_window: float = 150.0
    backoff_first: float = 1.0
    backoff_max: float = 60.0
    stable_after: float = 60.0
    restart_intensity: int = 20
    restart_period: float = 300.0
    conflict_wait: float = 5.0
    conflict_takebacks: int = 3
    conflict_period: float = 300.0
    unknown_ban: float = 3600.0
    lease_held: bool = True


@dataclass(frozen=True, slots=True)
class Session:
    """A slot's session. Times are monotonic seconds; ``deadline`` 0 means that the state is at rest."""

    state: S = S.STOPPED
    reason: str = ""
    since: float = 0.0
    deadline: float = 0.0
    paired: bool = False
    syncing: bool = False
    unwell: bool = False
    failures: int = 0
    restarts: Window = field(default_factory=Window)
    conflicts: Window = field(default_factory=Window)


class Effect(Enum):
    """What the actor has to do, in order."""

    START_HOST = auto()
    START_PAIRING = auto()
    STOP_HOST = auto()  # disconnect, never log out
    KILL_HOST = auto()
    QUARANTINE_KEYS = auto()


@dataclass(frozen=True, slots=True)
class Start:
    """Boot, or the actor's own restart: bring the session up if it is linked and not in a terminal state."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An operator wants to link this slot."""


@dataclass(frozen=True, slots=True)
class Restart:
    """An operator wants the host started afresh; also the way out of a terminal state whose keys are still good."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The state's deadline has passed."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The host did not come up, or its key store cannot be used."""

    reason: str


@dataclass(frozen=True, slots=True)
class SendUnanswered:
    """A send got no answer from the server in time."""


@dataclass(frozen=True, slots=True)
class Unwell:
    """The session is connected and bad, as its vitals have it; told only while the partner is online.

    The role moves first, sends under way have ``unwell_grace`` to finish, then the host is started afresh.
    """

    reason: str


Input = signals.Signal | SendUnanswered | Unwell | Start | Pair | Restart | Expired | StartFailed


@dataclass(frozen=True, slots=True)
class Decision:
    session: Session
    effects: tuple[Effect, ...] = ()
    sentence: str = ""


def decide(  # noqa: PLR0911 - the table of tables
    session: Session, event: Input, now: float, chance: float, limits: Limits
) -> Decision:
    """Return what becomes of the session; ``chance`` in [0, 1) is drawn by the caller for jitter."""
    match event:
        case Start() | Pair() | Restart():
            return _command(session, event, now, limits)
        case Expired():
            return _expired(session, now, chance, limits)
        case _ if session.state is S.STOPPED or session.state.terminal or session.state is S.CONFLICT:
            return Decision(session)  # news of a host that is being ended
        case signals.HostEnded(code=code, reason=reason):
            crashed = code < 0 or session.state.connected
            return _host_lost(session, reason, now, chance, limits, crashed=crashed)
        case StartFailed(reason=reason):
            return _host_lost(session, reason, now, chance, limits, crashed=False)
        case _ if session.state is S.PAIRING:
            return _pairing(session, event, now, limits)
        case _:
            return _verdict(session, event, now, chance, limits) or _link(session, event, now, chance, limits)


def _command(session: Session, command: Input, now: float, limits: Limits) -> Decision:
    match command:
        case Pair():
            return _start_pairing(session, now, limits)
        case Start() if session.state.terminal:
            return Decision(session, (), f"not started: {session.reason}")
        case Start() if not session.paired:
            return Decision(_moved(session, S.UNPAIRED, "not linked yet", now), (), "not linked yet: scan its QR")
        case Restart() if not session.paired:
            return Decision(session, (), "cannot be restarted: it is not linked, scan its QR instead")
    fresh = replace(session, failures=0, restarts=Window(), conflicts=Window())
    effects = (Effect.START_HOST,) if isinstance(command, Start) else (Effect.STOP_HOST, Effect.START_HOST)
    return Decision(_connecting(fresh, "starting", now, limits), effects, "starting")


def _start_pairing(session: Session, now: float, limits: Limits) -> Decision:
    if session.paired:
        return Decision(session, (), "not pairing: the slot is linked already")
    moved = _moved(session, S.PAIRING, "waiting for a scan", now, limits.pairing_window)
    return Decision(moved, (Effect.KILL_HOST, Effect.START_PAIRING), "pairing: waiting for the phone to scan")


def _expired(session: Session, now: float, chance: float, limits: Limits) -> Decision:
    match session.state:
        case S.PAIRING:
            return _unpaired(session, "nobody scanned the QR in time", now)
        case S.WAITING | S.CONFLICT | S.BANNED:
            text = {S.WAITING: "trying again", S.CONFLICT: "taking the keys back", S.BANNED: "the ban has ended"}
            sentence = text[session.state]
            return Decision(_connecting(session, sentence, now, limits), (Effect.START_HOST,), sentence)
        case S.SYNCING:
            reason = "offline messages announced but not completed in time"
        case S.CONNECTING:
            reason = f"not online within {now - session.since:.0f} s"
        case S.RECONNECTING:
            reason = f"the library's own retry did not succeed within {limits.library_retry:g} s"
        case S.DEGRADED:
            reason = session.reason if session.unwell else "pings stay unanswered"
        case _:
            return Decision(session)
    return _recycle(session, reason, now, chance, limits)


def _pairing(session: Session, signal: Input, now: float, limits: Limits) -> Decision:
    match signal:
        case signals.PairSucceeded():
            paired = replace(session, paired=True, failures=0)
            moved = _moved(paired, S.CONNECTING, "linked", now, limits.first_login_timeout)
            return Decision(moved, (), "linked: logging in for the first time")
        case (
            signals.PairFailed(reason=reason) | signals.LoggedOut(reason=reason) | signals.ConnectFailed(reason=reason)
        ):
            return _unpaired(session, f"pairing failed: {reason}", now)
        case signals.Outdated():
            return _unpaired(session, "pairing failed: WhatsApp refuses this release of the library", now)
        case signals.Banned():
            return _unpaired(session, "pairing failed: the number is banned for a while", now)
    return Decision(session)


def _unpaired(session: Session, reason: str, now: float) -> Decision:
    return Decision(_moved(session, S.UNPAIRED, reason, now), (Effect.KILL_HOST,), reason)


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
            return Decision(moved, (Effect.STOP_HOST,), "this release of the library is outdated: upgrade Tandem")
        case signals.Replaced():
            return _replaced(session, now, chance, limits)
        case signals.ConnectFailed(reason=reason):
            return _recycle(session, f"login refused: {reason}", now, chance, limits)
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


def _link(  # noqa: C901, PLR0911 - a table, one row a return
    session: Session, signal: Input, now: float, chance: float, limits: Limits
) -> Decision:
    """The condition of the connection."""
    match signal:
        case signals.SyncPreviewed() if session.state not in {S.ONLINE, S.DEGRADED}:
            return Decision(replace(session, syncing=True))
        case signals.SyncCompleted() if session.state is S.SYNCING:
            return _online(replace(session, syncing=False), now)
        case signals.SyncCompleted():
            return Decision(replace(session, syncing=False))
        case signals.Connected() if session.syncing:
            reason = "receiving what arrived while offline"
            return Decision(_moved(session, S.SYNCING, reason, now, limits.sync_timeout), (), reason)
        case signals.Connected() if session.state is not S.ONLINE:
            return _online(session, now)
        case Unwell(reason=reason) if session.state.connected and not session.unwell:
            unwell = _moved(_settled(session, now, limits), S.DEGRADED, reason, now, limits.unwell_grace)
            return Decision(replace(unwell, unwell=True), (), reason)
        case signals.KeepAliveRestored() | signals.PingTimed() if session.state is S.DEGRADED and not session.unwell:
            return _online(session, now)
        case signals.KeepAliveTimeout(errors=errors) if session.state.connected:
            return _ping_missed(session, errors, now, chance, limits)
        case SendUnanswered() if session.state is S.ONLINE:
            return _degraded(session, "a send went unanswered", now, limits)
        case signals.Disconnected() if session.state in {S.ONLINE, S.DEGRADED, S.SYNCING}:
            lost = _moved(_settled(session, now, limits), S.RECONNECTING, "connection lost", now, limits.library_retry)
            return Decision(lost, (), "connection lost: the library tries again by itself")
    return Decision(session)


def _ping_missed(session: Session, errors: int, now: float, chance: float, limits: Limits) -> Decision:
    if errors > 1:
        return _recycle(session, f"{errors} pings in a row went unanswered", now, chance, limits)
    return _degraded(session, "a ping went unanswered", now, limits)


def _degraded(session: Session, reason: str, now: float, limits: Limits) -> Decision:
    moved = _moved(_settled(session, now, limits), S.DEGRADED, reason, now, limits.degraded_timeout)
    return Decision(moved, (), reason)


def _online(session: Session, now: float) -> Decision:
    return Decision(_moved(session, S.ONLINE, "", now), (), "online")


def _recycle(session: Session, reason: str, now: float, chance: float, limits: Limits) -> Decision:
    """End the host and start another: what the library does not manage by itself is a new process."""
    lost = _host_lost(session, reason, now, chance, limits, crashed=False)
    return replace(lost, effects=(Effect.KILL_HOST, *lost.effects))


def _host_lost(session: Session, reason: str, now: float, chance: float, limits: Limits, *, crashed: bool) -> Decision:
    """Start again: at once if the session was fine until its host died, with backoff if it could not be reached.

    Crashes count towards the restart intensity; an outage, however long, never parks a slot.
    """
    if session.state in {S.UNPAIRED, S.WAITING}:
        return Decision(session)
    if session.state is S.PAIRING:
        return _unpaired(session, f"pairing failed: {reason}", now)
    settled = _settled(session, now, limits)
    restarts = settled.restarts.add(now, limits.restart_period) if crashed else settled.restarts
    if restarts.count > limits.restart_intensity:
        sentence = f"parked: {restarts.count} crashes within {limits.restart_period:g} s, at last because: {reason}"
        return Decision(replace(_moved(settled, S.PARKED, reason, now), restarts=restarts), (), sentence)
    failures = settled.failures + (not session.state.connected)
    wait = full_jitter(failures, chance, limits.backoff_first, limits.backoff_max) if failures else 0.0
    waiting = _moved(settled, S.WAITING, reason, now)
    waiting = replace(waiting, restarts=restarts, failures=failures, deadline=now + wait)
    return Decision(waiting, (), f"{reason}; starting again in {wait:.1f} s")


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
    )
