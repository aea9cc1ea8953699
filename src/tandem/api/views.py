"""The JSON shapes of the public contract. All times are whole Unix milliseconds; unknown or not reached: null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from tandem.api.masking import mask, shown
from tandem.model.event import VERSION, Event
from tandem.model.outage import Outage
from tandem.model.outbox import OutboxRow
from tandem.model.states import AccountStatus, OutboxState, Role, SessionState, Slot
from tandem.model.views import AccountView, PairingView, PairMethod, SlotView


class Json(BaseModel):
    """Base of all answers: camelCase outside, snake_case inside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Done(Json):
    success: Literal[True] = True


class AccountCounts(Json):
    total: int
    online: int
    degraded: int
    offline: int = Field(description="Accounts without any session online, those never paired included.")


class Health(Json):
    status: Literal["healthy", "degraded", "down"]
    version: str
    commit: str
    instance: str
    role: str
    accounts: AccountCounts
    emulator: bool = Field(default=False, description="True when it runs against an emulator; absent otherwise.")


class Liveness(Json):
    status: Literal["alive"] = "alive"


class Readiness(Json):
    ready: bool
    reason: str | None = Field(description="Why it is not ready, in words.")


class PairingProgress(Json):
    method: PairMethod
    expires_at: int | None = Field(description="When the QR or code that is shown expires; null until there is one.")
    deadline: int = Field(description="When the whole pairing is given up.")

    @classmethod
    def of(cls, view: PairingView) -> PairingProgress:
        expires_at = unix_ms(view.expires_at) if view.text else None
        return cls(method=view.method, expires_at=expires_at, deadline=unix_ms(view.deadline))


class SlotJson(Json):
    slot: Slot
    device: str | None = Field(description="Address of the linked device; null while unpaired.")
    role: Role
    state: SessionState
    reason: str
    next_step: str = Field(description="What the operator has to do; empty when there is nothing.")
    since: int
    generation: int
    quality: float | None
    quality_detail: str = Field(description="What the quality lacks, in words; empty if nothing.")
    ping_ms: float | None
    keep_alive_seconds: float | None = Field(
        description="Longest wait between two pings; null: the library's own 20 to 30 s, or no host runs."
    )
    qr_expires_at: int | None = Field(description="When the QR that is shown now expires; null if none is shown.")
    pairing: PairingProgress | None = Field(description="The pairing under way; null if there is none.")

    @classmethod
    def of(cls, view: SlotView, *, full: bool) -> SlotJson:
        pairing = view.pairing
        shows_qr = pairing is not None and pairing.method is PairMethod.QR and pairing.text
        return cls(
            slot=view.slot,
            device=shown(view.device, full=full) or None,
            role=view.role,
            state=view.state,
            reason=mask(view.reason),
            next_step=view.next_step,
            since=unix_ms(view.since),
            generation=view.generation,
            quality=view.quality,
            quality_detail=view.quality_detail,
            ping_ms=view.ping_ms,
            keep_alive_seconds=view.keep_alive,
            qr_expires_at=unix_ms(pairing.expires_at) if pairing and shows_qr else None,
            pairing=PairingProgress.of(pairing) if pairing else None,
        )


class AccountJson(Json):
    id: str
    name: str
    phone: str
    status: AccountStatus
    created_at: int
    slots: list[SlotJson]

    @classmethod
    def of(cls, view: AccountView, *, full: bool) -> AccountJson:
        account = view.account
        return cls(
            id=account.id,
            name=shown(account.name, full=full),
            phone=shown(account.number, full=full),
            status=view.status,
            created_at=unix_ms(account.created_at),
            slots=[SlotJson.of(slot, full=full) for slot in view.slots],
        )


class OutageJson(Json):
    began: int = Field(alias="from")
    ended: int | None = Field(alias="to", description="Null while it lasts.")
    seconds: float
    cause: str
    recovered: int | None = Field(description="Messages that came late because of it; null until they are counted.")

    @classmethod
    def of(cls, outage: Outage, now: float) -> OutageJson:
        return cls(
            began=unix_ms(outage.began),
            ended=None if outage.ended is None else unix_ms(outage.ended),
            seconds=round(outage.seconds(now), 3),
            cause=mask(outage.cause),
            recovered=outage.recovered,
        )


class AccountDetailJson(AccountJson):
    since: int | None = Field(description="Since when it is online, or out; null when neither is known.")
    outage: OutageJson | None = Field(description="The outage it is in.")
    outages: list[OutageJson] = Field(description="The last outages, newest first, the lasting one included.")

    @classmethod
    def detail(cls, view: AccountView, outages: Sequence[Outage], now: float, *, full: bool) -> AccountDetailJson:
        account = AccountJson.of(view, full=full)
        last = outages[0] if outages else None
        lasting = last if last and last.ended is None else None
        since = None if last is None else last.began if last.ended is None else last.ended
        return cls(
            **{name: getattr(account, name) for name in AccountJson.model_fields},
            since=None if since is None else unix_ms(since),
            outage=OutageJson.of(lasting, now) if lasting else None,
            outages=[OutageJson.of(outage, now) for outage in outages],
        )


class AccountAnswer(Done):
    account: AccountJson


class AccountDetailAnswer(Done):
    account: AccountDetailJson


class AddedAnswer(AccountAnswer):
    idempotent: bool = Field(default=False, description="True when the account was there already; absent otherwise.")


class AccountsAnswer(Done):
    accounts: list[AccountJson]


class PairingJson(Json):
    account: str
    slot: Slot
    method: PairMethod
    qr: str | None = Field(description="Path of the QR; null when pairing by code.")
    code: str | None = Field(description="Code to type on the phone, when pairing by code and once there is one.")
    expires_at: int | None = Field(description="When this QR or code expires; null until there is one.")
    deadline: int = Field(description="When the whole pairing is given up.")

    @classmethod
    def of(cls, view: PairingView) -> PairingJson:
        by_qr = view.method is PairMethod.QR
        return cls(
            account=view.account,
            slot=view.slot,
            method=view.method,
            qr=f"/api/whatsapp/account/{view.account}/qr?slot={view.slot}" if by_qr else None,
            code=view.text or None if not by_qr else None,
            expires_at=unix_ms(view.expires_at) if view.text else None,
            deadline=unix_ms(view.deadline),
        )


class PairingAnswer(Done):
    pairing: PairingJson
    idempotent: bool = Field(default=False, description="True when this pairing was under way; absent otherwise.")


class PendingAnswer(Done):
    status: Literal["pending"] = "pending"
    detail: str


class SendAnswer(Done):
    id: str
    status: OutboxState
    note: str | None = Field(default=None, description="What keeps it from being sent at once; absent otherwise.")
    idempotent: bool = Field(default=False, description="True when the key was used before; absent otherwise.")


class OutboxAnswer(Done):
    id: str
    account: str
    chat: str
    status: OutboxState
    reason: str
    created_at: int
    updated_at: int
    expires_at: int
    message_id: str | None
    slot: Slot | None
    attempts: int

    @classmethod
    def of(cls, row: OutboxRow, *, full: bool) -> OutboxAnswer:
        return cls(
            id=row.id,
            account=row.account,
            chat=shown(row.chat, full=full),
            status=row.state,
            reason=row.reason,
            created_at=unix_ms(row.created_at),
            updated_at=unix_ms(row.updated_at),
            expires_at=unix_ms(row.expires_at),
            message_id=row.message_id or None,
            slot=row.slot,
            attempts=row.attempts,
        )


class EventJson(Json):
    id: str
    type: str
    account: str | None
    slot: Slot | None
    reason: str
    data: dict[str, JsonValue] = Field(
        description="Holds ``message``, the sentence that stands in the log; ``instance``, the daemon that told it; "
        "``correlation``, the id of the request that caused it, if one did; ``version`` of this shape."
    )
    timestamp: int

    @classmethod
    def of(cls, event: Event) -> EventJson:
        data: dict[str, object] = {**event.data, "message": event.message, "version": VERSION}
        if event.generation:
            data["generation"] = event.generation
        if event.instance:
            data["instance"] = event.instance
        if event.correlation:
            data["correlation"] = event.correlation
        return cls(
            id=event.id,
            type=str(event.type),
            account=event.account,
            slot=event.slot,
            reason=event.reason,
            data=data,
            timestamp=unix_ms(event.timestamp),
        )


class EventsAnswer(Done):
    events: list[EventJson]


class HourlyFigures(Json):
    disconnects: int
    reconnects: int
    reconnect_fails: int
    message_loss: int
    rate_limits: int
    messages_processed: int


class TotalFigures(Json):
    disconnects: int
    reconnects: int
    message_loss: int
    rate_limits: int
    messages_processed: int


class Summary(Json):
    hourly: HourlyFigures = Field(description="The last 60 minutes.")
    total: TotalFigures = Field(description="Since the start.")
    accounts: int
    active_connections: int
    backup_connections: int
    queue_size: int
    batch_size: int


class MetricsAnswer(Done):
    metrics: Summary
    dead_letters: int | None = Field(
        description="What waits under /api/dead-letters for somebody to look at it; null while the queue cannot say."
    )


class ServiceStatus(Json):
    status: Literal["online"] = "online"
    service: str = "Tandem"
    version: str
    accounts: int
    connected: int
    metrics: Summary
    region: str
    timestamp: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="A URN that names the kind of problem.")
    title: str
    status: int
    detail: str = Field(description="What is wrong and what to do, in words.")
    success: Literal[False] = False
    error: str = Field(description="Stable code of the kind of problem.")
    request_id: str = Field(description="Stands in the log line of this request too.")


def summary_of(figures: Mapping[str, object]) -> Summary:
    return Summary.model_validate(figures)


def unix_ms(seconds: float) -> int:
    """Return Unix seconds as whole milliseconds."""
    return round(seconds * 1000)
