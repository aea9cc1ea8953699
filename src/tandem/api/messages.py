"""Conversations from the store, and messages on their way out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from aiohttp import web

from tandem.api.context import Access, Context, caller_of, context_of
from tandem.api.cursor import Cursor
from tandem.api.endpoint import Answer, Endpoint, Parameter
from tandem.api.inputs import account_of, chat_of, integer_of, limit_of
from tandem.api.message_views import ChatJson, ChatsAnswer, MessageJson, MessagesAnswer
from tandem.api.respond import answer
from tandem.errors import Rejected, StoreUnavailable
from tandem.model.ids import AccountId, ChatId
from tandem.store.port import Store, StoredMessage

_MOST = 1000
_LONGEST_ID = 100
Value = TypeVar("Value")


async def _stored(context: Context, call: Awaitable[Value]) -> Value:
    """Await a read of the store, but not for ever."""
    try:
        async with asyncio.timeout(context.settings.writer.deadline):
            return await call
    except TimeoutError:
        raise StoreUnavailable("the store does not answer; the message itself is safe in the queue", 5.0) from None


async def list_chats(request: web.Request) -> web.Response:
    context, account, full = context_of(request), account_of(request), caller_of(request).admin
    limit = limit_of(request, 100, _MOST)
    chats = await _stored(context, context.store.chats(account, limit))
    if not chats:
        context.parts.accounts.get(account)  # a removed account's conversations stay readable
    return answer(ChatsAnswer(chats=[ChatJson.of(chat, full=full) for chat in chats]))


async def list_messages(request: web.Request) -> web.Response:
    context, account, full = context_of(request), account_of(request), caller_of(request).admin
    chat, limit, place = chat_of(request), limit_of(request, 50, _MOST), _place_of(request)
    found = await _stored(context, _older(context.store, account, chat, limit + 1, place))
    if not found:
        context.parts.accounts.get(account)
    page, more = found[-limit:], len(found) > limit
    messages = [MessageJson.of(message, full=full) for message in page]
    return answer(MessagesAnswer(messages=messages, next=str(Cursor.at(page[0])) if more else None))


def _place_of(request: web.Request) -> Cursor | int | None:
    """Return where the page begins: a cursor, or a time alone."""
    before, cursor = integer_of(request, "before"), request.query.get("cursor")
    if cursor is None:
        return before
    if before is not None:
        raise Rejected("give cursor or before, not both: the cursor holds the time too")
    return Cursor.parse(cursor)


async def _older(
    store: Store, account: AccountId, chat: ChatId, limit: int, place: Cursor | int | None
) -> Sequence[StoredMessage]:
    """Return a page. If the cursor's message was deleted meanwhile its time serves: rather again than never."""
    if not isinstance(place, Cursor):
        return await store.messages(account, chat, limit, place)
    found = await store.messages(account, chat, limit, place.time, place.key)
    return found or await store.messages(account, chat, limit, place.time + 1)


_LIMIT = Parameter("limit", f"Most entries, up to {_MOST}.", {"type": "integer", "minimum": 1})

ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/whatsapp/chats/{account}",
        list_chats,
        Access.READ,
        "Chats of an account, newest first.",
        {200: Answer("The chats.", ChatsAnswer)},
        parameters=(_LIMIT,),
        errors=(400, 404, 503),
    ),
    Endpoint(
        "GET",
        "/api/whatsapp/messages/{account}/{chat}",
        list_messages,
        Access.READ,
        "Newest messages of a chat, oldest first. With each page's ``next`` as ``cursor`` every message comes once.",
        {200: Answer("The messages, and where the older ones begin.", MessagesAnswer)},
        parameters=(
            _LIMIT,
            Parameter("cursor", "The ``next`` of the page before: go on with the messages older than that page."),
            Parameter(
                "before",
                "Only messages older than this, Unix milliseconds. To page take ``cursor``: WhatsApp's times are whole "
                "seconds, and many messages share one.",
                {"type": "integer"},
            ),
        ),
        errors=(400, 404, 503),
    ),
)
