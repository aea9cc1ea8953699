"""What comes in, made into values or refused with a sentence that says what to do. No input is ever repeated back."""

from __future__ import annotations

import asyncio
import re
from enum import Enum
from typing import Annotated, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from tandem.api.problems import Refused
from tandem.errors import NotFound, Rejected
from tandem.model.ids import (
    GROUP_SERVER,
    LID_SERVER,
    USER_SERVER,
    AccountId,
    ChatId,
    InvalidNumber,
    Jid,
    Number,
    canonical_number,
    chat_of_number,
)
from tandem.model.states import Slot
from tandem.model.views import PairMethod

_BODY_DEADLINE = 20.0  # seconds a client may take to send its body
_ACCOUNT = re.compile(r"[0-9a-f]{16}")
_GROUP = re.compile(r"\d{5,15}-\d{9,11}|\d{16,20}")
_WRITTEN = re.compile(r"\+?[0-9\s()./-]{5,40}")
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_SERVERS = {USER_SERVER: USER_SERVER, "c.us": USER_SERVER, LID_SERVER: LID_SERVER, GROUP_SERVER: GROUP_SERVER}

Model = TypeVar("Model", bound=BaseModel)
Choice = TypeVar("Choice", bound=Enum)


class AddAccountBody(BaseModel):
    """``name`` is for people; ``phone`` is in international form, however it is spaced."""

    model_config = ConfigDict(strict=True)

    phone: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    name: Annotated[str, StringConstraints(max_length=100, strip_whitespace=True)] = ""


class PairBody(BaseModel):
    """Without ``slot``: the first one that is not paired."""

    model_config = ConfigDict(strict=True)

    slot: Slot | None = None
    method: PairMethod = PairMethod.QR


class RestartBody(BaseModel):
    """Which slot to start afresh."""

    model_config = ConfigDict(strict=True)

    slot: Slot


class MoveBody(BaseModel):
    """``account`` is an account's id; ``to`` an instance's id or name: without it the fittest is chosen."""

    model_config = ConfigDict(strict=True)

    account: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    to: Annotated[str, StringConstraints(max_length=100, strip_whitespace=True)] = ""


class DrainBody(BaseModel):
    """Whether this instance hands every account over and takes none."""

    model_config = ConfigDict(strict=True)

    on: bool


async def body_of(request: web.Request, model: type[Model], *, optional: bool = False) -> Model:
    """Return the JSON body as a value. Raises Rejected, naming the field; ``optional`` takes no body for ``{}``."""
    try:
        async with asyncio.timeout(_BODY_DEADLINE):
            raw = await request.read()
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
        raise Rejected("the body broke off, or is not in the encoding that it says; send it again") from None
    except TimeoutError:
        raise Refused(408, "request_timeout", "the body did not arrive in time; send it again") from None
    try:
        return model.model_validate_json(raw or (b"{}" if optional else b""))
    except ValidationError as error:
        raise Rejected(_in_words(error)) from None


def _in_words(error: ValidationError) -> str:
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    if any(problem["type"] == "json_invalid" for problem in problems):
        return f"the body is not valid JSON ({problems[0]['msg'].removeprefix('Invalid JSON: ')})"
    if any(not problem["loc"] and problem["type"] != "value_error" for problem in problems):
        return "the body has to be a JSON object"
    return "; ".join(f"{_place(problem['loc'])}{_sentence(problem['msg'])}" for problem in problems)


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""


def _sentence(message: str) -> str:
    words = message.removeprefix("Value error, ")
    return words[:1].lower() + words[1:]


def number_of(written: str) -> Number:
    try:
        return _number(written)
    except InvalidNumber as error:
        raise Rejected(f"phone: {error}") from None


def _number(written: str) -> Number:
    """Return the canonical number. Letters are refused: the parser would take them for an extension or for digits."""
    if not _WRITTEN.fullmatch(written.strip()):
        raise InvalidNumber("not a phone number: write digits, with the country code, such as +12025550123")
    return canonical_number(written)


def account_of(request: web.Request) -> AccountId:
    """Return the account of the path. Raises NotFound for what cannot be one."""
    text = request.match_info["account"]
    if not _ACCOUNT.fullmatch(text):
        raise NotFound("no such account; GET /api/whatsapp/accounts lists them with their ids")
    return AccountId(text)


def chat_of(request: web.Request) -> ChatId:
    """Return the canonical chat of the path, given as phone number, WhatsApp address or group id."""
    return read_chat(request.match_info["chat"])


def read_chat(written: str) -> ChatId:
    """Return the canonical form of a chat. Raises Rejected."""
    text = written.strip()
    if "@" in text:
        return _chat_of_address(text)
    if _GROUP.fullmatch(text):
        return ChatId(f"{text}@{GROUP_SERVER}")
    try:
        return chat_of_number(_number(text))
    except InvalidNumber:
        raise Rejected(_CHAT_FORMS) from None


_CHAT_FORMS = (
    "not a chat: give a phone number with its country code (+12025550123), an address (…@s.whatsapp.net, …@lid) "
    "or a group's id (…@g.us)"
)


def _chat_of_address(text: str) -> ChatId:
    try:
        jid = Jid.parse(text)
    except ValueError:
        raise Rejected(_CHAT_FORMS) from None
    server = _SERVERS.get(jid.server)
    valid = _GROUP.fullmatch(jid.user) if server == GROUP_SERVER else re.fullmatch(r"[1-9]\d{4,19}", jid.user)
    if server is None or not valid:
        raise Rejected(_CHAT_FORMS)
    return ChatId(f"{jid.user}@{server}")


def limit_of(request: web.Request, default: int, most: int) -> int:
    """Return ``limit``, at most ``most``."""
    limit = integer_of(request, "limit")
    if limit is None:
        return default
    if limit < 1:
        raise Rejected("limit: give a whole number of at least 1")
    return min(limit, most)


def integer_of(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,15}", text, re.ASCII):
        raise Rejected(f"{name}: give a whole number")
    return int(text)


def flag_of(request: web.Request, name: str) -> bool:
    """Return the query parameter as true or false, false if it is absent."""
    text = request.query.get(name, "false")
    if text not in {"true", "false"}:
        raise Rejected(f"{name}: true or false")
    return text == "true"


def choice_of(request: web.Request, name: str, kind: type[Choice]) -> Choice | None:
    """Return the query parameter as a member of an enum, None if it is absent."""
    text = request.query.get(name)
    if text is None:
        return None
    for member in kind:
        if member.value == text:
            return member
    raise Rejected(f"{name}: one of {', '.join(str(member.value) for member in kind)}")


def idempotency_key_of(request: web.Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise Rejected("Idempotency-Key: 1 to 200 printable ASCII characters without spaces")
    return key
