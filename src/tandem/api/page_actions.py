"""What the pages' buttons do: plain forms, so that they work without JavaScript, which only spares the reload.

A form must bring its session's token, wherever the browser's other protections stand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from tandem.api.accounts import add, forget, move_role
from tandem.api.auth import check_csrf
from tandem.api.cluster import hand_over
from tandem.api.context import Access, Context, caller_of, context_of
from tandem.api.endpoint import Endpoint, Handler
from tandem.api.inputs import account_of
from tandem.api.page_frame import HTML, csrf_of, go, told, wants_json
from tandem.api.problems import Refused
from tandem.errors import Rejected, TandemError
from tandem.model.ids import AccountId
from tandem.model.states import Role, Slot
from tandem.model.views import PairMethod

_NAME_LENGTH = 100
_INSTANCES = "/instances"


@dataclass(frozen=True, slots=True)
class Done:
    """What to say, and which page shows it; without ``where`` the one that the button is on."""

    words: str
    where: str = ""


Form = Mapping[str, str]
Act = Callable[[web.Request, Context, Form], Awaitable[Done]]


async def _add(_request: web.Request, context: Context, form: Form) -> Done:
    name = form.get("name", "").strip()
    if len(name) > _NAME_LENGTH:
        raise Rejected(f"name: at most {_NAME_LENGTH} characters")
    view, new = await add(context, name, form.get("phone", ""))
    where = f"/accounts/{view.account.id}"
    return Done("Account added." if new else f"That number is here already: {view.account.name}.", where)


async def _pair(request: web.Request, context: Context, form: Form) -> Done:
    slot = _slot(form)
    method = PairMethod.CODE if form.get("method") == "code" else PairMethod.QR
    await context.parts.accounts.pair(account_of(request), slot, method)
    return Done(f"Pairing the {slot}.", f"/accounts/{account_of(request)}")


async def _cancel(request: web.Request, context: Context, form: Form) -> Done:
    await context.parts.accounts.cancel_pairing(account_of(request), _slot(form))
    return Done("Pairing cancelled.")


async def _switch(request: web.Request, context: Context, _form: Form) -> Done:
    view = await move_role(context, account_of(request))
    active = next((slot.slot for slot in view.slots if slot.role is Role.ACTIVE), None)
    return Done(f"{view.account.name}: the {active or 'other'} device sends now.")


async def _restart(request: web.Request, context: Context, form: Form) -> Done:
    slot = _slot(form)
    await context.parts.accounts.restart(account_of(request), slot)
    return Done(f"The {slot} is started afresh.")


async def _remove(request: web.Request, context: Context, form: Form) -> Done:
    account = context.parts.accounts.get(account_of(request)).account
    if form.get("name", "").strip() != account.name:
        raise Rejected("type the account's name exactly as it stands above; nothing was removed")
    await forget(context, account.id)
    return Done(f"{account.name} was removed.", "/")


async def _move(_request: web.Request, context: Context, form: Form) -> Done:
    account = AccountId(form.get("account", ""))
    name = context.parts.accounts.get(account).account.name
    lease = await hand_over(context, account, form.get("to", "").strip())
    return Done(f"{name} goes to {lease.holder_name or 'another instance'}.", _INSTANCES)


async def _drain(_request: web.Request, context: Context, form: Form) -> Done:
    wanted = form.get("on")
    if wanted not in {"true", "false"}:
        raise Rejected("on: true or false")
    await context.parts.cluster.drain(wanted == "true")
    words = "This instance hands its accounts over." if wanted == "true" else "This instance takes part again."
    return Done(words, _INSTANCES)


def _slot(form: Form) -> Slot:
    for slot in Slot:
        if form.get("slot") == slot.value:
            return slot
    raise Rejected("slot: primary or backup")


def _handler(act: Act) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        context = context_of(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        try:
            check_csrf(form.get("csrf", ""), csrf_of(context, caller_of(request).session))
            done = await act(request, context, form)
        except (TandemError, Refused) as error:
            if wants_json(request):
                raise
            return told(request, error)
        if wants_json(request):
            return web.json_response({"success": True, "words": done.words, "where": done.where})
        account = request.match_info.get("account", "")
        return go(done.where or f"/accounts/{account}")

    return handle


def _endpoint(path: str, act: Act, summary: str) -> Endpoint:
    return Endpoint("POST", path, _handler(act), Access.ADMIN, summary, HTML, page=True)


ENDPOINTS = (
    _endpoint("/accounts", _add, "Add an account."),
    _endpoint("/accounts/{account}/pair", _pair, "Start linking a device."),
    _endpoint("/accounts/{account}/cancel", _cancel, "Cancel a pairing."),
    _endpoint("/accounts/{account}/switch", _switch, "Move the active role."),
    _endpoint("/accounts/{account}/restart", _restart, "Start a slot afresh."),
    _endpoint("/accounts/{account}/remove", _remove, "Log out both devices and forget the account."),
    _endpoint(f"{_INSTANCES}/move", _move, "Let another instance run an account."),
    _endpoint(f"{_INSTANCES}/drain", _drain, "Let other instances run every account of this one, or take part again."),
)
