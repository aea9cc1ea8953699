"""OpenAPI 3.1, made from the endpoints' declarations and the models they answer with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tandem.api.context import Access, context_of
from tandem.api.endpoint import Answer, Endpoint
from tandem.api.problems import MEDIA_TYPE
from tandem.api.views import Problem

ENDPOINTS_KEY: web.AppKey[Sequence[Endpoint]] = web.AppKey("openapi_endpoints")
_REFERENCE = "#/components/schemas/{model}"
_ERRORS = {
    400: "The request is wrong; the detail says what.",
    401: "A token is needed, or this one is not known.",
    403: "This token may not do that.",
    404: "There is no such thing.",
    406: "It does not come in that form.",
    409: "Contradicts what is there; the detail says why.",
    413: "The body is too large.",
    429: "A bound is reached: try again after ``Retry-After`` seconds.",
    500: "A fault of Tandem.",
    503: "Not now: try again after ``Retry-After`` seconds.",
}


async def openapi(request: web.Request) -> web.Response:
    endpoints = request.app[ENDPOINTS_KEY]
    return web.json_response(document(tuple(endpoints), context_of(request).parts.about.version))


@lru_cache(maxsize=4)
def document(endpoints: tuple[Endpoint, ...], version: str) -> Mapping[str, Any]:
    """Return the OpenAPI document of these endpoints."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        if not endpoint.page:
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tandem",
            "version": version,
            "description": "Keeps WhatsApp accounts online. All times are whole Unix milliseconds.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(endpoints),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.handler.__name__,
        "summary": endpoint.summary,
        "parameters": list(_parameters(endpoint)),
        "responses": {str(status): _answer(answer) for status, answer in endpoint.answers.items()},
        "security": [] if endpoint.access is Access.NONE else [{"token": []}],
    }
    for status in _errors(endpoint):
        content = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
        operation["responses"][str(status)] = {"description": _ERRORS[status], "content": content}
    if endpoint.body:
        schema = {"$ref": _REFERENCE.format(model=endpoint.body.__name__)}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}, "required": True}
    if endpoint.access is Access.ADMIN:
        operation["description"] = "Takes the admin token."
    return operation


def _errors(endpoint: Endpoint) -> list[int]:
    auth = () if endpoint.access is Access.NONE else (401, 403)
    return sorted({*endpoint.errors, *auth, 500})


def _parameters(endpoint: Endpoint) -> Iterable[dict[str, Any]]:
    described = {each.name for each in endpoint.parameters if each.place == "path"}
    for name in re.findall(r"{(\w+)}", endpoint.path):
        if name not in described:
            yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    for each in endpoint.parameters:
        required = {"required": True} if each.place == "path" else {}
        schema = dict(each.schema)
        yield {"name": each.name, "in": each.place, "description": each.description, **required, "schema": schema}


def _answer(answer: Answer) -> dict[str, Any]:
    if isinstance(answer.content, tuple):
        content: dict[str, Any] = {media: {} for media in answer.content}
    else:
        content = {"application/json": {"schema": {"$ref": _REFERENCE.format(model=answer.content.__name__)}}}
    return {"description": answer.description, **({"content": content} if content else {})}


def _schemas(endpoints: Iterable[Endpoint]) -> Mapping[str, Any]:
    models: dict[tuple[type[BaseModel], Literal["validation", "serialization"]], None] = {
        (Problem, "serialization"): None
    }
    for endpoint in endpoints:
        if endpoint.body and not endpoint.page:
            models[endpoint.body, "validation"] = None
        for answer in endpoint.answers.values():
            if not isinstance(answer.content, tuple):
                models[answer.content, "serialization"] = None
    _, definitions = models_json_schema(list(models), ref_template=_REFERENCE)
    return dict(definitions["$defs"])


ENDPOINTS = (
    Endpoint(
        "GET",
        "/openapi.json",
        openapi,
        Access.NONE,
        "This document.",
        {200: Answer("OpenAPI 3.1.", ("application/json",))},
    ),
)
