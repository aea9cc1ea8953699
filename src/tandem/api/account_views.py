"""The JSON shapes of accounts, their slots and pairings."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from tandem.api.masking import mask, shown
from tandem.api.views import Done, Json, unix_ms
from tandem.model.cluster_view import LeaseView
from tandem.model.outage import Outage
from tandem.model.states import AccountStatus, Role, SendingState, SessionState, Slot
from tandem.model.views import AccountView, PairingView, PairMethod, SendingView, SlotView
from tandem.policy import survival
from tandem.whatsapp.release import LIBRARY


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
    instance: str | None = Field(description="The instance that runs it, as that one tells; null if it runs here.")

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
            instance=mask(view.instance) or None,
        )


class SendingJson(Json):
    state: SendingState
    per_minute: float | None = Field(description="Messages a minute at present; null: no limit.")
    paused_until: int | None = Field(description="When the pause, the ban or the restriction ends; null if none.")
    reason: str

    @classmethod
    def of(cls, view: SendingView) -> SendingJson:
        return cls(
            state=view.state,
            per_minute=view.per_minute,
            paused_until=unix_ms(view.until) if view.until else None,
            reason=view.reason,
        )


class AccountLeaseJson(Json):
    """Which of several instances runs the account."""

    holder: str | None = Field(description="The instance's id; null while nobody runs it.")
    holder_name: str
    mine: bool = Field(description="Whether it is this instance.")
    generation: int = Field(description="Grows with every change of the holder.")
    since: int | None

    @classmethod
    def of(cls, lease: LeaseView) -> AccountLeaseJson:
        return cls(
            holder=lease.holder or None,
            holder_name=mask(lease.holder_name),
            mine=lease.mine,
            generation=lease.generation,
            since=unix_ms(lease.since) if lease.since else None,
        )


class AccountJson(Json):
    id: str
    name: str
    phone: str
    status: AccountStatus
    created_at: int
    slots: list[SlotJson]
    sending: SendingJson
    lease: AccountLeaseJson | None = Field(description="Who runs it; null where there is only one instance.")

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
            sending=SendingJson.of(view.sending),
            lease=AccountLeaseJson.of(view.lease) if view.lease else None,
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


class LibraryJson(Json):
    name: str
    version: str
    released: int = Field(description="The day of the protocol code inside.")
    age_days: int


class ProblemJson(Json):
    key: str
    words: str
    next_step: str
    since: int
    until: int | None = Field(description="Its end; null if none is known.")


class SurvivalJson(Json):
    """What endangers the account as a whole, beyond what a second device can help."""

    restricted_until: int | None = Field(description="The end of the number's ban.")
    logins_last_hour: int = Field(description="Of both devices, tries included.")
    phone_last_seen_at: int | None = Field(
        description="When the number's own phone last did something, as far as we were told; null if never yet."
    )
    phone_unseen_days: int = Field(
        description="Whole days since, or since they are counted. After 14 WhatsApp unlinks every device."
    )
    library: LibraryJson
    problems: list[ProblemJson]

    @classmethod
    def of(cls, view: AccountView, now: float) -> SurvivalJson:
        until = survival.restricted_until(view)
        seen_at = view.phone.seen_at if view.phone else None
        age = int((now - LIBRARY.released) // survival.DAY)
        return cls(
            restricted_until=None if until is None else unix_ms(until),
            logins_last_hour=sum(slot.logins for slot in view.slots),
            phone_last_seen_at=None if seen_at is None else unix_ms(seen_at),
            phone_unseen_days=survival.phone_unseen_days(view, now),
            library=LibraryJson(
                name=LIBRARY.name, version=LIBRARY.version, released=unix_ms(LIBRARY.released), age_days=age
            ),
            problems=[
                ProblemJson(
                    key=problem.reason.key,
                    words=mask(problem.reason.words),
                    next_step=problem.reason.next_step,
                    since=unix_ms(problem.since),
                    until=unix_ms(problem.until) if problem.until else None,
                )
                for problem in survival.problems(view, LIBRARY.released, now)
            ],
        )


class AccountDetailJson(AccountJson):
    since: int | None = Field(description="Since when it is online, or out; null when neither is known.")
    outage: OutageJson | None = Field(description="The outage it is in.")
    outages: list[OutageJson] = Field(description="The last outages, newest first, the lasting one included.")
    survival: SurvivalJson

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
            survival=SurvivalJson.of(view, now),
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
