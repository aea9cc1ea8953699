"""What the pages show of accounts, in words. Everything here is plain values; the templates hold no logic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import phonenumbers

from tandem.api.masking import mask, shown
from tandem.api.page_charts import Spark, spark
from tandem.api.page_words import SENDING, SLOTS, STATES, STATUS, count, ms
from tandem.api.ports import Parts
from tandem.model import reason
from tandem.model.ids import AccountId, Number
from tandem.model.states import AccountStatus, Role, SendingState, SessionState, Slot
from tandem.model.views import AccountView, PairingView, PairMethod, SendingView, SlotView
from tandem.policy.alert_rules import Severity
from tandem.policy.alerting import Alert
from tandem.policy.regions import public_url

_RESTARTABLE = frozenset({SessionState.CONFLICT, SessionState.PARKED})
_LOW = 0.5  # the quality below which a session is recycled
_FAIR = 0.8


@dataclass(frozen=True, slots=True)
class PairingCard:
    """``picture`` is the QR's address, empty until there is one; ``code`` is to be typed. Times in milliseconds."""

    slot: str
    picture: str
    code: str
    by_code: bool
    expires: int
    deadline: int


@dataclass(frozen=True, slots=True)
class SlotCard:
    slot: str
    title: str
    state: str
    tone: str
    role: str
    since: int
    reason: str
    what_to_do: str
    ping: str
    quality: int | None
    quality_tone: str
    quality_detail: str
    keep_alive: str
    device: str
    paired: bool
    remedy: str
    """What an operator should press: ``pair`` again, ``restart``, or nothing."""
    restarts: int
    generation: int
    logins: int
    spark: Spark | None
    instance: str
    """The instance that runs this slot, empty if it runs here."""


@dataclass(frozen=True, slots=True)
class SendingCard:
    state: str
    tone: str
    rate: str
    until: int
    reason: str


@dataclass(frozen=True, slots=True)
class AccountCard:
    id: str
    name: str
    phone: str
    status: str
    tone: str
    slots: list[SlotCard]
    pairing: PairingCard | None
    offer: str
    """Slot to pair next, empty when there is none or one is being paired."""
    switchable: bool
    paired: bool
    received: int
    stored: int
    sent: int
    sending: SendingCard
    runner: str
    """The instance that runs the account, empty if it is this one; ``runner_url`` leads there, if it is known."""
    runner_url: str


@dataclass(frozen=True, slots=True)
class AlertRow:
    rule: str
    tone: str
    severity: str
    account: str
    name: str
    words: str
    todo: str
    since: int


def account_card(view: AccountView, parts: Parts, *, full: bool) -> AccountCard:
    status, tone = STATUS[view.status]
    pairing = next((slot.pairing for slot in view.slots if slot.pairing), None) if full else None
    standby = next((slot for slot in view.slots if slot.role is Role.STANDBY), None)
    lease = view.lease
    elsewhere = lease if lease is not None and lease.holder and not lease.mine else None
    traffic = parts.figures.traffic(view.account.id)
    return AccountCard(
        id=view.account.id,
        name=shown(view.account.name, full=full),
        phone=_spaced(view.account.number) if full else shown(view.account.number, full=False),
        status=status,
        tone=tone,
        slots=[_slot(slot, spark(parts.history(view.account.id, slot.slot)), full=full) for slot in view.slots],
        pairing=_pairing(pairing) if pairing else None,
        offer=_offer(view) if full and not pairing else "",
        switchable=full and not elsewhere and standby is not None and standby.state.connected,
        paired=any(slot.device for slot in view.slots),
        received=traffic["received"],
        stored=traffic["stored"],
        sent=traffic["sent"],
        sending=_sending(view.sending),
        runner=mask(elsewhere.holder_name) if elsewhere else "",
        runner_url=public_url(elsewhere.holder_url) if elsewhere else "",
    )


def _spaced(number: Number) -> str:
    """Return a number as people of its country write it."""
    return phonenumbers.format_number(phonenumbers.parse(number), phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def _offer(view: AccountView) -> str:
    if any(_remedy(slot) for slot in view.slots):
        return ""  # first things first
    free = (slot for slot in view.slots if not slot.device and not slot.state.terminal and not slot.instance)
    return next((str(slot.slot) for slot in free), "")


def _slot(view: SlotView, curve: Spark | None, *, full: bool) -> SlotCard:
    state, tone = STATES[view.state]
    connected = view.state.connected
    return SlotCard(
        slot=str(view.slot),
        title=SLOTS[view.slot],
        state=state,
        tone=tone,
        role={Role.ACTIVE: "sends", Role.STANDBY: "stands by", Role.NONE: ""}[view.role],
        since=ms(view.since),
        reason=mask(view.reason),
        what_to_do=_what_to_do(view),
        ping=f"{view.ping_ms:.0f} ms" if view.ping_ms is not None and connected else "",
        quality=round(view.quality * 100) if view.quality is not None and connected else None,
        quality_tone=_quality_tone(view.quality),
        quality_detail=mask(view.quality_detail),
        keep_alive=f"{view.keep_alive:.0f} s" if view.keep_alive is not None and connected else "",
        device=shown(view.device, full=full),
        paired=bool(view.device),
        remedy=_remedy(view) if full else "",
        restarts=view.restarts,
        generation=view.generation,
        logins=view.logins,
        spark=curve,
        instance=mask(view.instance),
    )


def _what_to_do(view: SlotView) -> str:
    """Return the next step as far as it is not on the page already: the QR and the offer speak for themselves."""
    if view.next_step in {reason.NOTHING, reason.LINK}:
        return ""
    return view.next_step


def _quality_tone(quality: float | None) -> str:
    if quality is None:
        return "idle"
    if quality < _LOW:
        return "bad"
    return "warn" if quality < _FAIR else "good"


def _remedy(view: SlotView) -> str:
    if view.instance:
        return ""  # only there
    if view.state is SessionState.LOGGED_OUT:
        return "pair"
    return "restart" if view.state in _RESTARTABLE and view.device else ""


def _sending(view: SendingView) -> SendingCard:
    state, tone = SENDING[view.state]
    rate = "no limit" if view.per_minute is None else f"{view.per_minute:g} messages a minute"
    stopped = view.state in {SendingState.PAUSED, SendingState.BANNED}
    return SendingCard(state, tone, "nothing for now" if stopped else rate, ms(view.until), mask(view.reason))


def _pairing(view: PairingView) -> PairingCard:
    expires = ms(view.expires_at)
    by_code = view.method is PairMethod.CODE
    address = f"/api/whatsapp/account/{view.account}/qr?slot={view.slot}&shown={expires}"
    return PairingCard(
        slot=str(view.slot),
        picture=address if view.text and not by_code else "",
        code=view.text if by_code else "",
        by_code=by_code,
        expires=expires,
        deadline=ms(view.deadline),
    )


def _among(found: Sequence[AccountView], views: Sequence[AccountView], names: Mapping[AccountId, str]) -> str:
    """Name the one that is meant, if there are others."""
    return f": {names[found[0].account.id]}" if len(found) == 1 < len(views) else ""


def headline(views: Sequence[AccountView], names: Mapping[AccountId, str]) -> tuple[str, str]:
    """Say in one sentence how things stand, and its tone; the worst comes first."""
    if not views:
        return "No accounts yet", "idle"
    troubled = [view for view in views if view.status is AccountStatus.OFFLINE]
    unprotected = [view for view in views if view.status is AccountStatus.DEGRADED]
    waiting = [view for view in views if view.status is AccountStatus.UNPAIRED]
    for found, words, tone in (
        (troubled, "offline", "bad"),
        (unprotected, "without a healthy backup", "warn"),
        (waiting, "waiting to be paired", "idle"),
    ):
        if found:
            return f"{count(len(found), 'account')} {words}{_among(found, views, names)}", tone
    return ("Online, on both devices" if len(views) == 1 else f"All {len(views)} accounts online"), "good"


def names_of(views: Sequence[AccountView], *, full: bool) -> dict[AccountId, str]:
    return {view.account.id: shown(view.account.name, full=full) for view in views}


def alert_rows(alerts: Sequence[Alert], names: Mapping[AccountId, str]) -> list[AlertRow]:
    """Return what fires, the critical first."""
    ranked = sorted(alerts, key=lambda alert: (alert.finding.rule.severity is not Severity.CRITICAL, alert.since))
    return [_alert(alert, names) for alert in ranked]


def _alert(alert: Alert, names: Mapping[AccountId, str]) -> AlertRow:
    rule = alert.finding.rule
    account, _, slot = alert.finding.subject.partition("/")
    name = names.get(AccountId(account), "")
    title = next((SLOTS[each].lower() for each in Slot if each.value == slot), "")
    return AlertRow(
        rule=rule.name.replace("_", " "),
        tone="bad" if rule.severity is Severity.CRITICAL else "warn",
        severity=str(rule.severity),
        account=account if name else "",
        name=f"{name}, {title}" if name and title else name,
        words=mask(alert.finding.words),
        todo=rule.todo.replace("ACCOUNT", account or "ACCOUNT").replace("SLOT", slot or "SLOT"),
        since=ms(alert.since),
    )
