"""The log of events: filters, paging, and the short list that other pages show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from tandem.api.context import caller_of, context_of
from tandem.api.masking import mask
from tandem.api.page_frame import page_endpoints
from tandem.api.page_words import EVENTS, ms
from tandem.api.pages_view import names_of
from tandem.api.ports import EventFeed
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId

_SHOWN = 50
_HELD = 4000  # more than the feed keeps
_SEARCHED = 400
_ROUTINE = frozenset({EventType.BATCH_SAVED, EventType.MESSAGE_SENT, EventType.PAIRING_STEP})
_LOG_ONLY = frozenset({EventType.HOST_LOG})


@dataclass(frozen=True, slots=True)
class EventRow:
    """``at`` in Unix milliseconds; ``account`` is the id to link to, empty for none or one that is gone."""

    id: str
    type: str
    tone: str
    at: int
    account: str
    name: str
    slot: str
    message: str
    reason: str


async def _values(request: web.Request) -> Mapping[str, Any]:
    parts, full = context_of(request).parts, caller_of(request).admin
    names = names_of(parts.accounts.list(), full=full)
    kind = next((each for each in EventType if each.value == request.query.get("type")), None)
    account = next((each for each in names if each == request.query.get("account")), None)
    before = request.query.get("before", "")
    found = _found(parts.events, kind, account)
    begins = next((index + 1 for index, event in enumerate(found) if event.id == before), 0)
    shown, more = found[begins : begins + _SHOWN], len(found) > begins + _SHOWN
    wanted = {"type": str(kind or ""), "account": str(account or "")}
    return {
        "here": "events",
        "title": "Events",
        "events": event_rows(shown, names),
        "types": [(str(each), words(each)) for each in EventType if each not in _LOG_ONLY],
        "accounts": sorted(names.items(), key=lambda pair: pair[1].lower()),
        "kind": wanted["type"],
        "account": wanted["account"],
        "older": _address(wanted, shown[-1].id) if more else "",
        "newest": _address(wanted) if begins else "",
    }


def _address(wanted: Mapping[str, str], before: str = "") -> str:
    query = urlencode({name: value for name, value in {**wanted, "before": before}.items() if value})
    return f"/events?{query}" if query else "/events"


def _found(feed: EventFeed, kind: EventType | None, account: AccountId | None) -> Sequence[Event]:
    held = feed.recent(_HELD, kind, account)
    return held if kind in _ROUTINE else [event for event in held if event.type not in _ROUTINE]


def latest(
    feed: EventFeed, names: Mapping[AccountId, str], limit: int, account: AccountId | None = None
) -> list[EventRow]:
    """Return the newest events worth a look, newest first."""
    found = [event for event in feed.recent(_SEARCHED, None, account) if event.type not in _ROUTINE]
    return event_rows(found[:limit], names)


def event_rows(events: Sequence[Event], names: Mapping[AccountId, str]) -> list[EventRow]:
    return [
        EventRow(
            id=event.id,
            type=words(event.type),
            tone=EVENTS.get(event.type, "idle"),
            at=ms(event.timestamp),
            account=event.account if event.account and event.account in names else "",
            name=mask(names.get(event.account, "")) if event.account else "",
            slot=str(event.slot or ""),
            message=event.message,
            reason="" if event.reason in event.message else event.reason,
        )
        for event in events
    ]


def words(kind: EventType) -> str:
    return kind.value.replace("_", " ")


ENDPOINTS = page_endpoints("/events", "events.html", _values, "What happened.")
