"""What is worth waking somebody for: each rule, its threshold, and what to do when it fires.

``findings`` says what is wrong at this instant; ``policy.alerting`` makes alerts of that: how long it must hold, once,
throttled, resolved. Every rule's name is its anchor in ARCHITECTURE.md's runbook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tandem.model.ids import AccountId
from tandem.model.states import AccountStatus, SessionState, Slot
from tandem.policy.phone import CRITICAL_DAYS, WARN_DAYS

FEW = 5  # reconnects below which a ratio of them says nothing


class Severity(StrEnum):
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Rule:
    """``hold``: seconds that it must be so before anybody is told. ``todo`` is the human's next step."""

    name: str
    severity: Severity
    hold: float
    meaning: str
    todo: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong now. ``subject`` (an account, or account/slot) is empty for the whole instance."""

    rule: Rule
    words: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Ratios are 0 … 1, ages and spans in seconds, ``disk_free`` a ratio. Strictly more than them is too much."""

    disconnects_per_hour: int = 10
    loss_ratio: float = 0.01
    rate_limits_per_hour: int = 5
    reconnect_failure_ratio: float = 0.2
    queue_age: float = 120.0
    disk_free: float = 0.1
    phone_warn_days: int = WARN_DAYS
    phone_critical_days: int = CRITICAL_DAYS


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """``deaf``: found connected but not receiving within the last ten minutes."""

    slot: Slot
    state: SessionState
    reason: str = ""
    paired: bool = True
    deaf: bool = False


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """``burning``: a sentence if the account uses up its error budget too fast; ``burning_urgent``: within days."""

    id: AccountId
    status: AccountStatus
    slots: tuple[SlotFacts, ...]
    phone_unseen_days: int = 0
    burning: str = ""
    burning_urgent: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """How things stand. The counts are of the last hour; ages in seconds, 0 when nothing waits."""

    accounts: tuple[AccountFacts, ...] = ()
    disconnects: int = 0
    reconnects: int = 0
    reconnect_failures: int = 0
    rate_limits: int = 0
    lost: int = 0
    processed: int = 0
    inbox_age: float = 0.0
    outbox_age: float = 0.0
    dead_letters: int = 0
    store_trouble: str = ""
    disk_free: float = 1.0
    fleet_held: str = ""
    lease_trouble: str = ""
    thresholds: Thresholds = field(default_factory=Thresholds)


_WARNING, _CRITICAL = Severity.WARNING, Severity.CRITICAL
_LINK = (
    "On the phone: WhatsApp, Linked devices, Link a device. `tandem accounts pair ACCOUNT --slot SLOT` shows the QR."
)

RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "account_offline", _CRITICAL, 60.0,
            "No session of the account is online: messages wait at WhatsApp.",
            "Look at both slots' reasons (`tandem accounts show ACCOUNT`); each names its next step. Nothing is lost.",
        ),
        Rule(
            "backup_missing", _WARNING, 600.0,
            "The account lives on one device: if that one is lost, it is offline.",
            "Link the other slot, or see why it is not online. " + _LINK,
        ),
        Rule(
            "slot_stopped", _CRITICAL, 0.0,
            "A slot reached a state that it leaves only by a person's act: logged out or parked.",
            "Logged out: link it again. Parked: read its events, then `tandem accounts restart ACCOUNT --slot SLOT`.",
        ),
        Rule(
            "slot_conflict", _CRITICAL, 0.0,
            "Something else connected with a device's keys, so WhatsApp disconnected us. Tandem takes them back three "
            "times in five minutes at most, then parks the slot.",
            "Find what else uses these keys (a second deployment, a copy of the data directory) and stop it.",
        ),
        Rule(
            "account_banned", _CRITICAL, 0.0,
            "WhatsApp has banned the number for a while. Tandem neither logs in nor sends before the end.",
            "Wait for the end; then send less, and to people who know the number. A second device does not help.",
        ),
        Rule(
            "client_outdated", _CRITICAL, 0.0,
            "WhatsApp refuses this release of the library; every account will meet it at its next login.",
            "Deploy the newest Tandem. Do not restart what still runs before that.",
        ),
        Rule(
            "session_deaf", _WARNING, 0.0,
            "A session was connected but did not receive what its partner received, within the last ten minutes.",
            "Tandem has started it afresh by itself. If it comes back: link that slot again. " + _LINK,
        ),
        Rule(
            "fleet_held", _CRITICAL, 0.0,
            "A third of all sessions failed at once: the network or WhatsApp, not one account. Logins are held.",
            "Check this machine's network and WhatsApp's status. Tandem tries with one session and releases by itself.",
        ),
        Rule(
            "disconnects_high", _WARNING, 0.0,
            "Sessions lost their connection more often in the last hour than they should.",
            "See which accounts: `tandem events --type session_offline`. One: its phone or keys. All: the network.",
        ),
        Rule(
            "reconnects_failing", _CRITICAL, 0.0,
            "More than the accepted part of reconnects failed in the last hour.",
            "Read the reasons: `tandem events --type session_state`. Refused logins need a person, networks need time.",
        ),
        Rule(
            "rate_limited", _WARNING, 0.0,
            "WhatsApp asked to slow down more often in the last hour than it should.",
            "Send less, above all to people who have not written first. Tandem has slowed down already.",
        ),
        Rule(
            "messages_lost", _CRITICAL, 0.0,
            "More than the accepted part of the last hour's messages could not be stored.",
            "They are kept: `tandem dead-letters list` says why, `tandem dead-letters replay` tries again.",
        ),
        Rule(
            "dead_letters", _WARNING, 0.0,
            "Something could not be processed and waits for a person.",
            "`tandem dead-letters list`, then replay or drop each.",
        ),
        Rule(
            "queue_old", _WARNING, 60.0,
            "Messages wait longer in a queue than they should.",
            "Inbox: the store is slow or away (see store_degraded). Outbox: the account is offline or paced.",
        ),
        Rule(
            "store_degraded", _CRITICAL, 60.0,
            "The store does not take messages. They wait on disk; sessions stay up.",
            "Check Firestore's status, credentials and quota. Nothing is lost before the queue's bound.",
        ),
        Rule(
            "disk_low", _CRITICAL, 0.0,
            "The data directory's disk is nearly full. When it is full, nothing can be received durably.",
            "Enlarge the volume, or make room on it.",
        ),
        Rule(
            "phone_unseen", _WARNING, 0.0,
            "The account's phone has not been seen for long. After 14 days WhatsApp unlinks every device.",
            "Open WhatsApp on the phone, with a network.",
        ),
        Rule(
            "phone_nearly_gone", _CRITICAL, 0.0,
            "The account's phone will have been away for 14 days soon; WhatsApp then unlinks every device.",
            "Open WhatsApp on the phone today, with a network.",
        ),
        Rule(
            "error_budget_fast", _CRITICAL, 0.0,
            "The account's downtime uses up its error budget within hours or days.",
            "Look at its outages (`tandem accounts show ACCOUNT`): each names its cause.",
        ),
        Rule(
            "error_budget_slow", _WARNING, 0.0,
            "The account's downtime uses up its error budget within the month.",
            "Look at its outages in the report: which cause comes back?",
        ),
        Rule(
            "lease_trouble", _CRITICAL, 10.0,
            "This instance cannot be sure of its right to run an account.",
            "Check its connection to Firestore, and that the other instance is what you think it is.",
        ),
    )
}  # fmt: skip


def findings(facts: Facts) -> list[Finding]:
    """Return everything that is wrong now."""
    return [*_of_instance(facts), *(finding for account in facts.accounts for finding in _of_account(account, facts))]


def _of_instance(facts: Facts) -> Iterator[Finding]:
    limits = facts.thresholds
    tried = facts.reconnects + facts.reconnect_failures
    seen = facts.processed + facts.lost
    told: Mapping[str, tuple[bool, str]] = {
        "disconnects_high": (
            facts.disconnects > limits.disconnects_per_hour,
            f"{facts.disconnects} disconnects in the last hour (threshold: {limits.disconnects_per_hour})",
        ),
        "reconnects_failing": (
            tried >= FEW and facts.reconnect_failures / tried > limits.reconnect_failure_ratio,
            f"{facts.reconnect_failures} of {tried} reconnects failed (limit: {limits.reconnect_failure_ratio:.0%})",
        ),
        "rate_limited": (
            facts.rate_limits > limits.rate_limits_per_hour,
            f"{facts.rate_limits} rate limits in the last hour (threshold: {limits.rate_limits_per_hour})",
        ),
        "messages_lost": (
            seen > 0 and facts.lost / seen > limits.loss_ratio,
            f"{facts.lost} of the last hour's {seen} messages were not stored (threshold: {limits.loss_ratio:.0%})",
        ),
        "dead_letters": (facts.dead_letters > 0, f"{facts.dead_letters} dead letters wait for a person"),
        "queue_old": _queue_age(facts),
        "store_degraded": (bool(facts.store_trouble), f"the store takes nothing: {facts.store_trouble}"),
        "disk_low": (facts.disk_free < limits.disk_free, f"{facts.disk_free:.1%} of the data directory's disk is free"),
        "fleet_held": (bool(facts.fleet_held), facts.fleet_held),
        "lease_trouble": (bool(facts.lease_trouble), facts.lease_trouble),
    }
    for name, (wrong, words) in told.items():
        if wrong:
            yield Finding(RULES[name], words)


def _queue_age(facts: Facts) -> tuple[bool, str]:
    name, age = max((("inbox", facts.inbox_age), ("outbox", facts.outbox_age)), key=lambda pair: pair[1])
    return age > facts.thresholds.queue_age, f"the oldest message in the {name} has waited for {age:.0f} s"


def _of_account(account: AccountFacts, facts: Facts) -> Iterator[Finding]:
    def found(name: str, words: str) -> Finding:
        return Finding(RULES[name], words, account.id)

    if account.status is AccountStatus.OFFLINE:
        reasons = "; ".join(f"{each.slot} is {each.state}: {each.reason}" for each in account.slots if each.paired)
        yield found("account_offline", f"no session is online ({reasons})" if reasons else "no session is online")
    if account.status is AccountStatus.DEGRADED:
        yield found("backup_missing", _missing(account))
    banned = [each for each in account.slots if each.state is SessionState.BANNED]
    if banned:
        yield found("account_banned", banned[0].reason)
    yield from _of_phone(account, facts.thresholds, found)
    if account.burning:
        yield found("error_budget_fast" if account.burning_urgent else "error_budget_slow", account.burning)
    for each in account.slots:
        yield from _of_slot(account.id, each)


def _missing(account: AccountFacts) -> str:
    missing = [each for each in account.slots if each.state is not SessionState.ONLINE]
    return "; ".join(f"the {each.slot} is {each.state}{f': {each.reason}' if each.reason else ''}" for each in missing)


def _of_phone(account: AccountFacts, limits: Thresholds, found: Callable[[str, str], Finding]) -> Iterable[Finding]:
    days = account.phone_unseen_days
    words = f"the phone has not been seen for {days} days of 14"
    if days >= limits.phone_critical_days:
        return [found("phone_nearly_gone", words)]
    return [found("phone_unseen", words)] if days >= limits.phone_warn_days else []


_STOPPED = {
    SessionState.LOGGED_OUT: ("slot_stopped", "logged out"),
    SessionState.PARKED: ("slot_stopped", "parked"),
    SessionState.CONFLICT: ("slot_conflict", "in conflict"),
}


def _of_slot(account: AccountId, slot: SlotFacts) -> Iterator[Finding]:
    subject = f"{account}/{slot.slot}"
    if slot.state in _STOPPED:
        name, state = _STOPPED[slot.state]
        yield Finding(RULES[name], f"the {slot.slot} is {state}: {slot.reason}", subject)
    if slot.state is SessionState.OUTDATED:
        yield Finding(RULES["client_outdated"], f"the {slot.slot} was refused: {slot.reason}", subject)
    if slot.deaf:
        yield Finding(RULES["session_deaf"], f"the {slot.slot} did not receive what its partner received", subject)
