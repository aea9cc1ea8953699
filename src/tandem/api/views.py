"""The JSON shapes of the public contract. All times are whole Unix milliseconds; unknown or not reached: null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from tandem.model.event import VERSION, Event
from tandem.model.states import Slot


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
    role: str = Field(description="active or passive: whether it runs any account, among several instances.")
    accounts: AccountCounts
    shared: bool = Field(default=False, description="True when several instances share the accounts; absent otherwise.")
    region: str = Field(default="", description="Where this one is, if several share the accounts; absent otherwise.")
    emulator: bool = Field(default=False, description="True when it runs against an emulator; absent otherwise.")


class Liveness(Json):
    status: Literal["alive"] = "alive"


class Readiness(Json):
    ready: bool
    reason: str | None = Field(description="Why it is not ready, in words.")
    role: str = Field(
        default="", description="passive while another Tandem still runs on the data directory; absent otherwise."
    )


class PendingAnswer(Done):
    status: Literal["pending"] = "pending"
    detail: str


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
    holder: str = Field(
        default="", description="With instance_passive: the instance that runs the account. Absent otherwise."
    )
    holder_url: str = Field(
        default="", alias="holderUrl", description="Where that one's API is, if it said so. Absent otherwise."
    )


def summary_of(figures: Mapping[str, object]) -> Summary:
    return Summary.model_validate(figures)


def unix_ms(seconds: float) -> int:
    """Return Unix seconds as whole milliseconds."""
    return round(seconds * 1000)
