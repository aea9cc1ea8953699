"""Accounts: add, list, pair, switch, remove."""

from __future__ import annotations

from aiohttp import web

from tandem.api.account_views import (
    AccountAnswer,
    AccountDetailAnswer,
    AccountDetailJson,
    AccountJson,
    AccountsAnswer,
    AddedAnswer,
    PairingAnswer,
    PairingJson,
)
from tandem.api.context import Access, Context, caller_of, context_of
from tandem.api.endpoint import Answer, Endpoint, Parameter
from tandem.api.inputs import AddAccountBody, PairBody, RestartBody, account_of, body_of, choice_of, number_of
from tandem.api.respond import answer
from tandem.api.views import Done
from tandem.errors import Conflict
from tandem.model.ids import AccountId, Number, account_id
from tandem.model.states import Slot
from tandem.model.views import AccountView


async def add_account(request: web.Request) -> web.Response:
    """Adding the same number again, however written, answers with the same account."""
    body = await body_of(request, AddAccountBody)
    view, new = await add(context_of(request), body.name, body.phone)
    return answer(AddedAnswer(account=AccountJson.of(view, full=True), idempotent=not new))


async def add(context: Context, name: str, phone: str) -> tuple[AccountView, bool]:
    """Add an account, or return the one of that number and False. Raises Rejected, Conflict, InstancePassive."""
    number = number_of(phone)
    _refuse_one_too_many(context, number)
    return await context.parts.accounts.add(name or f"Account …{number[-2:]}", number)


def _refuse_one_too_many(context: Context, number: Number) -> None:
    known = [view.account.id for view in context.parts.accounts.list()]
    most = context.settings.api.max_accounts
    if account_id(number) not in known and len(known) >= most:
        raise Conflict(f"there are {most} accounts already, the most allowed; raise TANDEM_API__MAX_ACCOUNTS")


async def list_accounts(request: web.Request) -> web.Response:
    full = caller_of(request).admin
    views = context_of(request).parts.accounts.list()
    return answer(AccountsAnswer(accounts=[AccountJson.of(view, full=full) for view in views]))


async def get_account(request: web.Request) -> web.Response:
    context = context_of(request)
    view = context.parts.accounts.get(account_of(request))
    outages = context.parts.outages(view.account.id)
    full = caller_of(request).admin
    return answer(AccountDetailAnswer(account=AccountDetailJson.detail(view, outages, context.clock.now(), full=full)))


async def pair(request: web.Request) -> web.Response:
    """202 when it started, 200 when it was under way."""
    accounts = context_of(request).parts.accounts
    account = account_of(request)
    body = await body_of(request, PairBody, optional=True)
    slot = body.slot or _first_unpaired(accounts.get(account))
    pairing, new = await accounts.pair(account, slot, body.method)
    return answer(PairingAnswer(pairing=PairingJson.of(pairing), idempotent=not new), status=202 if new else 200)


def _first_unpaired(view: AccountView) -> Slot:
    return Slot.PRIMARY if not view.slot(Slot.PRIMARY).device else Slot.BACKUP


async def cancel_pairing(request: web.Request) -> web.Response:
    accounts = context_of(request).parts.accounts
    account = account_of(request)
    slot = choice_of(request, "slot", Slot) or _being_paired(accounts.get(account))
    return answer(AccountAnswer(account=AccountJson.of(await accounts.cancel_pairing(account, slot), full=True)))


def _being_paired(view: AccountView) -> Slot:
    return next((slot.slot for slot in view.slots if slot.pairing), Slot.PRIMARY)


async def switch(request: web.Request) -> web.Response:
    view = await move_role(context_of(request), account_of(request))
    return answer(AccountAnswer(account=AccountJson.of(view, full=True)))


async def move_role(context: Context, account: AccountId) -> AccountView:
    """Let the other slot send. Raises NotFound, Conflict, InstancePassive."""
    context.parts.cluster.require(account)
    return await context.parts.accounts.switch(account)


async def restart(request: web.Request) -> web.Response:
    account, body = account_of(request), await body_of(request, RestartBody)
    view = await context_of(request).parts.accounts.restart(account, body.slot)
    return answer(AccountAnswer(account=AccountJson.of(view, full=True)))


async def remove(request: web.Request) -> web.Response:
    await forget(context_of(request), account_of(request))
    return answer(Done())


async def forget(context: Context, account: AccountId) -> None:
    """Remove an account. Raises NotFound, InstancePassive."""
    context.parts.cluster.require(account)
    await context.parts.accounts.remove(account)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/whatsapp/add-account",
        add_account,
        Access.ADMIN,
        "Add an account and start pairing its primary.",
        {200: Answer("The account; the same number is always the same account.", AddedAnswer)},
        body=AddAccountBody,
        errors=(400, 409, 413, 503),
    ),
    Endpoint(
        "GET",
        "/api/whatsapp/accounts",
        list_accounts,
        Access.READ,
        "All accounts with both their slots.",
        {200: Answer("The accounts.", AccountsAnswer)},
    ),
    Endpoint(
        "GET",
        "/api/whatsapp/account/{account}",
        get_account,
        Access.READ,
        "One account, with its last outages.",
        {200: Answer("The account.", AccountDetailAnswer)},
        errors=(404,),
    ),
    Endpoint(
        "POST",
        "/api/whatsapp/account/{account}/pair",
        pair,
        Access.ADMIN,
        "Start linking a device to a slot.",
        {202: Answer("Started.", PairingAnswer), 200: Answer("Was under way.", PairingAnswer)},
        body=PairBody,
        errors=(400, 404, 409, 413, 429),
    ),
    Endpoint(
        "DELETE",
        "/api/whatsapp/account/{account}/pair",
        cancel_pairing,
        Access.ADMIN,
        "Cancel a pairing under way.",
        {200: Answer("The account afterwards.", AccountAnswer)},
        parameters=(Parameter("slot", "Which slot; else the one being paired.", {"enum": [str(s) for s in Slot]}),),
        errors=(400, 404),
    ),
    Endpoint(
        "POST",
        "/api/whatsapp/account/{account}/switch",
        switch,
        Access.ADMIN,
        "Move the active role to the other slot.",
        {200: Answer("The account afterwards.", AccountAnswer)},
        errors=(404, 409, 503),
    ),
    Endpoint(
        "POST",
        "/api/whatsapp/account/{account}/restart",
        restart,
        Access.ADMIN,
        "Start a slot afresh: what brings a parked one back.",
        {200: Answer("The account afterwards.", AccountAnswer)},
        body=RestartBody,
        errors=(400, 404, 409, 413),
    ),
    Endpoint(
        "DELETE",
        "/api/whatsapp/account/{account}",
        remove,
        Access.ADMIN,
        "Log out both devices and forget the account; its conversations stay in the store.",
        {200: Answer("Done.", Done)},
        errors=(404, 503),
    ),
)
