"""The pairing machine: linking a device to one slot, from somebody's wish to the end of the window.

Pure. A window (10 min) is made of disposable processes: each shows the texts that WhatsApp gives it, and when they have
run out a fresh process shows fresh ones. However a process ends, the slot's key store is looked into, and it alone says
whether the slot is linked: news may be lost with a process, keys are not. Invariants, for every input in every phase:

* every phase but IDLE and CLOSING has a deadline, none beyond the window; CLOSING is left by the end of its process;
* a process is started only in STARTING, one at a time, and never for a slot whose key store holds a device;
* the 515 and the first login after it (CONFIRMING) are part of a pairing that succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto

from tandem.model import reason as steps
from tandem.model.reason import Reason
from tandem.model.views import PairMethod


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds. ``window``: all of a pairing. ``first_text``: from a process's start to its first text.

    ``grace``: how late the next text may be. ``confirm``: for the first login after the scan. ``restart_gap``: between
    two starts that people ask for. A process that showed a text for less than ``stable_after`` has failed; ``tries``
    failures in a row end the pairing, with pauses from ``pause_first`` to ``pause_max`` between them.
    """

    window: float = 600.0
    first_text: float = 30.0
    grace: float = 10.0
    confirm: float = 8.0
    restart_gap: float = 10.0
    stable_after: float = 15.0
    tries: int = 5
    pause_first: float = 1.0
    pause_max: float = 10.0


class Phase(Enum):
    IDLE = auto()
    STARTING = auto()  # a process is on its way to its first text
    SHOWING = auto()
    CONFIRMING = auto()  # the phone has scanned: the first login is under way
    PAUSING = auto()  # a process failed, the next one follows
    CLOSING = auto()  # the process is being ended


class Effect(Enum):
    START_PROCESS = auto()
    END_PROCESS = auto()  # then look into the key store and tell: Ended
    LINK = auto()  # hand the slot to its session
    QUARANTINE = auto()  # keys and journal: they are somebody else's


@dataclass(frozen=True, slots=True)
class Pairing:
    """Times are monotonic seconds. ``text`` is what is shown, a secret; ``failure`` says how the last one ended."""

    phase: Phase = Phase.IDLE
    method: PairMethod = PairMethod.QR
    asked_at: float = float("-inf")  # when somebody last asked for a start
    ends: float = 0.0
    deadline: float = 0.0
    text: str = field(default="", repr=False)
    text_expires: float = 0.0
    shown_since: float = 0.0
    failures: int = 0
    again: bool = False  # after CLOSING, another process follows
    failure: Reason | None = None

    @property
    def under_way(self) -> bool:
        return self.phase is not Phase.IDLE


@dataclass(frozen=True, slots=True)
class Shown:
    """A text to show, good for ``lasts`` seconds."""

    text: str = field(repr=False)
    lasts: float


@dataclass(frozen=True, slots=True)
class Scanned:
    """The library says that it is linked; ``ours``: by the phone of this account."""

    ours: bool


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The first login succeeded."""


@dataclass(frozen=True, slots=True)
class Refused:
    """WhatsApp or the library says that this cannot succeed."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Ended:
    """No process runs; ``device`` is what the key store holds now, ``ours`` whether it is this account's number."""

    reason: Reason
    device: str = ""
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody wants it ended."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The deadline has passed."""


Input = Shown | Scanned | LoggedIn | Refused | Ended | Cancel | Expired

NOT_SCANNED = Reason("not_scanned", "nobody linked the device within the time for it", steps.PAIR_AGAIN)
CANCELLED = Reason("cancelled", "the pairing was cancelled", steps.PAIR_AGAIN)
BROKEN = Reason("broken", "the pairing ended by a defect of Tandem: the log says more", steps.PAIR_AGAIN)
NO_TEXT = Reason("no_text", "WhatsApp offered nothing to scan in time", steps.CHECK_NETWORK)
WRONG_PHONE = Reason(
    "wrong_phone", "the phone of another number linked the device, so its keys were set aside", steps.REMOVE_STRANGER
)
_NAMES = {PairMethod.QR: "QR", PairMethod.CODE: "code"}
_SCANNED = Reason("scan_lost", "the phone linked the device, but its keys were not kept", steps.PAIR_AGAIN)
_SWITCHED = Reason("switched", "the pairing goes on by the other method", steps.NOTHING)


@dataclass(frozen=True, slots=True)
class Decision:
    """``sentence`` is empty when there is nothing to tell."""

    pairing: Pairing
    effects: tuple[Effect, ...] = ()
    sentence: str = ""


class Answer(Enum):
    STARTED = auto()
    UNDER_WAY = auto()
    TOO_SOON = auto()


@dataclass(frozen=True, slots=True)
class Reply:
    """What becomes of a wish to start; ``wait`` in seconds when it came too soon."""

    answer: Answer
    decision: Decision
    wait: float = 0.0


def begin(pairing: Pairing, method: PairMethod, now: float, limits: Limits, *, by_itself: bool = False) -> Reply:
    """Start a pairing, switch its method, or find that it is under way. Only for a slot that is not linked.

    Starts that Tandem makes by itself do not count towards the gap between two starts.
    """
    if pairing.under_way and pairing.phase is not Phase.CLOSING and pairing.method is method:
        return Reply(Answer.UNDER_WAY, Decision(pairing))
    if pairing.under_way and (by_itself or pairing.phase is Phase.CONFIRMING):
        return Reply(Answer.UNDER_WAY, Decision(pairing))
    wait = pairing.asked_at + limits.restart_gap - now
    if wait > 0 and not by_itself:
        return Reply(Answer.TOO_SOON, Decision(pairing), wait)
    asked = pairing.asked_at if by_itself else now
    fresh = Pairing(method=method, asked_at=asked, ends=now + limits.window)
    if pairing.under_way:
        moved = replace(fresh, phase=Phase.CLOSING, again=True, failure=_SWITCHED)
        return Reply(Answer.STARTED, Decision(moved, (Effect.END_PROCESS,), f"pairing by {_NAMES[method]} instead"))
    return Reply(Answer.STARTED, _start(fresh, now, limits, f"pairing by {_NAMES[method]}: waiting for the phone"))


def decide(pairing: Pairing, event: Input, now: float, limits: Limits) -> Decision:  # noqa: C901, PLR0911 - a table
    """Return what becomes of a pairing."""
    if not pairing.under_way:
        return Decision(pairing)
    match event:
        case Ended():
            return _ended(pairing, event, now, limits)
        case _ if pairing.phase is Phase.CLOSING:
            return Decision(replace(pairing, again=False, failure=CANCELLED) if event == Cancel() else pairing)
        case Cancel():
            return _close(pairing, CANCELLED)
        case Expired():
            return _expired(pairing, now, limits)
        case Refused(reason=reason):
            return _close(pairing, reason)
        case Scanned(ours=False):
            return _close(pairing, WRONG_PHONE)
        case Scanned():
            moved = _moved(pairing, Phase.CONFIRMING, now + limits.confirm)
            return Decision(replace(moved, ends=max(moved.ends, moved.deadline)), (), "scanned: logging in")
        case LoggedIn() if pairing.phase is Phase.CONFIRMING:
            return _close(pairing, _SCANNED)
        case Shown() if pairing.phase in {Phase.STARTING, Phase.SHOWING}:
            return _shown(pairing, event, now, limits)
    return Decision(pairing)


def _start(pairing: Pairing, now: float, limits: Limits, sentence: str) -> Decision:
    moved = replace(_moved(pairing, Phase.STARTING, now + limits.first_text), again=False, failure=None)
    return Decision(moved, (Effect.START_PROCESS,), sentence)


def _shown(pairing: Pairing, shown: Shown, now: float, limits: Limits) -> Decision:
    since = pairing.shown_since if pairing.phase is Phase.SHOWING else now
    moved = _moved(pairing, Phase.SHOWING, now + shown.lasts + limits.grace)
    expires = min(now + shown.lasts, pairing.ends)
    return Decision(replace(moved, text=shown.text, text_expires=expires, shown_since=since))


def _expired(pairing: Pairing, now: float, limits: Limits) -> Decision:
    if pairing.phase is Phase.CONFIRMING:
        return _close(pairing, _SCANNED)  # the session has deadlines of its own for a login
    if now >= pairing.ends:
        return _close(pairing, NOT_SCANNED)
    if pairing.phase is Phase.PAUSING:
        return _start(pairing, now, limits, "showing a fresh text")
    return _close(pairing, NO_TEXT, again=True)


def _close(pairing: Pairing, reason: Reason, *, again: bool = False) -> Decision:
    moved = replace(_moved(pairing, Phase.CLOSING, 0.0), failure=reason, again=again)
    return Decision(moved, (Effect.END_PROCESS,))


def _ended(pairing: Pairing, end: Ended, now: float, limits: Limits) -> Decision:
    if end.device and end.ours:
        done = Pairing(method=pairing.method, asked_at=pairing.asked_at)
        return Decision(done, (Effect.LINK,), "linked")
    if end.device:
        return replace(_over(pairing, WRONG_PHONE), effects=(Effect.QUARANTINE,))
    if pairing.phase is Phase.PAUSING:
        return Decision(pairing)
    if pairing.phase is Phase.CLOSING and not pairing.again:
        return _over(pairing, pairing.failure or end.reason)
    if pairing.failure == _SWITCHED:
        return _start(pairing, now, limits, f"pairing by {_NAMES[pairing.method]}: waiting for the phone")
    return _after_failure(pairing, pairing.failure or end.reason, now, limits)


def _after_failure(pairing: Pairing, reason: Reason, now: float, limits: Limits) -> Decision:
    """Another process follows: at once if this one's texts have run out, after a pause if it failed."""
    if now >= pairing.ends:
        return _over(pairing, NOT_SCANNED)
    if pairing.phase is Phase.SHOWING and now - pairing.shown_since >= limits.stable_after:
        return _start(replace(pairing, failures=0), now, limits, "the texts have run out: showing fresh ones")
    failures = pairing.failures + 1
    if failures >= limits.tries:
        return _over(pairing, reason)
    pause = min(limits.pause_max, limits.pause_first * 2.0 ** (failures - 1))
    moved = replace(_moved(pairing, Phase.PAUSING, now + pause), failures=failures, again=False, failure=None)
    return Decision(moved, (), f"{reason.words}; showing a fresh text in {pause:g} s")


def _over(pairing: Pairing, reason: Reason) -> Decision:
    idle = Pairing(method=pairing.method, asked_at=pairing.asked_at, failure=reason)
    return Decision(idle, (), f"not linked: {reason.words}")


def _moved(pairing: Pairing, phase: Phase, deadline: float) -> Pairing:
    bound = deadline if phase in {Phase.CONFIRMING, Phase.CLOSING} else min(deadline, pairing.ends)
    return replace(pairing, phase=phase, deadline=bound, text="", text_expires=0.0)
