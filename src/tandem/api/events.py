"""What happened: as a list, and live as server-sent events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

from aiohttp import web

from tandem.api.context import Access, Context, caller_of, context_of
from tandem.api.endpoint import Answer, Endpoint, Parameter
from tandem.api.inputs import choice_of, limit_of
from tandem.api.ports import Subscription
from tandem.api.respond import answer, json_of
from tandem.api.views import EventJson, EventsAnswer
from tandem.errors import Overloaded, Rejected
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId

_MOST = 1000
_MOST_STREAMS = 64
_SILENCE = 15.0  # seconds after which a comment shows that the stream lives
_RETRY = 2000  # milliseconds a browser waits before it comes back
Matches = Callable[[Event], bool]
STREAMS: web.AppKey[set[asyncio.Task[object]]] = web.AppKey("streams")


async def list_events(request: web.Request) -> web.Response:
    kind, account = _filter(request)
    found = context_of(request).parts.events.recent(limit_of(request, 100, _MOST), kind, account)
    return answer(EventsAnswer(events=[EventJson.of(event) for event in found]))


def _filter(request: web.Request) -> tuple[EventType | None, AccountId | None]:
    account = request.query.get("account")
    if account is not None and not re.fullmatch(r"[0-9a-f]{16}", account):
        raise Rejected("account: give an account's id; GET /api/whatsapp/accounts lists them")
    return choice_of(request, "type", EventType), AccountId(account) if account else None


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Events as they happen. A client that comes back with ``Last-Event-ID`` first gets what it missed."""
    kind, account = _filter(request)
    streams = request.app[STREAMS]
    if len(streams) >= _MOST_STREAMS:
        raise Overloaded(f"{_MOST_STREAMS} event streams are open, the most there may be: close one", 5.0)
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a handler runs in a task
    streams.add(task)
    try:
        return await _stream(request, lambda event: kind in {None, event.type} and account in {None, event.account})
    finally:
        streams.discard(task)


async def end_streams(app: web.Application) -> None:
    """Send the readers home; they would stay for ever."""
    open_streams = app[STREAMS]
    streams = set(open_streams)
    for task in streams:
        task.cancel()
    if streams:
        await asyncio.wait(streams, timeout=1.0)


async def _stream(request: web.Request, matches: Matches) -> web.StreamResponse:
    context = context_of(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    with context.parts.events.subscribe() as subscription:
        missed = context.parts.events.after(request.headers.get("Last-Event-ID", ""))
        await response.prepare(request)
        await response.write(f"retry: {_RETRY}\n\n".encode() + _written(missed, matches))
        await _follow(request, response, subscription, matches)
    return response


async def _follow(
    request: web.Request, response: web.StreamResponse, subscription: Subscription, matches: Matches
) -> None:
    """Write events until the client or the daemon has had enough. A client that does not read blocks only itself."""
    while not subscription.closed and _still_allowed(context_of(request), request):
        events = await subscription.next(_SILENCE)
        dropped = subscription.take_dropped()
        lag = f"event: lag\ndata: {dropped}\n\n".encode() if dropped else b""
        try:
            await response.write(lag + _written(events, matches) or b": alive\n\n")
        except (ConnectionError, RuntimeError):
            return


def _still_allowed(context: Context, request: web.Request) -> bool:
    session = caller_of(request).session
    return not session or context.sessions.get(session) is not None


def _written(events: Sequence[Event], matches: Matches) -> bytes:
    return b"".join(
        f"id: {event.id}\ndata: {json_of(EventJson.of(event))}\n\n".encode() for event in events if matches(event)
    )


_FILTERS = (
    Parameter("type", "Only events of this type.", {"enum": [str(kind) for kind in EventType]}),
    Parameter("account", "Only events of this account."),
)

ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/events",
        list_events,
        Access.READ,
        "What happened lately, newest first.",
        {200: Answer("The events.", EventsAnswer)},
        parameters=(Parameter("limit", f"Most entries, up to {_MOST}.", {"type": "integer", "minimum": 1}), *_FILTERS),
        errors=(400,),
    ),
    Endpoint(
        "GET",
        "/api/events/stream",
        stream_events,
        Access.READ,
        "What happens, as it happens. After ``event: lag`` some were lost: list them.",
        {200: Answer("Server-sent events; each ``data`` is one event's JSON.", ("text/event-stream",))},
        parameters=(
            *_FILTERS,
            Parameter("Last-Event-ID", "The last one seen, to get what was missed.", place="header"),
        ),
        errors=(400, 429),
    ),
)
