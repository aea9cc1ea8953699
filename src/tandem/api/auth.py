"""Who may do what.

With an admin token every client needs a token: as ``Authorization: Bearer``, or once on the login page, for a session
cookie. Without one only clients on this machine are served, and only under a name of this machine, so that no web
page can reach in by rebinding a name or posting across sites. Endpoints are closed unless they say otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import SecretStr

from tandem.api.context import CALLER, Access, Caller, Context, context_of
from tandem.api.endpoint import Endpoint, Handler
from tandem.api.problems import Refused

COOKIE = "tandem_session"
CSRF_HEADER = "X-CSRF-Token"
ENDPOINT: web.AppKey[dict[tuple[str, str], Endpoint]] = web.AppKey("endpoints")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse, or tell the handler who is asking."""
    endpoint = endpoint_of(request)
    context = context_of(request)
    if context.settings.api_token is None:
        only_this_machine(request)
    caller = caller_from(request, context)
    request[CALLER] = caller
    if endpoint is not None:
        _check(endpoint, caller)
    return await handler(request)


def endpoint_of(request: web.Request) -> Endpoint | None:
    """Return the declaration of what is asked for, None if there is no such route."""
    resource = request.match_info.route.resource
    method = "GET" if request.method == "HEAD" else request.method
    return request.app[ENDPOINT].get((method, resource.canonical)) if resource else None


def _check(endpoint: Endpoint, caller: Caller) -> None:
    if caller.access >= endpoint.access:
        return
    if caller.access is Access.NONE:
        raise Refused(
            401,
            "unauthorized",
            "a token is needed: send it as 'Authorization: Bearer …', or log in on the page",
            {"WWW-Authenticate": 'Bearer realm="tandem"'},
        )
    raise Refused(403, "forbidden", "the read token reads only; this takes the admin token")


def caller_from(request: web.Request, context: Context) -> Caller:
    """Return who is asking. Raises Refused for a wrong token, and for a change that no page of ours sent."""
    header = request.headers.get("Authorization")
    if header is not None:
        return Caller(_bearer(header, context))
    session_id = request.cookies.get(COOKIE, "")
    session = context.sessions.get(session_id) if session_id else None
    if request.method not in _SAFE:
        _refuse_other_sites(request)
    if session is None:
        return Caller(Access.NONE if context.settings.api_token else Access.ADMIN)
    if request.method not in _SAFE and request.path.startswith("/api/"):
        check_csrf(request.headers.get(CSRF_HEADER, ""), session.csrf)
    return Caller(Access.ADMIN if session.admin else Access.READ, session_id)


def _bearer(header: str, context: Context) -> Access:
    scheme, _, token = header.partition(" ")
    access = access_of(token.strip(), context) if scheme.lower() == "bearer" else Access.NONE
    if access is Access.NONE:
        raise Refused(
            401,
            "unauthorized",
            "this token is not known here; it has to be TANDEM_API_TOKEN or TANDEM_READ_TOKEN",
            {"WWW-Authenticate": 'Bearer realm="tandem", error="invalid_token"'},
        )
    return access


def access_of(token: str, context: Context) -> Access:
    """Return what a token allows, in time that tells nothing about it."""
    admin = _same(token, context.settings.api_token)
    read = _same(token, context.settings.read_token)
    if admin:
        return Access.ADMIN
    return Access.READ if read else Access.NONE


def _same(token: str, secret: SecretStr | None) -> bool:
    wanted = secret.get_secret_value() if secret else ""
    equal = hmac.compare_digest(_digest(token), _digest(wanted))
    return equal and bool(wanted)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def check_csrf(given: str, wanted: str) -> None:
    if not hmac.compare_digest(_digest(given), _digest(wanted)):
        raise Refused(403, "csrf", "this page is too old to make changes: reload it")


def only_this_machine(request: web.Request) -> None:
    """For a daemon without a token: look at the peer, the name it called, and that no proxy is in between."""
    if not loopback(request.remote or "") or any(name in request.headers for name in _FORWARDED):
        raise Refused(403, "forbidden", "without TANDEM_API_TOKEN only this machine is served; set one")
    if not loopback(_host_name(request.headers.get("Host", ""))):
        raise Refused(403, "forbidden", "without TANDEM_API_TOKEN call it localhost or 127.0.0.1, no other name")


def _refuse_other_sites(request: web.Request) -> None:
    """A browser says which site a change comes from; anything else than a browser says nothing."""
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("Host", "")
    if foreign or site not in {"same-origin", "none"}:
        raise Refused(403, "forbidden", "changes are taken from this server's own pages, not from another site's")


def _host_name(host: str) -> str:
    return host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]


def loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
