"""Messages on their way out: accepted, followed, cancelled, and settled when their fate stays unknown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from tandem.api.context import Access, Context, caller_of, context_of
from tandem.api.endpoint import Answer, Endpoint, Parameter
from tandem.api.inputs import account_of, body_of, chat_of, choice_of, idempotency_key_of, limit_of, read_chat
from tandem.api.outgoing_inputs import ReadBody, SendBody
from tandem.api.outgoing_views import OutboxAnswer, OutboxJson, OutboxPage, SendAnswer
from tandem.api.respond import answer
from tandem.errors import Conflict, NotFound, Rejected, StoreUnavailable
from tandem.model.ids import LID_SERVER, USER_SERVER, AccountId, ChatId
from tandem.model.outbox import Content, MarkRead, OutboxRow, Reaction, Reply, Revoke, Target, Text, Wanted
from tandem.model.states import AccountStatus, OutboxState
from tandem.model.views import AccountView

_MOST = 1000
_LONGEST_ID = 100
_QUOTED = 1024  # characters of a quoted message that a phone may show
_PEOPLE = (f"@{USER_SERVER}", f"@{LID_SERVER}")
_PLACE = re.compile(r"[1-9]\d{0,17}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9a-f]{16}")


async def send(request: web.Request) -> web.Response:
    """The message is on disk when this answers 202; with a used ``Idempotency-Key`` it is the one sent before."""
    context, account = context_of(request), account_of(request)
    chat, key_text = chat_of(request), idempotency_key_of(request)
    view = context.parts.accounts.get(account)
    body = await body_of(request, SendBody)
    key = body.key(key_text, chat)
    earlier = await context.parts.outgoing.repeated(account, key) if key else None
    if earlier is not None:
        return _accepted(earlier, view, new=False)
    row, new = await context.parts.outgoing.accept(
        account,
        chat,
        await _content(context, account, chat, body),
        key,
        expires_in=body.expires_in_seconds,
        if_unknown=body.if_unknown,
    )
    return _accepted(row, view, new=new)


async def mark_read(request: web.Request) -> web.Response:
    """Tell the writers of messages that they were read. Doing it again changes nothing."""
    context, account, chat = context_of(request), account_of(request), chat_of(request)
    view = context.parts.accounts.get(account)
    body = await body_of(request, ReadBody)
    targets = tuple([await _read(context, account, chat, each) for each in dict.fromkeys(body.message_ids)])
    row, new = await context.parts.outgoing.accept(account, chat, MarkRead(targets))
    return _accepted(row, view, new=new)


async def _content(context: Context, account: AccountId, chat: ChatId, body: SendBody) -> Content:
    if body.reaction is not None:
        target = await _target(context, account, chat, body.reaction.message_id)
        named = Target(target.message_id, target.author, target.from_me)
        return Reaction(body.reaction.emoji, named, int(context.clock.now() * 1000))
    if body.revoke is not None:
        target = await _target(context, account, chat, body.revoke.message_id)
        if not target.from_me:
            raise Rejected("revoke: only a message of this account can be taken back")
        return Revoke(target.message_id)
    text = body.message or ""
    return Text(text) if body.reply_to is None else Reply(text, await _target(context, account, chat, body.reply_to))


async def _read(context: Context, account: AccountId, chat: ChatId, message_id: str) -> Target:
    """In a direct chat there is one other writer; in a group the message tells."""
    if chat.endswith(_PEOPLE):
        return Target(message_id, chat)
    target = await _target(context, account, chat, message_id)
    if target.from_me:
        raise Rejected("messageIds: own messages need no read mark")
    return Target(message_id, target.author)


async def _target(context: Context, account: AccountId, chat: ChatId, message_id: str) -> Target:
    """Return the message of that id in the chat. Raises NotFound, and Conflict if several members chose the same."""
    found = list(await context.parts.outgoing.known(account, chat, message_id))
    if not found:
        found = await _stored(context, account, chat, message_id)
    if not found:
        raise NotFound("this chat has no message with that id; GET /api/whatsapp/messages/… lists the ids")
    if len(found) > 1:
        raise Conflict("several messages of this chat have that id")
    target = found[0]
    return Target(target.message_id, target.author, target.from_me, target.text[:_QUOTED])


async def _stored(context: Context, account: AccountId, chat: ChatId, message_id: str) -> list[Target]:
    try:
        async with asyncio.timeout(context.settings.writer.deadline):
            found = await context.store.find(account, chat, message_id)
    except TimeoutError:
        raise StoreUnavailable("the store, which knows that message, does not answer", 5.0) from None
    messages = (stored.message for stored in found)
    return [Target(message_id, message.sender, message.from_me, message.text) for message in messages]


def _accepted(row: OutboxRow, view: AccountView, *, new: bool) -> web.Response:
    result = SendAnswer(
        id=row.id,
        status=row.state,
        account_status=view.status,
        online=view.status in {AccountStatus.ONLINE, AccountStatus.DEGRADED},
        note=_note(row, view.status),
        idempotent=not new,
    )
    return answer(result, status=202, headers={"Location": f"/api/whatsapp/outbox/{row.id}"})


def _note(row: OutboxRow, status: AccountStatus) -> str | None:
    if row.state is not OutboxState.QUEUED:
        return None
    if status is AccountStatus.UNPAIRED:
        return "the account is not paired yet; the message goes out once it is, or expires"
    if status is AccountStatus.OFFLINE:
        return "the account is offline; the message goes out when it is back, or expires"
    return None


async def get_outbox(request: web.Request) -> web.Response:
    row = await context_of(request).parts.outgoing.get(_id_of(request))
    return answer(OutboxAnswer.of(row, full=caller_of(request).admin))


async def list_outbox(request: web.Request) -> web.Response:
    limit, full = limit_of(request, 100, _MOST), caller_of(request).admin
    rows, place = await context_of(request).parts.outgoing.page(_wanted(request), limit)
    messages = [OutboxJson.of(row, full=full) for row in rows]
    return answer(OutboxPage(messages=messages, next=None if place is None else str(place)))


def _wanted(request: web.Request) -> Wanted:
    account, chat, cursor = (request.query.get(name) for name in ("account", "chat", "cursor"))
    if account is not None and not _ACCOUNT.fullmatch(account):
        raise Rejected("account: give an account's id; GET /api/whatsapp/accounts lists them")
    if cursor is not None and not _PLACE.fullmatch(cursor):
        raise Rejected("cursor: give what the last page answered as its next, unchanged")
    return Wanted(
        account=AccountId(account) if account else None,
        state=choice_of(request, "state", OutboxState),
        chat=read_chat(chat) if chat is not None else None,
        before=int(cursor) if cursor else None,
    )


async def cancel_message(request: web.Request) -> web.Response:
    """Only while it is queued: what is on its way cannot be called back, but a message that was sent can be revoked."""
    return await _act(request, context_of(request).parts.outgoing.cancel)


async def resend_message(request: web.Request) -> web.Response:
    """The operator takes it upon himself that it may arrive twice."""
    return await _act(request, context_of(request).parts.outgoing.resend)


async def give_up_message(request: web.Request) -> web.Response:
    return await _act(request, context_of(request).parts.outgoing.give_up)


async def _act(request: web.Request, act: Callable[[str], Awaitable[OutboxRow]]) -> web.Response:
    """Only whoever runs the account knows whether a message is on its way already."""
    parts, outbox_id = context_of(request).parts, _id_of(request)
    if parts.cluster.shared():
        parts.cluster.require((await parts.outgoing.get(outbox_id)).account)
    return answer(OutboxAnswer.of(await act(outbox_id), full=caller_of(request).admin))


def _id_of(request: web.Request) -> str:
    outbox_id = request.match_info["outbox"]
    if len(outbox_id) > _LONGEST_ID:
        raise NotFound("no such message; the id is the one that the send answered with")
    return outbox_id


_KEY = Parameter("Idempotency-Key", "The same key sends the same message only once.", place="header")
_STATES = {"type": "string", "enum": [str(state) for state in OutboxState]}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/whatsapp/send/{account}/{chat}",
        send,
        Access.ADMIN,
        "Send a text, a reply, a reaction or a revoke. The chat is a phone number, an address or a group's id.",
        {202: Answer("Committed to the outbox; ``Location`` tells where to follow it.", SendAnswer)},
        body=SendBody,
        parameters=(_KEY,),
        errors=(400, 404, 409, 413, 429, 503),
    ),
    Endpoint(
        "POST",
        "/api/whatsapp/messages/{account}/{chat}/read",
        mark_read,
        Access.ADMIN,
        "Mark messages of a chat as read.",
        {202: Answer("Committed to the outbox; ``Location`` tells where to follow it.", SendAnswer)},
        body=ReadBody,
        errors=(400, 404, 409, 413, 429, 503),
    ),
    Endpoint(
        "GET",
        "/api/whatsapp/outbox",
        list_outbox,
        Access.READ,
        "Messages that were accepted for sending, newest first.",
        {200: Answer("A page of them.", OutboxPage)},
        parameters=(
            Parameter("account", "Only this account's."),
            Parameter("state", "Only those in this state.", _STATES),
            Parameter("chat", "Only those to this chat."),
            Parameter("limit", f"Most entries, up to {_MOST}.", {"type": "integer", "minimum": 1}),
            Parameter("cursor", "The ``next`` of the page before."),
        ),
        errors=(400, 503),
    ),
    Endpoint(
        "GET",
        "/api/whatsapp/outbox/{outbox}",
        get_outbox,
        Access.READ,
        "What became of a message that was sent.",
        {200: Answer("Its state.", OutboxAnswer)},
        errors=(404, 503),
    ),
    Endpoint(
        "DELETE",
        "/api/whatsapp/outbox/{outbox}",
        cancel_message,
        Access.ADMIN,
        "Cancel a message that is queued.",
        {200: Answer("It will not be sent.", OutboxAnswer)},
        errors=(404, 409, 503),
    ),
    Endpoint(
        "POST",
        "/api/whatsapp/outbox/{outbox}/resend",
        resend_message,
        Access.ADMIN,
        "Send a message again whose fate is unknown. It may arrive twice.",
        {200: Answer("It is queued again.", OutboxAnswer)},
        errors=(404, 409, 503),
    ),
    Endpoint(
        "POST",
        "/api/whatsapp/outbox/{outbox}/cancel",
        give_up_message,
        Access.ADMIN,
        "Never send a message again whose fate is unknown.",
        {200: Answer("It is settled, unless a receipt still comes.", OutboxAnswer)},
        errors=(404, 409, 503),
    ),
)
