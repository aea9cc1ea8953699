"""Why things happen: one table from the library's events, error texts and exit codes to signals and words for people.

Every reason has a stable key, a sentence that says what happened, and the operator's next step. Sources: the library's
enums (0.5.2) and its error texts, each provoked against a loopback server; WhatsApp's own policy is not known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tandem.model.outbox import SendOutcome
from tandem.model.reason import LINK_AGAIN, LINK_WITHOUT_PASSKEY, NOTHING, PAIR_AGAIN, UPGRADE, WAIT_FOR_BAN, Reason
from tandem.model.signals import Banned, ConnectFailed, LoggedOut, Outdated, PairFailed, Signal
from tandem.whatsapp.exits import ExitCode, exit_words


@dataclass(frozen=True, slots=True)
class LoginFailure(Reason):
    """A refusal of WhatsApp's login; ``kind`` is the class of signal it becomes."""

    kind: type[Signal] = ConnectFailed

    def signal(self, detail: str = "") -> Signal:
        """Return the signal of this failure; ``detail`` is the server's own text, if it gave one."""
        if self.kind is LoggedOut:
            return LoggedOut(self.words, on_connect=True)
        if self.kind is Outdated:
            return Outdated()
        if self.kind is Banned:
            return Banned(self.words, 0.0)
        return ConnectFailed(f"{self.words} ({detail})" if detail else self.words)


LOGIN_FAILURES = {
    "GENERIC": LoginFailure("login_refused", "WhatsApp refused the login without saying why", NOTHING),
    "LOGGED_OUT": LoginFailure("unlinked", "the device was unlinked on the phone", LINK_AGAIN, LoggedOut),
    "TEMP_BANNED": LoginFailure("banned", "WhatsApp banned the number for a while", WAIT_FOR_BAN, Banned),
    "MAIN_DEVICE_GONE": LoginFailure(
        "phone_gone", "the phone's WhatsApp was logged out or re-registered", LINK_AGAIN, LoggedOut
    ),
    "UNKNOWN_LOGOUT": LoginFailure("logged_out", "WhatsApp logged the device out", LINK_AGAIN, LoggedOut),
    "CLIENT_OUTDATED": LoginFailure("outdated", "WhatsApp refuses this release of the library", UPGRADE, Outdated),
    "BAD_USER_AGENT": LoginFailure("bad_user_agent", "WhatsApp refuses how the library presents itself", UPGRADE),
    "INTERNAL_SERVER_ERROR": LoginFailure("server_error", "WhatsApp had an internal error", NOTHING),
    "EXPERIMENTAL": LoginFailure("experimental", "WhatsApp refused the login as experimental", UPGRADE),
    "SERVICE_UNAVAILABLE": LoginFailure("unavailable", "WhatsApp was not available", NOTHING),
}

UNKNOWN_LOGIN_FAILURE = LoginFailure("login_refused", "WhatsApp refused the login for an unknown reason", NOTHING)


def login_failure(name: str) -> LoginFailure:
    """Return the reason of a ``ConnectFailureReason``, by its name."""
    return LOGIN_FAILURES.get(name, UNKNOWN_LOGIN_FAILURE)


BAN_REASONS = {
    "SEND_TO_TOO_MANY_PEOPLE": "sent to too many people who do not know the number",
    "BLOCKED_BY_USERS": "blocked by too many people",
    "CREATED_TOO_MANY_GROUPS": "created too many groups with strangers",
    "SENT_TOO_MANY_SAME_MESSAGE": "sent the same message too often",
    "BROADCAST_LIST": "sent too much to a broadcast list",
}


def ban_words(name: str) -> str:
    """Return why WhatsApp banned, by the name of a ``TempBanReason``."""
    return BAN_REASONS.get(name, "for a reason the library does not know")


ENDINGS = {
    ExitCode.STOPPED: ("stopped", "nothing"),
    ExitCode.PUMP_ENDED: ("pump_ended", NOTHING),
    ExitCode.PARENT_GONE: ("daemon_gone", NOTHING),
    ExitCode.LOCKED: ("locked", "look for a second Tandem on the same data directory, and end it"),
    ExitCode.UNPAIRED: ("unpaired", LINK_AGAIN),
    ExitCode.LIBRARY_UNUSABLE: ("library_unusable", "reinstall Tandem: its library does not fit this machine"),
    ExitCode.REDIRECT_FAILED: ("redirect_failed", "use the library's known release, or do not ask for an emulator"),
    ExitCode.STORE_UNUSABLE: ("store_unusable", "put the key store aside and link this slot again"),
    ExitCode.JOURNAL_UNUSABLE: ("journal_unusable", "check the data directory's disk and permissions"),
    ExitCode.PAIRING_ENDED: ("pairing_ended", PAIR_AGAIN),
    ExitCode.PROTOCOL_BROKEN: ("protocol_broken", "report this: daemon and host are of different releases"),
    ExitCode.BACKLOG: ("backlog", "check the disk: the queue does not take events fast enough"),
    ExitCode.DIAL_FAILED: ("dial_failed", "check the network: " + NOTHING),
    ExitCode.POISONED: ("poisoned", NOTHING),
    ExitCode.FAILED: ("host_failed", "report this with the log: " + NOTHING),
}
"""Key and next step of every exit code; the words stand in ``exits``."""

CRASHES = {
    "handleConnectFailure": ("refused_crash", "WhatsApp refused the login with a code on which the library crashes"),
    "concurrent map": ("data_race", "the library corrupted its own tables"),
    "out of memory": ("out_of_memory", "the machine ran out of memory"),
}
"""Fragments of what the Go runtime prints when it dies, to a key and words."""


def ending(code: int, last_words: str = "", printed: str = "") -> Reason:
    """Say why a host ended: its exit code (negative: a signal), its last words, and what it printed at the end."""
    if code < 0:
        for fragment, (key, words) in CRASHES.items():
            if fragment in printed:
                return Reason(key, f"{words} ({exit_words(code)})", NOTHING)
        return Reason("killed", exit_words(code), NOTHING)
    try:
        key, next_step = ENDINGS[ExitCode(code)]
    except ValueError:
        return Reason("ended", last_words or exit_words(code), NOTHING)
    words = exit_words(code)
    detail = f": {last_words}" if last_words and not last_words.startswith(words) else ""
    return Reason(key, last_words if last_words.startswith(words) else words + detail, next_step)


QR_RAN_OUT = Reason("ran_out", "the texts to scan have run out, or the connection was lost", NOTHING)
PASSKEY = Reason(
    "passkey_demanded",
    "this account demands a passkey for linking, which the library cannot give",
    LINK_WITHOUT_PASSKEY,
)
PAIRING_STATUS = {
    "timeout": QR_RAN_OUT,
    "error": Reason("disagreed", "the phone and the library did not agree on the linking", PAIR_AGAIN),
    "err-client-outdated": Reason("outdated", "WhatsApp refuses this release of the library", UPGRADE),
    "err-unexpected-state": Reason("unexpected", "the connection was not one that waits for a scan", PAIR_AGAIN),
    "err-scanned-without-multidevice": Reason(
        "old_phone", "the phone's WhatsApp knows no linked devices", "update WhatsApp on the phone, then pair again"
    ),
    "passkey-request": PASSKEY,
    "passkey-confirmation": PASSKEY,
}
"""The words with which the library's QR channel ends or gives up (whatsmeow ``qrchan.go``)."""

_PAIRING_ENDED = "the pairing ended: "  # so the host writes it


def pairing_refusal(signal: Signal) -> Reason | None:
    """Return why linking cannot succeed, if this is what a signal of a pairing process means."""
    match signal:
        case PairFailed(reason=words, cause=cause):
            return cause or Reason("refused", words, PAIR_AGAIN)
        case LoggedOut(reason=words) | ConnectFailed(reason=words):
            return Reason("login_refused", words, PAIR_AGAIN)
        case Outdated():
            return PAIRING_STATUS["err-client-outdated"]
        case Banned(code=words):
            return Reason("banned", f"WhatsApp banned the number for a while: {words}", WAIT_FOR_BAN)
    return None


_BAN_LINE = re.compile(r"^Temporary ban connect failure: <failure\b(?P<attributes>[^>]*)")
_ATTRIBUTE = re.compile(r'\b(code|expire)="(\d{1,12})"')


def ban_in_log_line(text: str) -> Banned | None:
    """Return the ban that a warning of the library tells of; the event may be one that it cannot express."""
    found = _BAN_LINE.match(text)
    if found is None:
        return None
    values = dict(_ATTRIBUTE.findall(found["attributes"]))
    return Banned(values.get("code", "unknown"), float(values.get("expire", 0)))


_RATE_LIMIT = re.compile(r"rate-overlimit|\bbut got 429\b|(?:error|status|code)\W{0,2}(?:429|475)\b|\((?:429|475)\)")
"""HTTP 429 at the upgrade, 429 to a query, and the nacks 429 and 475 (too many new chats) of a message.

463 is none of them: it restricts whom the number may write to, not how fast.
"""


def rate_limit(text: str) -> str:
    """Return words if a log line, an error or last words say that WhatsApp is asked too much; else an empty text."""
    if not _RATE_LIMIT.search(text):
        return ""
    if "but got 429" in text:
        return "WhatsApp refused the connection for now (HTTP 429)"
    return "WhatsApp said that it is sent too much (475)" if "475" in text else "WhatsApp said: rate over limit (429)"


def last_signal(code: int, last_words: str, ban: Banned | None) -> Signal | None:
    """Return what the server said, if the event that said it ended the host instead of being told.

    ``ban`` is what ``ban_in_log_line`` found, if anything.
    """
    if code == ExitCode.PAIRING_ENDED:
        status = last_words.removeprefix(_PAIRING_ENDED)
        return PairFailed(last_words or exit_words(code), PAIRING_STATUS.get(status))
    if code != ExitCode.POISONED:
        return None
    if "TemporaryBan" in last_words:
        return ban or Banned(ban_words(""), 0.0)
    return UNKNOWN_LOGIN_FAILURE.signal() if "ConnectFailure" in last_words else None


@dataclass(frozen=True, slots=True)
class SendFailure(Reason):
    """An error of a send, and what it means for the message."""

    outcome: SendOutcome = SendOutcome.UNKNOWN


_NOT_SENT, _REJECTED, _UNKNOWN = SendOutcome.NOT_SENT, SendOutcome.REJECTED, SendOutcome.UNKNOWN

RATE_LIMITED = SendFailure("rate_limited", "rate limited by WhatsApp (429)", "send less", _NOT_SENT)
SEND_FAILURES: tuple[tuple[str, SendFailure], ...] = (
    ("client is nil", SendFailure("not_connected", "not connected", NOTHING, _NOT_SENT)),
    ("websocket not connected", SendFailure("not_connected", "not connected", NOTHING, _NOT_SENT)),
    ("websocket disconnected before", SendFailure("lost", "the connection was lost before the ack", NOTHING, _UNKNOWN)),
    ("timed out waiting for message send response", SendFailure("no_ack", "no ack in time", NOTHING, _UNKNOWN)),
    ("rate-overlimit", RATE_LIMITED),
    ("info query returned status 5", SendFailure("server_error", "WhatsApp had an error", NOTHING, _NOT_SENT)),
    ("info query returned status", SendFailure("refused", "WhatsApp refused a query", "check the number", _REJECTED)),
    ("info query timed out", SendFailure("no_answer", "WhatsApp did not answer a query", NOTHING, _NOT_SENT)),
    (
        "server returned error 429",
        SendFailure("rate_limited", "rate limited by WhatsApp (429)", "send less", _NOT_SENT),
    ),
    ("server returned error", SendFailure("refused", "WhatsApp refused the message", "check the number", _REJECTED)),
    ("no LID found for", SendFailure("not_on_whatsapp", "the number is not known", "check the number", _REJECTED)),
    ("failed to get user info", SendFailure("no_answer", "the recipient could not be looked up", NOTHING, _NOT_SENT)),
    ("no signal session established", SendFailure("no_keys", "the recipient has no keys", NOTHING, _NOT_SENT)),
)
"""Fragments of the library's error texts, the first that occurs counts. Queries all precede the message itself."""

UNKNOWN_SEND_FAILURE = SendFailure("unknown", "the library failed in an unknown way", NOTHING, _UNKNOWN)

_STATUS = re.compile(r"(?:server returned error|returned status) (\d{3})")


def send_failure(error: str) -> SendFailure:
    """Return what an error text of the library means for the message that was to be sent."""
    return next((failure for fragment, failure in SEND_FAILURES if fragment in error), UNKNOWN_SEND_FAILURE)


def send_code(error: str) -> int:
    """Return the server's code in an error text of a send, 0 if it names none."""
    status = _STATUS.search(error)
    return int(status[1]) if status else 0


def send_words(error: str) -> str:
    """Return words for an error text of a send, with the server's code if it names one, without any number in it."""
    words = send_failure(error).words
    status = _STATUS.search(error)
    return f"{words} ({status[1]})" if status and status[1] not in words else words
