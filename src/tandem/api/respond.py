"""Answers in JSON."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from pydantic import BaseModel

_ABSENT_BY_DEFAULT = frozenset({"idempotent", "emulator", "note", "shared", "region", "role"})


def json_of(model: BaseModel) -> str:
    """Return a model's JSON; markers that are absent unless they say something are left out."""
    unset = {name for name in _ABSENT_BY_DEFAULT if not getattr(model, name, None)}
    return model.model_dump_json(by_alias=True, exclude=unset)


def answer(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(text=json_of(model), status=status, headers=headers, content_type="application/json")
