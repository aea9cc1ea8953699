"""The dashboard: pages rendered here, kept live by fetching the same parts again whenever something happened."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.resources import files

from aiohttp import web
from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

from tandem.api.auth import COOKIE, access_of, check_csrf
from tandem.api.context import Access, Context, caller_of, context_of
from tandem.api.endpoint import Answer, Endpoint
from tandem.api.pages_view import account_cards, event_rows, headline
from tandem.api.problems import Refused
from tandem.api.respond import answer
from tandem.api.views import ServiceStatus, summary_of

_LOGIN_COOKIE = "tandem_login"
_EVENTS_SHOWN = 40
_EVENTS_SEARCHED = 400
_FOLDER = files("tandem.api") / "dashboard"
_STATIC = {
    "/dashboard/app.css": "text/css",
    "/dashboard/app.js": "text/javascript",
    "/dashboard/icon.svg": "image/svg+xml",
}


def _load(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


_pages = Environment(
    loader=FunctionLoader(_load),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


async def home(request: web.Request) -> web.StreamResponse:
    """The dashboard; for ``Accept: application/json`` the status that the system before this one gave."""
    context, caller = context_of(request), caller_of(request)
    if _wants_json(request):
        return _status(context, caller.access)
    if caller.access is Access.NONE:
        return _go("/login")
    session_id = caller.session or context.sessions.open(admin=caller.admin)
    response = _page("home.html", **_live(request, context), csrf=_csrf(context, session_id))
    if not caller.session:
        _remember(request, response, session_id)
    return response


async def live(request: web.Request) -> web.Response:
    """The parts of the page that change."""
    return _page("live.html", **_live(request, context_of(request)))


async def login_page(request: web.Request) -> web.StreamResponse:
    if caller_of(request).access is not Access.NONE:
        return _go("/")
    return _login(request, wrong=False)


async def login(request: web.Request) -> web.StreamResponse:
    """Trade a token for a session. The form's own token must equal its cookie's: no other site can fill it in."""
    context, form = context_of(request), await request.post()
    check_csrf(str(form.get("csrf", "")), request.cookies.get(_LOGIN_COOKIE, "") or context.random.token())
    access = access_of(str(form.get("token", "")).strip(), context)
    if access is Access.NONE:
        return _login(request, wrong=True)
    response = _go("/")
    context.sessions.close(request.cookies.get(COOKIE, ""))
    _remember(request, response, context.sessions.open(admin=access is Access.ADMIN))
    response.del_cookie(_LOGIN_COOKIE, path="/login")
    return response


async def logout(request: web.Request) -> web.Response:
    context, session_id = context_of(request), caller_of(request).session
    form = await request.post()
    if session_id:
        check_csrf(str(form.get("csrf", "")), _csrf(context, session_id))
        context.sessions.close(session_id)
    response = _go("/login")
    response.del_cookie(COOKIE, path="/")
    return response


async def static(request: web.Request) -> web.Response:
    """Serve one of our own files, asked for anew each time but sent only when it changed."""
    name = request.path.rpartition("/")[2]
    text, tag = _FILES[name]
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(text=text, content_type=_STATIC[request.path], headers=headers)


_FILES = {
    path.rpartition("/")[2]: (text, hmac.digest(b"", text.encode(), "sha256").hex()[:16])
    for path, text in ((path, _load(path.rpartition("/")[2])) for path in _STATIC)
}


def _live(request: web.Request, context: Context) -> dict[str, object]:
    parts, caller = context.parts, caller_of(request)
    views = parts.accounts.list()
    text, tone = headline(views)
    names = {view.account.id: view.account.name for view in views}
    return {
        "accounts": account_cards(views, parts.figures, full=caller.admin),
        "headline": text,
        "tone": tone,
        "events": event_rows(parts.events.recent(_EVENTS_SEARCHED), names)[:_EVENTS_SHOWN],
        "not_ready": parts.readiness() or "",
        "admin": caller.admin,
        "locked": context.settings.api_token is not None,
        "emulator": context.settings.emulator or "",
        "about": parts.about,
        "now": round(context.clock.now() * 1000),
    }


def _go(where: str) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": where})


def _page(template: str, **values: object) -> web.Response:
    return web.Response(text=_pages.get_template(template).render(values), content_type="text/html")


def _status(context: Context, access: Access) -> web.Response:
    if access is Access.NONE:
        raise Refused(401, "unauthorized", "a token is needed: send it as 'Authorization: Bearer …'")
    parts = context.parts
    summary = summary_of(parts.figures.summary())
    return answer(
        ServiceStatus(
            version=parts.about.version,
            accounts=summary.accounts,
            connected=sum(view.status.number > 1 for view in parts.accounts.list()),
            metrics=summary,
            region=parts.about.region,
            timestamp=datetime.fromtimestamp(context.clock.now(), UTC).isoformat(timespec="milliseconds"),
        )
    )


def _login(request: web.Request, *, wrong: bool) -> web.Response:
    csrf = context_of(request).random.token()
    response = _page("login.html", csrf=csrf, wrong=wrong)
    response.set_status(HTTPStatus.UNAUTHORIZED if wrong else HTTPStatus.OK)
    _cookie(request, response, _LOGIN_COOKIE, csrf, "/login")
    return response


def _csrf(context: Context, session_id: str) -> str:
    session = context.sessions.get(session_id)
    return session.csrf if session else ""


def _remember(request: web.Request, response: web.Response, session_id: str) -> None:
    _cookie(request, response, COOKIE, session_id, "/")


def _cookie(request: web.Request, response: web.Response, name: str, value: str, path: str) -> None:
    secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
    response.set_cookie(name, value, path=path, httponly=True, samesite="Strict", secure=secure)


def _wants_json(request: web.Request) -> bool:
    accept = request.headers.get("Accept", "").lower()
    return "application/json" in accept and "text/html" not in accept


_HTML = {200: Answer("The page.", ("text/html",))}

ENDPOINTS = (
    Endpoint(
        "GET",
        "/",
        home,
        Access.NONE,
        "The dashboard; with ``Accept: application/json`` a short status.",
        {200: Answer("The page, or ServiceStatus in JSON.", ("text/html", "application/json"))},
    ),
    Endpoint("GET", "/login", login_page, Access.NONE, "The login page.", _HTML, page=True),
    Endpoint("POST", "/login", login, Access.NONE, "Log in with a token.", _HTML, page=True),
    Endpoint("POST", "/logout", logout, Access.NONE, "End the session.", _HTML, page=True),
    Endpoint("GET", "/dashboard/live", live, Access.READ, "What changes.", _HTML, page=True, quiet=True),
    *(Endpoint("GET", path, static, Access.NONE, "A file.", page=True, quiet=True) for path in _STATIC),
)
