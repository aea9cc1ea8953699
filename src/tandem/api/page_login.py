"""Logging in with a token, and out again."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from tandem.api.auth import COOKIE, access_of, check_csrf
from tandem.api.context import Access, caller_of, context_of
from tandem.api.endpoint import Endpoint
from tandem.api.page_frame import HTML, cookie, csrf_of, go, remember, render

_LOGIN_COOKIE = "tandem_login"


async def login_page(request: web.Request) -> web.StreamResponse:
    if caller_of(request).access is not Access.NONE:
        return go("/")
    return _form(request, wrong=False)


async def login(request: web.Request) -> web.StreamResponse:
    """Trade a token for a session. The form's own token must equal its cookie's: no other site can fill it in."""
    context, form = context_of(request), await request.post()
    check_csrf(str(form.get("csrf", "")), request.cookies.get(_LOGIN_COOKIE, "") or context.random.token())
    access = access_of(str(form.get("token", "")).strip(), context)
    if access is Access.NONE:
        return _form(request, wrong=True)
    response = go("/")
    context.sessions.close(request.cookies.get(COOKIE, ""))
    remember(request, response, context.sessions.open(admin=access is Access.ADMIN))
    response.del_cookie(_LOGIN_COOKIE, path="/login")
    return response


async def logout(request: web.Request) -> web.Response:
    context, session_id = context_of(request), caller_of(request).session
    form = await request.post()
    if session_id:
        check_csrf(str(form.get("csrf", "")), csrf_of(context, session_id))
        context.sessions.close(session_id)
    response = go("/login")
    response.del_cookie(COOKIE, path="/")
    return response


def _form(request: web.Request, *, wrong: bool) -> web.Response:
    csrf = context_of(request).random.token()
    response = render(request, "login.html", csrf=csrf, wrong=wrong)
    response.set_status(HTTPStatus.UNAUTHORIZED if wrong else HTTPStatus.OK)
    cookie(request, response, _LOGIN_COOKIE, csrf, "/login")
    return response


ENDPOINTS = (
    Endpoint("GET", "/login", login_page, Access.NONE, "The login page.", HTML, page=True),
    Endpoint("POST", "/login", login, Access.NONE, "Log in with a token.", HTML, page=True),
    Endpoint("POST", "/logout", logout, Access.NONE, "End the session.", HTML, page=True),
)
