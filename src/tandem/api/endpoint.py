"""How a route is declared: once, with who may use it and what it answers. The router and OpenAPI both read it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import BaseModel

from tandem.api.context import Access

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query or header parameter, or one of the path that needs more words; ``schema`` is its JSON schema."""

    name: str
    description: str
    schema: Mapping[str, object] = field(default_factory=lambda: {"type": "string"})
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Answer:
    """``content`` is a JSON model, or the media types of anything else."""

    description: str
    content: type[BaseModel] | tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """``quiet`` endpoints are asked every few seconds and logged at debug level; ``page`` ones serve the dashboard."""

    method: str
    path: str
    handler: Handler
    access: Access
    summary: str
    answers: Mapping[int, Answer] = field(default_factory=dict)
    body: type[BaseModel] | None = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    quiet: bool = False
    page: bool = False
