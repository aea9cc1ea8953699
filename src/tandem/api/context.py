"""What a handler has at hand: the parts of the daemon, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from aiohttp import web

from tandem.api.ports import Parts
from tandem.api.sessions import Sessions
from tandem.clock import Clock, Random
from tandem.settings import Settings
from tandem.store.port import Store


class Access(IntEnum):
    """What a caller may do, each including the ones before it."""

    NONE = 0
    READ = 1
    ADMIN = 2


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: ``session`` is the dashboard session's id, empty for a bearer token or a bare loopback client."""

    access: Access
    session: str = ""

    @property
    def admin(self) -> bool:
        return self.access is Access.ADMIN


@dataclass(frozen=True, slots=True)
class Context:
    settings: Settings
    parts: Parts
    store: Store
    clock: Clock
    random: Random
    sessions: Sessions


CONTEXT = web.AppKey("context", Context)
CLOCK: web.AppKey[Clock] = web.AppKey("clock")
RANDOM: web.AppKey[Random] = web.AppKey("random")
CALLER = web.RequestKey("caller", Caller)
REQUEST_ID = web.RequestKey("request_id", str)


def context_of(request: web.Request) -> Context:
    return request.app[CONTEXT]


def caller_of(request: web.Request) -> Caller:
    return request[CALLER]
