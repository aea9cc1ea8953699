"""Dead letters: what could not be processed. A person looks at it, sends it on its way again, or drops it."""

from __future__ import annotations

import re
import sqlite3

import structlog
from aiohttp import web

from tandem.api.context import Access, context_of
from tandem.api.dead_letter_views import DeadLetterAnswer, DeadLetterDetails, DeadLetterJson, DeadLettersAnswer
from tandem.api.endpoint import Answer, Endpoint, Parameter
from tandem.api.inputs import flag_of, integer_of, limit_of
from tandem.api.problems import Refused
from tandem.api.respond import answer
from tandem.api.views import Done
from tandem.errors import PoisonMessage, Rejected

_log = structlog.get_logger()
_MOST = 100  # of letters that may hold a megabyte each
_ID = re.compile(r"\d{1,15}", re.ASCII)
_UNFIT = (ValueError, TypeError, ArithmeticError, LookupError, sqlite3.Error)
"""What the queue raises for content that it cannot hold."""


async def list_dead_letters(request: web.Request) -> web.Response:
    letters, limit = context_of(request).parts.dead_letters, limit_of(request, 50, _MOST)
    found = await letters.list(limit + 1, integer_of(request, "after") or 0)
    page = [DeadLetterJson.of(letter) for letter in found[:limit]]
    return answer(DeadLettersAnswer(dead_letters=page, next=page[-1].id if len(found) > limit else None))


async def get_dead_letter(request: web.Request) -> web.Response:
    identifier, raw = _letter_of(request), flag_of(request, "raw")
    letter = await context_of(request).parts.dead_letters.get(identifier)
    return answer(DeadLetterAnswer(dead_letter=DeadLetterDetails.of_letter(letter, raw=raw)))


async def replay_dead_letter(request: web.Request) -> web.Response:
    """A message that the store refuses again comes back as another letter, with an id of its own."""
    identifier = _letter_of(request)
    try:
        await context_of(request).parts.replay(identifier)
    except PoisonMessage as error:
        raise _kept(identifier, str(error)) from None
    except _UNFIT as error:
        raise _kept(identifier, f"it cannot be queued ({type(error).__name__})") from None
    _log.info("dead_letter_replayed", message=f"Dead letter {identifier} is on its way again", letter=identifier)
    return answer(Done())


async def drop_dead_letter(request: web.Request) -> web.Response:
    letters, identifier = context_of(request).parts.dead_letters, _letter_of(request)
    await letters.drop(identifier)
    _log.warning("dead_letter_dropped", message=f"Dead letter {identifier} was dropped on request", letter=identifier)
    return answer(Done())


def _letter_of(request: web.Request) -> int:
    text = request.match_info["letter"]
    if not _ID.fullmatch(text):
        raise Rejected("the id of a dead letter is a whole number; GET /api/dead-letters lists them")
    return int(text)


def _kept(identifier: int, reason: str) -> Refused:
    _log.warning("dead_letter_kept", message=f"Dead letter {identifier} still fails: {reason}", letter=identifier)
    return Refused(409, PoisonMessage.code, f"it still cannot be understood, so the letter is kept: {reason}")


_LETTER = Parameter("letter", "The dead letter's id.", {"type": "integer", "minimum": 0}, place="path")

ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/dead-letters",
        list_dead_letters,
        Access.ADMIN,
        "What could not be processed, oldest first, without its content.",
        {200: Answer("The letters.", DeadLettersAnswer)},
        parameters=(
            Parameter("limit", f"Most entries, up to {_MOST}; 50 if absent.", {"type": "integer", "minimum": 1}),
            Parameter(
                "after",
                "Only letters with an id beyond this: the ``next`` of the page before.",
                {"type": "integer", "minimum": 0},
            ),
        ),
        errors=(400, 503),
    ),
    Endpoint(
        "GET",
        "/api/dead-letters/{letter}",
        get_dead_letter,
        Access.ADMIN,
        "One dead letter; a message's with its text, since somebody has to judge it.",
        {200: Answer("The letter.", DeadLetterAnswer)},
        parameters=(
            _LETTER,
            Parameter("raw", "With the payload as it was kept, base64.", {"type": "boolean", "default": False}),
        ),
        errors=(400, 404, 503),
    ),
    Endpoint(
        "POST",
        "/api/dead-letters/{letter}/replay",
        replay_dead_letter,
        Access.ADMIN,
        "Send a dead letter on its way again: an event is decoded anew, a message goes back to the queue.",
        {200: Answer("It is durable in the queue, and the letter is gone.", Done)},
        parameters=(_LETTER,),
        errors=(400, 404, 409, 503),
    ),
    Endpoint(
        "DELETE",
        "/api/dead-letters/{letter}",
        drop_dead_letter,
        Access.ADMIN,
        "Drop a dead letter for good; nothing brings back what it held.",
        {200: Answer("It is gone.", Done)},
        parameters=(_LETTER,),
        errors=(400, 404, 503),
    ),
)
