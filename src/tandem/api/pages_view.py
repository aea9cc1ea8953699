"""What the dashboard's templates show, in words. Everything here is plain values; the templates hold no logic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import phonenumbers

from tandem.api.masking import mask, shown
from tandem.api.ports import Figures
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId, Number
from tandem.model.states import AccountStatus, Role, SessionState, Slot
from tandem.model.views import AccountView, PairingView, PairMethod, SlotView

_STATES: Mapping[SessionState, tuple[str, str]] = {
    SessionState.UNPAIRED: ("Not paired", "idle"),
    SessionState.PAIRING: ("Pairing", "busy"),
    SessionState.CONNECTING: ("Connecting", "busy"),
    SessionState.SYNCING: ("Syncing", "busy"),
    SessionState.ONLINE: ("Online", "good"),
    SessionState.DEGRADED: ("Unsteady", "warn"),
    SessionState.RECONNECTING: ("Reconnecting", "warn"),
    SessionState.WAITING: ("Waiting to retry", "warn"),
    SessionState.CONFLICT: ("In conflict", "bad"),
    SessionState.LOGGED_OUT: ("Logged out", "bad"),
    SessionState.BANNED: ("Banned", "bad"),
    SessionState.OUTDATED: ("Outdated", "bad"),
    SessionState.PARKED: ("Parked", "bad"),
    SessionState.STOPPED: ("Stopped", "idle"),
}
_STATUS: Mapping[AccountStatus, tuple[str, str]] = {
    AccountStatus.ONLINE: ("Online", "good"),
    AccountStatus.DEGRADED: ("Online, unprotected", "warn"),
    AccountStatus.OFFLINE: ("Offline", "bad"),
    AccountStatus.UNPAIRED: ("To be paired", "idle"),
}
_WHAT_TO_DO: Mapping[SessionState, str] = {
    SessionState.CONFLICT: "Something else connects with this device's keys: find it and stop it.",
    SessionState.LOGGED_OUT: "The phone removed this linked device. Link it again; nothing that was stored is lost.",
    SessionState.BANNED: "WhatsApp has locked this number for a while. Tandem waits until the lock ends.",
    SessionState.OUTDATED: "WhatsApp no longer takes this release. Update Tandem.",
    SessionState.PARKED: "It kept failing, so Tandem stopped trying. Look at the events, then try again.",
}
_RESTARTABLE = frozenset({SessionState.CONFLICT, SessionState.PARKED})
_ROUTINE = frozenset({EventType.BATCH_SAVED, EventType.MESSAGE_SENT})
_TONES: Mapping[EventType, str] = {
    EventType.ALERT: "bad",
    EventType.DEAD_LETTER: "bad",
    EventType.FLEET_HELD: "bad",
    EventType.SESSION_PARKED: "bad",
    EventType.STORE_DEGRADED: "bad",
    EventType.HOST_ENDED: "warn",
    EventType.MESSAGE_SEND_FAILED: "warn",
    EventType.MESSAGE_SEND_UNKNOWN: "warn",
    EventType.PAIRING_FAILED: "warn",
    EventType.RATE_LIMIT_DETECTED: "warn",
    EventType.SESSION_OFFLINE: "warn",
    EventType.SWITCHED_TO_BACKUP: "busy",
    EventType.SWITCHED_TO_PRIMARY: "busy",
    EventType.PROACTIVE_RECONNECT: "busy",
    EventType.BACKUP_CONNECTION_READY: "good",
    EventType.FLEET_RELEASED: "good",
    EventType.PAIRING_SUCCEEDED: "good",
    EventType.SESSION_ONLINE: "good",
    EventType.STORE_RESTORED: "good",
}


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
    device: str
    paired: bool
    remedy: str
    """What an operator can press: ``pair`` again, ``restart``, or nothing."""
    restarts: int


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
    received: int
    stored: int
    sent: int


@dataclass(frozen=True, slots=True)
class EventRow:
    id: str
    type: str
    tone: str
    at: int
    account: str
    slot: str
    message: str
    reason: str


def account_cards(views: Sequence[AccountView], figures: Figures, *, full: bool) -> list[AccountCard]:
    return [_card(view, figures.traffic(view.account.id), full=full) for view in views]


def _card(view: AccountView, traffic: Mapping[str, int], *, full: bool) -> AccountCard:
    status, tone = _STATUS[view.status]
    pairing = next((slot.pairing for slot in view.slots if slot.pairing), None) if full else None
    standby = next((slot for slot in view.slots if slot.role is Role.STANDBY), None)
    return AccountCard(
        id=view.account.id,
        name=shown(view.account.name, full=full),
        phone=_spaced(view.account.number) if full else shown(view.account.number, full=False),
        status=status,
        tone=tone,
        slots=[_slot(slot, full=full) for slot in view.slots],
        pairing=_pairing(pairing) if pairing else None,
        offer=_offer(view) if full and not pairing else "",
        switchable=full and standby is not None and standby.state.connected,
        received=traffic["received"],
        stored=traffic["stored"],
        sent=traffic["sent"],
    )


def _spaced(number: Number) -> str:
    """Return a number as people of its country write it."""
    return phonenumbers.format_number(phonenumbers.parse(number), phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def _offer(view: AccountView) -> str:
    if any(_remedy(slot) for slot in view.slots):
        return ""  # first things first
    return next((str(slot.slot) for slot in view.slots if not slot.device and not slot.state.terminal), "")


def _slot(view: SlotView, *, full: bool) -> SlotCard:
    state, tone = _STATES[view.state]
    return SlotCard(
        slot=str(view.slot),
        title="Primary" if view.slot is Slot.PRIMARY else "Backup",
        state=state,
        tone=tone,
        role={Role.ACTIVE: "sends", Role.STANDBY: "stands by", Role.NONE: ""}[view.role],
        since=round(view.since * 1000),
        reason=mask(view.reason),
        what_to_do=_WHAT_TO_DO.get(view.state, ""),
        ping=f"{view.ping_ms:.0f} ms" if view.ping_ms is not None and view.state.connected else "",
        quality=round(view.quality * 100) if view.quality is not None and view.state.connected else None,
        device=shown(view.device, full=full),
        paired=bool(view.device),
        remedy=_remedy(view) if full else "",
        restarts=view.restarts,
    )


def _remedy(view: SlotView) -> str:
    if view.state is SessionState.LOGGED_OUT:
        return "pair"
    return "restart" if view.state in _RESTARTABLE and view.device else ""


def _pairing(view: PairingView) -> PairingCard:
    expires = round(view.expires_at * 1000)
    by_code = view.method is PairMethod.CODE
    address = f"/api/whatsapp/account/{view.account}/qr?slot={view.slot}&shown={expires}"
    return PairingCard(
        slot=str(view.slot),
        picture=address if view.text and not by_code else "",
        code=view.text if by_code else "",
        by_code=by_code,
        expires=expires,
        deadline=round(view.deadline * 1000),
    )


def headline(views: Sequence[AccountView]) -> tuple[str, str]:
    """Say in one sentence how things stand, and its tone; the worst comes first."""
    if not views:
        return "No accounts yet", "idle"
    troubled = [view for view in views if view.status is AccountStatus.OFFLINE]
    unprotected = [view for view in views if view.status is AccountStatus.DEGRADED]
    waiting = [view for view in views if view.status is AccountStatus.UNPAIRED]
    if troubled:
        return f"{_accounts(len(troubled))} offline", "bad"
    if unprotected:
        return f"{_accounts(len(unprotected))} without a healthy backup", "warn"
    if waiting:
        return f"{_accounts(len(waiting))} waiting to be paired", "idle"
    return ("Online, on both devices" if len(views) == 1 else f"All {len(views)} accounts online"), "good"


def _accounts(count: int) -> str:
    return "1 account" if count == 1 else f"{count} accounts"


def event_rows(events: Sequence[Event], names: Mapping[AccountId, str]) -> list[EventRow]:
    return [
        EventRow(
            id=event.id,
            type=str(event.type),
            tone=_TONES.get(event.type, "idle"),
            at=round(event.timestamp * 1000),
            account=mask(names.get(event.account, "")) if event.account else "",
            slot=str(event.slot or ""),
            message=event.message,
            reason="" if event.reason in event.message else event.reason,
        )
        for event in events
        if event.type not in _ROUTINE
    ]
