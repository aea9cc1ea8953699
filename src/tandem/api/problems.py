"""Errors as RFC 9457 problems: one shape, one place that maps the error tree to status codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from aiohttp import web

from tandem.api.context import REQUEST_ID
from tandem.errors import Conflict, InstancePassive, NotFound, Overloaded, Rejected, TandemError, Transient
from tandem.policy.regions import public_url

_log = structlog.get_logger()

_STATUS: tuple[tuple[type[TandemError], HTTPStatus], ...] = (
    (Rejected, HTTPStatus.BAD_REQUEST),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (Overloaded, HTTPStatus.TOO_MANY_REQUESTS),
    (Transient, HTTPStatus.SERVICE_UNAVAILABLE),
)
_CODES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "unknown_path",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    417: "expectation_failed",
}
MEDIA_TYPE = "application/problem+json"


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """An answer other than what was asked for, which no error of the tree stands for.

    ``members`` stand in the problem document beside those that all of them have.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})


def problem(request: web.Request, refused: Refused) -> web.Response:
    """Return the problem document of an error."""
    body = {
        "type": f"urn:tandem:problem:{refused.code}",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": refused.detail,
        "success": False,
        "error": refused.code,
        "request_id": request[REQUEST_ID],
        **refused.members,
    }
    response = web.json_response(body, status=refused.status, headers=refused.headers, content_type=MEDIA_TYPE)
    if refused.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        response.force_close()  # the rest of the body is still on its way
    return response


def refusal(error: Exception, request: web.Request) -> Refused:
    """Return the answer to any error; what is unexpected is logged in full and told in nothing but the request id."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, web.HTTPException):
        return _of_http(error, request)
    if isinstance(error, TandemError):
        for kind, status in _STATUS:
            if isinstance(error, kind):
                return Refused(status, error.code, str(error), _retry_after(error), _holder(error))
    _log.error("internal_error", message="A request failed for a reason nobody foresaw.", exc_info=error)
    detail = f"something went wrong here, not in your request; the log has more under request id {request[REQUEST_ID]}"
    return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail)


def _retry_after(error: TandemError) -> dict[str, str]:
    if not isinstance(error, Transient):
        return {}
    return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}


def _holder(error: TandemError) -> dict[str, str]:
    """Return whom to ask instead, as far as that is known."""
    if not isinstance(error, InstancePassive):
        return {}
    told = {"holder": error.holder, "holderUrl": public_url(error.url)}
    return {name: value for name, value in told.items() if value}


def _of_http(error: web.HTTPException, request: web.Request) -> Refused:
    """Put aiohttp's own refusals into our words."""
    status = HTTPStatus(error.status)
    headers: dict[str, str] = {}
    detail = status.description or status.phrase
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        headers["Allow"] = allowed
        detail = f"{request.method} is not possible here; this path takes {allowed}"
    elif status is HTTPStatus.NOT_FOUND:
        detail = "there is nothing under this path; /openapi.json lists what there is"
    elif status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        limit = request.client_max_size
        detail = f"the body is larger than {limit} bytes, the most this server takes (TANDEM_API__MAX_BODY_BYTES)"
    return Refused(status, _CODES.get(status, "http_error"), detail, headers)
