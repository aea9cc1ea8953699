"""What all pages share: the templates, the frame around a page, its session and its errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from aiohttp import web
from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

from tandem.api.auth import COOKIE
from tandem.api.context import Access, Context, caller_of, context_of
from tandem.api.endpoint import Answer, Endpoint, Handler
from tandem.api.masking import mask
from tandem.api.page_words import code, span, utc
from tandem.api.problems import Refused, refusal
from tandem.errors import TandemError
from tandem.model.cluster_view import ClusterRole, LeaseState
from tandem.policy.regions import public_url

FOLDER = files("tandem.api") / "dashboard"
HTML = {200: Answer("The page.", ("text/html",))}
_LIVE = "/dashboard/live"
_THEME = "tandem_theme"
_THEMES = frozenset({"light", "dark"})
Values = Callable[[web.Request], Awaitable[Mapping[str, Any]]]


def load(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


_templates = Environment(
    loader=FunctionLoader(load),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(code=code, span=span, utc=utc)


def go(where: str) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": where})


def render(request: web.Request, template: str, **values: object) -> web.Response:
    """Return a template as a page. ``theme`` is what the reader chose, empty for what their system says."""
    theme = request.cookies.get(_THEME, "")
    text = _templates.get_template(template).render(theme=theme if theme in _THEMES else "", **values)
    return web.Response(text=text, content_type="text/html")


def page_endpoints(path: str, template: str, values: Values, summary: str) -> tuple[Endpoint, Endpoint]:
    """Return a page's two endpoints: the whole of it, and under ``/dashboard/live`` the part that changes."""
    live_path = f"{_LIVE}{path}".rstrip("/")
    return (
        Endpoint("GET", path, page(template, values), Access.NONE, summary, HTML, page=True),
        Endpoint("GET", live_path, _part(template, values), Access.READ, "What changes.", HTML, page=True, quiet=True),
    )


def page(template: str, values: Values) -> Handler:
    async def whole(request: web.Request) -> web.StreamResponse:
        if caller_of(request).access is Access.NONE:
            return go("/login")
        try:
            return _framed(request, "frame.html", {**await values(request), "part": template})
        except (TandemError, Refused) as error:
            return told(request, error)

    return whole


def _part(template: str, values: Values) -> Handler:
    async def part(request: web.Request) -> web.StreamResponse:
        return _framed(request, template, await values(request))

    return part


def told(request: web.Request, error: Exception) -> web.StreamResponse:
    """Return a page that says what went wrong, for people."""
    refused = refusal(error, request)
    values = {"part": "told.html", "detail": refused.detail, "title": HTTPStatus(refused.status).phrase, "here": ""}
    response = _framed(request, "frame.html", values)
    response.set_status(refused.status)
    return response


def _framed(request: web.Request, template: str, values: Mapping[str, Any]) -> web.Response:
    context, caller = context_of(request), caller_of(request)
    session_id = caller.session or context.sessions.open(admin=caller.admin)
    frame = {
        "csrf": csrf_of(context, session_id),
        "admin": caller.admin,
        "locked": context.settings.api_token is not None,
        "emulator": context.settings.emulator or "",
        "about": context.parts.about,
        "shared": context.parts.cluster.shared(),
        "passive": _passive(context),
        "now": round(context.clock.now() * 1000),
        "source": _source(request),
        "refresh": False,
    }
    response = render(request, template, **{**frame, **values})
    if not caller.session:
        remember(request, response, session_id)
    return response


@dataclass(frozen=True, slots=True)
class Holder:
    """An instance that runs accounts: its name, and where its pages are, if that is known."""

    name: str
    url: str


def _passive(context: Context) -> list[Holder] | None:
    """Return who runs the accounts if this instance runs none; None if it does."""
    cluster = context.parts.cluster
    if not cluster.shared() or cluster.role() == ClusterRole.ACTIVE:
        return None
    held = [lease for lease in cluster.overview().leases if lease.state is LeaseState.HELD]
    return sorted({Holder(mask(lease.holder_name), public_url(lease.holder_url)) for lease in held}, key=str)


def _source(request: web.Request) -> str:
    """Return where the part of this page that changes is fetched again."""
    path = f"{_LIVE}{request.path.removeprefix(_LIVE)}".rstrip("/")
    return f"{path}?{request.query_string}" if request.query_string else path


def csrf_of(context: Context, session_id: str) -> str:
    """Return the session's token; without a session one that nobody knows."""
    session = context.sessions.get(session_id) if session_id else None
    return session.csrf if session else context.random.token()


def remember(request: web.Request, response: web.Response, session_id: str) -> None:
    cookie(request, response, COOKIE, session_id, "/")


def cookie(request: web.Request, response: web.Response, name: str, value: str, path: str) -> None:
    secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
    response.set_cookie(name, value, path=path, httponly=True, samesite="Strict", secure=secure)


def wants_json(request: web.Request) -> bool:
    accept = request.headers.get("Accept", "").lower()
    return "application/json" in accept and "text/html" not in accept
